"""What a file of weights says of pixels and classes: the metadata `preprocess` and `class_names`, each as JSON.

The genome of a trial does not have these two keys, since many trials share one dataset; its weights do. `described`
brings them together, for a winner's file and for serving.
"""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from nas.data import ImageSet, Preprocess
from nas.errors import GenomeError, shown
from nas.files import parse_json, regular
from nas.genome import Genome

log = logging.getLogger(__name__)
KEYS = ("preprocess", "class_names")
UNSAID = (
    "neither the genome nor its weights say how pixels reach the model (earlier versions did not write it): give the "
    "command that trained it once more, which adds it, or write `preprocess: {mean: [...], std: [...]}` here, those of "
    "the training images"
)


def served(images: ImageSet) -> dict[str, Any]:
    """The two keys, for the genome of a model that was trained on these images.

    >>> genome.edit(served(load("digits"))).class_names
    ('0', '1', '2', '3', '4', '5', '6', '7', '8', '9')
    """
    names = [name.encode(errors="replace").decode() for name in images.classes]  # a folder's name may be no Unicode
    return {"preprocess": images.preprocess.model_dump(mode="json"), "class_names": names}


def metadata_of(images: ImageSet) -> dict[str, str]:
    """The same as metadata of the weights.

    >>> metadata_of(load("digits"))["class_names"]
    '["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"]'
    """
    return {key: json.dumps(value, ensure_ascii=False) for key, value in served(images).items()}


def described(genome: Genome, weights: Path) -> Genome:
    """The genome, with what it lacks of `preprocess` and `class_names` taken from its file of weights.

    What it states holds, with a warning if the weights were trained with something else: the model would answer all the
    same, on pixels that it has not seen or with another class's name. Weights of other programs and of earlier versions
    may have neither. Raises GenomeError for metadata that is needed and does not fit the genome, and for a file that
    cannot be read.
    """
    own = told(genome)
    try:
        with safe_open(regular(weights), framework="pt") as file:
            found = file.metadata() or {}
        made = genome.edit({key: parse_json(found[key]) for key in KEYS if key in found and key not in own})
    except (OSError, SafetensorError, ValueError) as error:  # a GenomeError is a ValueError
        raise GenomeError(f"its metadata cannot be used: {error}", file=weights) from None
    for key in [key for key in KEYS if key in own and key in found]:
        if own[key] != (trained := _stated(genome, key, found[key])):
            what = f"{shown(own[key])} of the genome is used, and the weights were trained with {shown(trained)}"
            log.warning("%s: %s: %s", weights, key, what)
    return made


def _stated(genome: Genome, key: str, text: str) -> Any:
    """What metadata says of a key, as `told` has it; the text itself where it makes no sense."""
    try:
        return told(genome.edit({key: parse_json(text)}))[key]
    except (ValueError, KeyError):
        return text


def known_preprocess(genome: Genome, file: object) -> Preprocess:
    """How pixels reach the model of a described genome. Raises GenomeError, which names `file`, if nothing says it."""
    if genome.preprocess is None:
        raise GenomeError(UNSAID, file=file, path="preprocess")
    return genome.preprocess


def told(genome: Genome) -> dict[str, Any]:
    """Those of the two keys that a genome has, as plain data: for the metadata of its files."""
    return {key: value for key, value in genome.model_dump(mode="json", include={*KEYS}).items() if value is not None}
