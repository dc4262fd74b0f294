"""A trained model as a folder that timm loads, with the genome in the place of an architecture's arguments.

    config.json          architecture nas_vit, model_args {genome}, pretrained_cfg: pixels, classes and their names
    README.md            the card, given by the caller
    model.safetensors    the weights under our names, as trained: the model can be trained further, and converted

    import timm, nas.timm
    model = timm.create_model("local-dir:folder").eval()

Deviation from timm: the folder's weights are loaded without `pretrained=True` as well, since it is a trained model.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import timm
import torch
from safetensors.torch import save_file

from nas.errors import SpecError
from nas.files import put_in_place, write_atomically, write_json, write_text
from nas.genome import Genome, load_genome
from nas.model.build import weights_beside
from nas.model.pixels import described, known_preprocess, told
from nas.timm.face import TimmModel, build
from nas.timm.registry import ARCHITECTURE, first_conv


def write_folder(
    genome: str | Path, folder: str | Path, *, card: Callable[[Genome], str], weights: str | Path | None = None
) -> Genome:
    """Write the folder, whole or not at all, after a comparison of the logits of what timm makes of it.

    card: the text of its README.md, from the genome as it is written, which says how pixels reach the model. weights: a
    safetensors file; None takes the one beside the genome. Returns that genome. Raises GenomeError for missing weights,
    those of another genome, and if `preprocess` is unknown; SpecError for a folder that has files.

    >>> write_folder("results/my_run/winners/w1-0007.yaml", "my_model", card=lambda genome: genome.name).image.size
    8
    """
    folder, file = Path(folder), Path(weights) if weights is not None else weights_beside(genome)
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise SpecError("expected a new folder, and this one has files; nothing is overwritten", file=folder)
    model = build(genome, weights=file).eval()
    chosen = described(load_genome(genome), file)
    known_preprocess(chosen, genome)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=f".{folder.name}.", dir=folder.parent) as within:
        draft = Path(within) / "draft"
        metadata = {key: json.dumps(value, ensure_ascii=False) for key, value in told(chosen).items()}
        save = partial(save_file, model.state_dict(), metadata={"format": "pt", **metadata})
        try:
            write_atomically(draft / "model.safetensors", save)
            write_json(draft / "config.json", config(chosen))
            write_text(draft / "README.md", card(chosen))
        except OSError as error:
            raise OSError(error.errno, error.strerror, str(folder)) from None  # the draft is gone
        _check(draft, model)
        put_in_place(draft, folder)
    return chosen


@torch.no_grad()
def _check(folder: Path, model: TimmModel) -> None:
    image, generator = model.genome.image, torch.Generator().manual_seed(0)
    images_BCHW = torch.randn(2, image.channels, image.size, image.size, generator=generator)
    found = timm.create_model(f"local-dir:{folder}").eval()
    assert torch.equal(found(images_BCHW), model(images_BCHW)), "timm makes another model of the folder"


def config(genome: Genome) -> dict[str, Any]:
    """The content of config.json. `genome` says how pixels reach the model."""
    image, preprocess = genome.image, genome.preprocess
    assert preprocess is not None
    pixels = {
        "input_size": [image.channels, image.size, image.size],
        "fixed_input_size": True,
        "interpolation": preprocess.interpolation,
        "crop_pct": preprocess.crop,
        "crop_mode": "center",
        "mean": preprocess.mean,
        "std": preprocess.std,
    }
    names = {"label_names": genome.class_names} if genome.class_names is not None else {}
    return {
        "architecture": ARCHITECTURE,
        "num_classes": genome.classes,
        "num_features": genome.layout[-1].width,
        "global_pool": TimmModel.pooling(genome),
        "model_args": {"genome": genome.model_dump(mode="json", exclude_defaults=True)},
        "pretrained_cfg": pixels
        | {"num_classes": genome.classes, "first_conv": first_conv(genome.stem), "classifier": "head"}
        | names,
    }
