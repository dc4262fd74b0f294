"""A conversion as a YAML file: a trained model, what may stand in its layers, and what it may cost.

    start: winner.yaml                           the model: a genome file beside its weights, timm:NAME@FILE, ...
    data: imagefolder:photos
    budget: {macs: 0.8x, latency: 5}             hard; 0.8x is a share of the model's own
    candidates:                                  default: nas/convert/candidates.py
      reuse: {core: {block: less, transform: identity}}
    library: {rounds: 2, images: 4096}           each candidate trained alone (nas/convert/library.py)
    scored: 2000                                 validation images at most on which models are compared with the parent
    tried: 50                                    random assemblies that are measured, to learn how layers interact
    sharing: {epochs: 30}                        assemblies that are trained together first (nas/convert/sharing.py)
    points: 6                                    assemblies along the front that are repaired
    compare: [random, last]                      what else is repaired, to compare with (nas/convert/rivals.py)
    training: {epochs: 3}                        the repair: distillation from the model, from the assembly's weights
    repair: true                                 false: what was chosen stays as it is

Every key but `start` has a default. Unknown keys are refused, with file and key path.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import (
    ConfigDict,
    Field,
    ValidationError,
    ValidatorFunctionWrapHandler,
    field_validator,
    model_validator,
)

from nas.convert.candidates import DEFAULT, KEEP, Candidate
from nas.convert.library import Distillation
from nas.convert.rivals import Arm
from nas.convert.sharing import Sharing
from nas.engine import Limits, Workers
from nas.engine.start import Starting, relative_to
from nas.errors import SpaceError, from_pydantic, nearest, shown, wording
from nas.genome.settings import with_settings
from nas.metrics import METRICS, Costs, known_objectives
from nas.paths import SET
from nas.plain_yaml import read_yaml
from nas.search.budget import Budget
from nas.train import Task, Training
from nas.train.recipe import only_given
from nas.train.recipes import over, recipe_values

# Short, at a rate for trained weights, without what makes a teacher's answers harder to follow.
REPAIR = {"epochs": 3, "lr": 2e-3, "warmup_epochs": 0.5, "label_smoothing": 0.0, "inherited_lr": 0.1, "closed_form": 0}
TEACHER = {"kind": "soft", "weight": 1.0, "hidden": 1.0}  # Puzzle's loss; the labels added nothing there
_SHARE = re.compile(r"([0-9]+\.?[0-9]*|\.[0-9]+)x")
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")  # a part of file names in library/


class ConversionSpec(Starting):
    """See the head of this file.

    >>> ConversionSpec.parse({"start": "winner.yaml", "budget": {"macs": "0.8x"}})
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
    name: str = Field("", description="default: of the file")
    notes: str = Field("", description="free text")
    candidates: dict[str, Candidate] = Field(DEFAULT, min_length=1, description="what may stand in a layer, by name")
    objectives: dict[str, str] = Field(
        {"accuracy": "max", "macs": "min"},
        min_length=2,
        description="accuracy and the costs of the front; the first cost is swept",
    )
    budget: dict[str, float | str] = Field(
        default={}, description="limits by metric; `0.8x`: a share of the model's own"
    )
    library: Distillation = Field(Distillation(), description="how each candidate is trained alone")
    scored: int = Field(
        2000,
        ge=1,
        le=1_000_000_000,
        description="validation images at most on which models are compared with the parent",
    )
    tried: int = Field(
        50, ge=0, le=10_000, description="random assemblies that are measured, to learn how layers interact"
    )
    sharing: Sharing = Field(Sharing(), description="how assemblies are trained together before the repair")
    points: int = Field(6, ge=1, le=1000, description="assemblies along the front that are repaired")
    repair: bool = Field(
        True, description="whether chosen assemblies are trained further, each alone; false: they stay as they are"
    )
    compare: tuple[Arm, ...] = Field((), description="simpler rules whose assemblies are repaired as well")
    seed: int = Field(0, ge=0, le=2**63 - 1, description="root of all others")
    workers: Workers = Field(Workers(), description="resources of each worker")
    limits: Limits = Field(Limits(), description="when a trial is ended")
    storage: str | None = Field(None, description="where the run is kept as well: a path, s3://bucket/folder, ...")

    @field_validator("training", mode="wrap")
    @classmethod
    def _repair(cls, value: Any, handler: ValidatorFunctionWrapHandler) -> Training:
        """The repair's own recipe, on top of it a published one that is named, and on top of both what is given."""
        if not isinstance(value, dict):
            return handler(value)  # type: ignore[no-any-return]
        name = value.get("recipe")
        named = recipe_values(name) if isinstance(name, str) else {}
        return only_given(handler(over(REPAIR | named, value)), value)

    @field_validator("candidates")
    @classmethod
    def _named(cls, value: dict[str, Candidate]) -> dict[str, Candidate]:
        if KEEP in value:
            raise SpaceError(f"{KEEP} is the model's own attention, and always there", path=KEEP)
        for name in value:
            if not _NAME.fullmatch(name):
                raise SpaceError("expected a name of letters, digits, _, . and -, with no dot first", path=name)
        return value

    @field_validator("objectives")
    @classmethod
    def _known(cls, value: dict[str, str]) -> dict[str, str]:
        known_objectives(value)
        if "accuracy" not in value:
            raise SpaceError("a conversion trades accuracy for a cost: name both", path="accuracy")
        return value

    @field_validator("budget")
    @classmethod
    def _limits(cls, value: dict[str, float | str]) -> dict[str, float | str]:
        if "table" in value:
            message = "a conversion goes by times of its own machine; a table of another device is for searches"
            raise SpaceError(message, path="table")
        for name, limit in value.items():
            share = _SHARE.fullmatch(limit) if isinstance(limit, str) else None
            if isinstance(limit, str) and share is None:
                raise SpaceError(f"expected a number, or a share such as 0.8x; found {shown(limit)}", path=name)
            if not float(share[1] if share else limit) > 0:
                raise SpaceError(f"expected more than 0, found {shown(limit)}", path=name)
        Budget.model_validate(dict.fromkeys(value, 1.0))
        return value

    @model_validator(mode="after")
    def _begins(self) -> ConversionSpec:
        if self.start is None:
            raise SpaceError("a conversion needs a trained model", path="start")
        if self.sharing.epochs and self.compare:
            message = "what is compared has the repair alone, and the chosen assemblies a shared training before it"
            raise SpaceError(f"{message}: leave one of compare and sharing out", path="compare")
        if self.sharing.epochs:
            try:
                self.sharing.recipe(self.training, Path(self.start))
            except ValidationError as error:  # a rate below those that the repair begins or ends with
                raise SpaceError(wording(error.errors()[0]), path="sharing") from None
        return self

    @property
    def costs(self) -> list[str]:
        """Metrics of objectives and budget that are known before training; latency always, which says what can pay."""
        names = dict.fromkeys([*self.objectives, *self.budget, "latency"])
        return [name for name in names if METRICS[name].budget]

    @property
    def sweep(self) -> str:
        """The cost along which the front runs: the first objective that is one."""
        return next(name for name in self.objectives if name != "accuracy")

    @property
    def most_trials(self) -> int:
        """The model itself, and for each point the chosen assembly and one of every arm."""
        return 1 + self.points * (1 + len(self.compare))

    def budget_of(self, parent: Costs) -> Budget:
        """The limits in the metrics' units. parent: the model's own costs; metrics that it lacks have no limit."""
        limits = {}
        for name, limit in self.budget.items():
            if name not in parent:
                continue
            share = _SHARE.fullmatch(limit) if isinstance(limit, str) else None
            limits[name] = parent[name] * float(share[1]) if share else float(limit)
        return Budget.model_validate(limits)

    @property
    def task(self) -> Task:
        """The data and the recipe of the repair."""
        return self.task_of(self.seed)

    def only(self, names: Sequence[str] | None) -> ConversionSpec:
        """With these candidates alone; None: with all. Raises SpaceError for an unknown name, and for none."""
        if names is None:
            return self
        if not names:
            raise SpaceError(f"names no candidate; allowed: {', '.join(self.candidates)}", path="--cores")
        for name in names:
            if name not in self.candidates:
                raise SpaceError(f"no candidate {shown(name)}; {nearest(name, self.candidates)}", path="--cores")
        return self.model_copy(update={"candidates": {name: self.candidates[name] for name in names}})

    def with_settings(self, changes: dict[str, Any]) -> ConversionSpec:
        """A copy with values set at dotted paths. Raises SpecError."""
        data = with_settings(self.plain(), changes, keyed=("candidates.*",))
        return ConversionSpec.parse(data, file=SET if changes else self.name)

    @classmethod
    def parse(cls, data: Any, *, file: object = None) -> ConversionSpec:
        """Validate plain data. Raises SpaceError with file and key path."""
        if not isinstance(data, dict):
            raise SpaceError(f"a conversion is a mapping with `start:`, found {type(data).__name__}", file=file)
        try:
            return cls.model_validate({"training": {}} | data)
        except ValidationError as error:
            raise from_pydantic(error, cls, kind=SpaceError, file=file) from None


def conversion_of(model: str) -> ConversionSpec:
    """The conversion that a YAML file describes (it has `start:`), or that of a model with all defaults.

    >>> conversion_of("timm:deit_tiny_patch16_224@weights.safetensors").name
    'convert'
    """
    path = Path(model)
    data = read_yaml(path) if path.suffix in (".yaml", ".yml") and path.exists() else None
    if isinstance(data, dict) and "start" in data:
        return ConversionSpec.parse(relative_to({"name": path.stem} | data, path.parent), file=path)
    return ConversionSpec.parse({"name": "convert", "start": model})


def recipe(spec: ConversionSpec, teacher: Path) -> Training:
    """The repair's recipe; the model itself teaches, unless the spec names another teacher."""
    if spec.training.teacher is not None:
        return spec.training
    data = spec.training.model_dump(mode="json") | {"teacher": TEACHER | {"model": str(teacher)}}
    return Training.model_validate(data)
