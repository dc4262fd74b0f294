"""The trained models that a `start:` can name, all as a `Donor`: a genome, and tensors under our names.

| spelling | model |
|---|---|
| `results/my_run/winners/w1-0007.yaml` | a genome file with its weights beside it, also of a trial or of `nas train` |
| `genome.yaml@FILE` | a genome file, and its weights elsewhere |
| `timm:NAME@FILE`, `local-dir:FOLDER` | a timm model that `nas.from_timm` converts (outside.py, convert.py) |

A donor says how pixels reach it and what its classes are called, where its files do. timm is imported for its own
models alone, since that takes seconds.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any, cast, get_args

from torch import Tensor

from nas.data.preprocess import Interpolation
from nas.errors import GenomeError, SpecError, shown
from nas.genome import Genome, load_genome
from nas.model import Donor, Model, build
from nas.model import inherit as inherit_model
from nas.model.build import weights_beside
from nas.model.inherit import Inherited
from nas.model.pixels import described
from nas.timm.face import TimmModel
from nas.timm.spelling import SPELLINGS, absolute, is_outside
from nas.torch_state import generators_kept


@generators_kept()
def inherit(
    genome: str | Path | Genome, donor: str | Path | Model | Donor, images_BCHW: Tensor | None = None
) -> Inherited[TimmModel]:
    """A model of `genome` that starts from a trained one, and which of its tensors are inherited, solved and fresh.

    donor: a spelling of `start:`, a model of `nas.build` or `nas.from_timm`. images_BCHW: some hundred normalised
    images, unlabelled, from which projections behind new cores are solved in closed form (nas/model/closed_form.py).
    Raises SpecError for a donor that cannot be read or whose weights do not fit.

    >>> found = nas.inherit("mine.yaml", "timm:deit_tiny_patch16_224@deit_tiny.safetensors")
    >>> found.model, found.fresh
    """
    if isinstance(donor, Model):
        donor = Donor.of(donor)
    elif not isinstance(donor, Donor):
        donor = read_donor(str(donor))
    return cast("Inherited[TimmModel]", inherit_model(load_genome(genome), donor, images_BCHW, model_class=TimmModel))


def absolute_start(start: str, base: Path = Path()) -> str:
    """The spelling with a full path, for a process with another working directory. base: of relative paths."""
    if is_outside(start):
        return absolute(start, base)
    return "@".join(os.path.abspath(base / part) for part in _parts(start))


def read_donor(start: str) -> Donor:
    """The donor that a `start:` names. Raises SpecError for one that cannot be read or converted."""
    if is_outside(start):
        return _converted(start)
    file, *elsewhere = _parts(start)
    if Path(file).suffix not in (".yaml", ".yml"):
        allowed = f"a genome file (.yaml) with its weights beside it, {SPELLINGS[0]}, {SPELLINGS[2]}"
        raise GenomeError(f"expected {allowed}; found {shown(start)}", path="start")
    genome = load_genome(file)
    weights = Path(elsewhere[0]) if elsewhere else weights_beside(file)
    donor = Donor.of(build(genome, weights=weights))
    return Donor(described(genome, weights), donor.state)


def _parts(start: str) -> list[str]:
    """`genome.yaml@FILE` in two, anything else as it is."""
    found = re.fullmatch(r"(.+?\.ya?ml)@(.+)", start)
    return list(found.groups()) if found else [start]


def _converted(start: str) -> Donor:
    from nas.timm.convert import from_timm
    from nas.timm.outside import outside_model, preprocess_of

    model = outside_model(start)
    donor = Donor.of(from_timm(model))
    pixels = preprocess_of(model)
    how = pixels["interpolation"] if pixels["interpolation"] in get_args(Interpolation) else "bicubic"
    preprocess = {"mean": pixels["mean"], "std": pixels["std"], "crop": pixels["crop"], "interpolation": how}
    names = cast(dict[str, Any], model.pretrained_cfg).get("label_names")
    try:
        return Donor(donor.genome.edit({"preprocess": preprocess, "class_names": names}), donor.state)
    except SpecError as error:
        raise error.within(file=start) from None
