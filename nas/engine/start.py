"""`start:` of a spec: the trained model that every trial of a run begins from.

Its genome is the base of the run, and the images are prepared as it was trained. The run keeps a copy, start.yaml and
start.safetensors, so that its directory is complete and a later change of the original is noticed.
"""

from __future__ import annotations

import logging
from collections.abc import Collection
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import Field, GetJsonSchemaHandler, field_validator, model_validator
from pydantic_core import CoreSchema
from safetensors.torch import save_file

from nas.data import MAX_PIXELS, ImageSet, absolute
from nas.data.preprocess import MAX_SIDE
from nas.engine.events import Event, OnEvent
from nas.engine.reading import ANEW
from nas.engine.record import read_record
from nas.errors import RunError, SpaceError, SpecError
from nas.files import write_atomically, write_text
from nas.genome.schema import Genome
from nas.keys import Keys
from nas.model import Donor
from nas.paths import SET
from nas.timm.donor import absolute_start, read_donor
from nas.train import Task, Training
from nas.train.recipes import over

log = logging.getLogger(__name__)
NAME = "start.yaml"


class _Inline:
    """The JSON schema of a base that is written out: a genome's."""

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return handler(Genome.__pydantic_core_schema__)


class Starting(Keys):
    """The keys of a spec that say what is trained, on what, and from where: common to searches and ablations."""

    base: str | Annotated[dict[str, Any], _Inline()] | None = Field(
        None, description="genome: a preset, a file, or written out; left out with `start`"
    )
    start: str | None = Field(
        None,
        description="a trained model, whose genome is the base and whose weights every trial begins with: a genome "
        "file with its weights beside it (or genome.yaml@FILE), timm:NAME@FILE, or local-dir:FOLDER",
    )
    data: str = Field(
        "digits", description="dataset: a name such as cifar10, imagefolder:PATH, parquet:PATH, webdataset:PATH"
    )
    image_size: int | None = Field(
        None, ge=1, le=MAX_SIDE, description="side to which images are brought; null: as the start or the data has it"
    )
    max_pixels: int = Field(
        MAX_PIXELS, ge=1, le=2**60, description="an image with more pixels is refused and not decoded"
    )
    training: Training = Field(Training(), description="recipe of every training")

    @field_validator("start")
    @classmethod
    def _absolute(cls, start: str | None) -> str | None:
        return absolute_start(start) if start is not None else None

    @model_validator(mode="after")
    def _somewhere(self) -> Starting:
        if self.base is None and self.start is None:
            raise SpaceError("give a genome, or with `start:` a trained model", path="base")
        return self

    @cached_property
    def donor(self) -> Donor | None:
        """The model of `start`. Raises SpecError if it cannot be read."""
        return read_donor(self.start) if self.start is not None else None

    def plain(self) -> dict[str, Any]:
        """As plain data with every value, but of the training only what was given: a setting may change its recipe."""
        return self.model_dump(mode="json") | {"training": self.training.given()}

    def resumed(self, begun: dict[str, Any] | None) -> Self:
        """The spec for a run that was begun with `begun`: what it leaves to a recipe is what the recipe said then."""
        then = (begun or {}).get("training", {})
        if self.training.recipe is None or then.get("recipe") != self.training.recipe:
            return self
        training = Training.model_validate(over(then, self.training.given()))
        return self.model_copy(update={"training": training})

    def task_of(self, seed: int) -> Task:
        """The data and the recipe. With a start, size and pixels are those of its model."""
        size, preprocess = self.image_size, None
        if self.donor is not None:
            size, preprocess = size or self.donor.genome.image.size, self.donor.genome.preprocess
        return Task(absolute(self.data), self.training, seed, size, preprocess, self.max_pixels)

    def donor_for(self, images: ImageSet) -> Donor | None:
        """The donor with a head for the classes of the images."""
        return self.donor.for_classes(images.classes)[0] if self.donor is not None else None


def refuse_edits_of_base(changes: Collection[str], start: str | None) -> None:
    """Raise SpaceError for a setting below `base.` of a spec with a start, whose genome is the base."""
    edit = next((path for path in changes if path.split(".")[0] == "base"), None)
    if edit is not None and start is not None:
        message = "has no effect with `start`, whose genome is the base; leave one of them out"
        raise SpaceError(message, file=SET, path=edit)


def relative_to(data: dict[str, Any], folder: Path) -> dict[str, Any]:
    """The plain data of a spec's file, with `start` as a full path; relative ones begin at the file's folder."""
    start = data.get("start")
    return data | {"start": absolute_start(start, folder)} if isinstance(start, str) else data


def kept_start(directory: Path) -> Path | None:
    """The copy of the model that the run in `directory` started from; None if it started from none."""
    spec = (read_record(directory) or {"spec": {}})["spec"]
    return directory / NAME if spec.get("start") is not None else None


def held_start(directory: Path) -> Path | None:
    """The same. Raises RunError if it is another model than the run started from, by the digest in run.yaml."""
    kept = kept_start(directory)
    expected = _begun_with(directory)
    if kept is None or expected is None:
        return kept
    remedy = f"restore it; or {ANEW}, from the original"
    try:
        found = read_donor(str(kept)).digest
    except SpecError as error:
        raise RunError(f"{error.message}; {remedy}", file=error.file, path=error.path) from None
    if found != expected:
        message = f"not the model that the run started from: its digest differs from run.yaml's; {remedy}"
        raise RunError(message, file=kept.with_suffix(".safetensors"))
    return kept


def _begun_with(directory: Path) -> str | None:
    """The digest of the model that the run started from, as run.yaml has it; those of 0.1 do not."""
    digest: str | None = (read_record(directory) or {}).get("start_sha256")
    return digest


def _is_kept(directory: Path) -> bool:
    """Whether a run that has begun has the model that it started from."""
    try:
        return held_start(directory) is not None
    except RunError as error:
        log.warning("%s: it is written anew", error)
        return False


def check_start(spec: Starting, directory: Path) -> None:
    """Raise RunError if the run that was begun in `directory` started from another model, or from none.

    Its kept copy may be gone or damaged, if run.yaml has the model's digest: `keep_start` writes it anew.
    """
    kept = kept_start(directory)
    then = (_begun_with(directory) or read_donor(str(kept)).digest) if kept is not None else None
    if then != (spec.donor.digest if spec.donor is not None else None):
        other = f"another model (weights, pixels or class names), which is kept as {kept}"
        model = other if kept is not None else "no model"
        message = f"that run started from {model}, this one starts from {spec.start or 'none'}; choose another run"
        raise RunError(message, file=directory)


def keep_start(spec: Starting, directory: Path, images: ImageSet, on_event: OnEvent) -> None:
    """Write start.yaml and start.safetensors into a run's directory, and say what its trials begin from.

    Called before run.yaml is written: a run that has begun has them, unless they are gone or damaged.
    """
    donor = spec.donor
    if donor is None:
        return
    if kept_start(directory) is None or not _is_kept(directory):
        write_atomically(
            directory / Path(NAME).with_suffix(".safetensors"), lambda path: save_file(dict(donor.state), path)
        )
        write_text(directory / NAME, donor.genome.to_yaml())
    head = donor.for_classes(images.classes)[1]
    size = sum(tensor.numel() for tensor in donor.state.values())
    text = f"every trial starts from {spec.start} ({size / 1e6:.2f} M parameters); {head}"
    on_event(Event("message", data={"text": text}))
