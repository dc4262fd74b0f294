"""A search space as a YAML file: a base genome, the searched parameters, and the objectives.

    base: lavit_digits                           preset, genome file (relative to this one), or an inline genome
    parameters:                                  dotted path into the genome: values (nas/search/parameter.py)
      stages.{0,1}.split: {int: [0, 3]}
    objectives: {accuracy: max, macs: min}
    budget: {macs: 400_000}
    data: digits
    training: {epochs: 15}
    sampler: cost_aware                          or {name: tpe, startup: 4} (nas/search/samplers)
    scheduler: full                              or {name: halving, first: 6, factor: 2} (nas/search/schedulers);
    trials: 32                                   `halving: {first: 6, factor: 2}` is short for the latter
    seed: 0

`start: winner.yaml` in place of `base` searches around a trained model, from whose weights every trial begins.
Every other key except `parameters` has a default. Unknown keys are refused, with file and key path.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    ConfigDict,
    Field,
    PrivateAttr,
    SerializeAsAny,
    ValidationError,
    field_validator,
    model_validator,
)

from nas.engine import Limits, Workers
from nas.engine.start import Starting, refuse_edits_of_base, relative_to
from nas.engine.trackers import Name
from nas.errors import SpaceError, SpecError, from_pydantic
from nas.genome import Genome, load_genome
from nas.genome.settings import with_settings
from nas.metrics import METRICS, ON_TARGET, known_objectives
from nas.paths import SET
from nas.plain_yaml import read_yaml
from nas.search.budget import Budget
from nas.search.options import Named
from nas.search.parameter import Parameter, ParameterSpec, expand
from nas.search.samplers import SAMPLERS, SamplerOptions, sampler_options
from nas.search.samplers.cost_aware import CostAwareSampler
from nas.search.schedulers import (
    SCHEDULERS,
    SchedulerOptions,
    make_scheduler,
    scheduler_options,
    with_scheduler,
)
from nas.search.space import SearchSpace
from nas.search.study import check_url
from nas.shipped import SPACES
from nas.train import Task


def _with_halving(schema: dict[str, Any]) -> None:
    """The short form of the scheduler, which is no field."""
    text = "short for `scheduler: {name: halving, ...}`; null: no early stopping"
    schema["properties"]["halving"] = {"type": ["object", "null"], "description": text}


class SearchSpec(Starting):
    """A search space: see the head of this file.

    >>> load_space("lavit_split").with_settings({"trials": 8, "training.epochs": 3})
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, json_schema_extra=_with_halving)
    name: str = Field("", description="default: of the file")
    notes: str = Field("", description="free text")
    parameters: dict[str, ParameterSpec] = Field(
        min_length=1,
        description="paths into the genome and the values that are tried; braces and `*` stand for several paths",
    )
    objectives: dict[str, str] = Field(
        {"accuracy": "max", "macs": "min"},
        min_length=1,
        description="metrics and their directions; the first one orders the front",
    )
    budget: Budget = Field(
        Budget(), description="hard limits by metric, in its unit; a genome beyond one is not trained"
    )
    sampler: Annotated[SerializeAsAny[SamplerOptions], Named(SAMPLERS)] = Field(
        CostAwareSampler.Options(name="cost_aware"),
        description="suggests genomes; a name, or a mapping with its options",
    )
    scheduler: Annotated[SerializeAsAny[SchedulerOptions], Named(SCHEDULERS)] = Field(
        SchedulerOptions(name="full"),
        description="decides how long trials train; a name, or a mapping with its options",
    )
    trials: int = Field(32, ge=1, le=1_000_000, description="genomes that are trained; refused ones do not count")
    repeat: int = Field(
        1, ge=1, le=1000, description="trainings of each genome, with different seeds; the mean is what counts"
    )
    baseline: Literal["random"] | None = Field(
        None, description="as many trials again, drawn at random, to compare with"
    )
    warm_start: tuple[str, ...] = Field((), description="earlier runs, by name or path, whose trials are taken over")
    keep: Literal["front", "all"] = Field("front", description="weights that stay: of trials near the front, or of all")
    seed: int = Field(0, ge=0, le=2**63 - 1, description="root of all others")
    workers: Workers = Field(Workers(), description="resources of each worker")
    limits: Limits = Field(Limits(), description="when a trial is ended")
    storage: str | None = Field(None, description="where the run is kept as well: a path, s3://bucket/folder, ...")
    track: tuple[Name, ...] = Field((), description="tensorboard, mlflow, wandb, csv: told every epoch and outcome")
    study: str | None = Field(None, description="URL of the Optuna study's database; null: optuna.db in the run; off")
    _file: Path | None = PrivateAttr(None)

    @model_validator(mode="before")
    @classmethod
    def _general(cls, data: Any) -> Any:
        return with_scheduler(data) if isinstance(data, dict) and "halving" in data else data

    @field_validator("sampler", mode="before")
    @classmethod
    def _sampler(cls, value: Any) -> SamplerOptions:
        return sampler_options(value)

    @field_validator("scheduler", mode="before")
    @classmethod
    def _scheduler(cls, value: Any) -> SchedulerOptions:
        return scheduler_options(value)

    @field_validator("study")
    @classmethod
    def _usable(cls, value: str | None) -> str | None:
        if value not in (None, "off"):
            check_url(value)
        return value

    @field_validator("objectives")
    @classmethod
    def _known(cls, value: dict[str, str]) -> dict[str, str]:
        return known_objectives(value)

    @model_validator(mode="after")
    def _expandable(self) -> SearchSpec:
        self.expanded()
        return self

    def expanded(self) -> list[Parameter]:
        """The parameters with braces expanded."""
        made: list[Parameter] = []
        for path, spec in self.parameters.items():
            try:
                made += expand(path, spec)
            except SpecError as error:
                raise SpaceError(
                    error.message, path=".".join(p for p in ("parameters", path, error.path) if p)
                ) from None
        return made

    @model_validator(mode="after")
    def _selects(self) -> SearchSpec:
        if self.training.validation == 0:
            raise SpaceError(
                "a search selects by validation accuracy: expected more than 0", path="training.validation"
            )
        return self

    @model_validator(mode="after")
    def _schedulable(self) -> SearchSpec:
        try:
            scheduler = make_scheduler(self.scheduler, self.training.epochs)
        except SpecError as error:
            raise SpaceError(error.message, path=f"scheduler.{error.path}") from None
        if self.repeat > 1 and not scheduler.repeats:
            name = self.scheduler.name
            raise SpaceError(f"{name} trains every genome once; leave one of {name} and repeat out", path="repeat")
        return self

    @model_validator(mode="after")
    def _of_use(self) -> SearchSpec:
        if self.budget.table is not None and ON_TARGET not in self.costs:
            message = f"it is for {ON_TARGET}, which is neither a limit nor an objective; set `{ON_TARGET}: 4`, too"
            raise SpaceError(message, path="budget.table")
        return self

    @property
    def file(self) -> Path | None:
        """The file that it was read from, if any."""
        return self._file

    @property
    def costs(self) -> list[str]:
        """Metrics of the objectives and the budget that must be known before a candidate is trained."""
        return [name for name in dict.fromkeys([*self.objectives, *self.budget.limits]) if METRICS[name].budget]

    @property
    def costs_here(self) -> list[str]:
        """Those of this machine: latency is another device's if there is a table of it."""
        return [name for name in self.costs if name != ON_TARGET or self.budget.table is None]

    @property
    def task(self) -> Task:
        """The data and training recipe of every trial."""
        return self.task_of(self.seed)

    def genome(self) -> Genome:
        """The base genome: the start's, or as the file gives it. Raises GenomeError."""
        if self.donor is not None:
            return self.donor.genome
        assert self.base is not None
        if isinstance(self.base, str) and self._file is not None and (self._file.parent / self.base).exists():
            return load_genome(self._file.parent / self.base)
        try:
            return load_genome(self.base)
        except SpecError as error:
            raise error.within(file=self._file, path="base") from None

    def space(self, base: Genome) -> SearchSpace:
        """All genomes around `base`. Raises SpaceError with the key path if a parameter is valid in no genome."""
        try:
            return SearchSpace(base, self.expanded(), self.donor.genome if self.donor is not None else None)
        except SpaceError as error:
            raise error.within(file=self._file) from None

    def with_settings(self, changes: dict[str, Any]) -> SearchSpec:
        """A copy with values set at dotted paths; below `parameters.`, the rest of a path is one key. Raises SpecError.

        See nas/genome/settings.py.
        """
        data = self.plain()
        data["sampler"] = self.sampler.model_dump(mode="json", exclude_defaults=True)  # options differ by sampler
        if "sampler" not in self.model_fields_set:
            del data["sampler"]  # a run that is resumed keeps its own
        data["scheduler"] = self.scheduler.model_dump(mode="json", exclude_defaults=True)
        if data["scheduler"] == {"name": "full"}:
            del data["scheduler"]  # lets `halving.first=2` select another one
        data = with_settings(data, changes, keyed=("parameters",), named=("sampler", "scheduler"), file=self._file)
        spec = SearchSpec.parse(data, file=self._file, blame=SET if changes else None)
        refuse_edits_of_base(changes, spec.start)
        return spec

    @classmethod
    def parse(cls, data: Any, *, file: Path | None = None, blame: object = None) -> SearchSpec:
        """Validate plain data. Raises SpaceError with file (or `blame`) and key path."""
        if not isinstance(data, dict):
            raise SpaceError(
                f"a space is a mapping with `base:` and `parameters:`, found {type(data).__name__}", file=file
            )
        try:
            space = cls.model_validate(data)
        except ValidationError as error:
            raise from_pydantic(error, cls, kind=SpaceError, file=blame or file) from None
        space._file = file
        return space


def load_space(source: str | Path) -> SearchSpec:
    """The space in a YAML file, or the one of that name (nas/shipped.py).

    Raises SpaceError with file and key path.
    """
    path = SPACES.find(source)
    try:
        data = read_yaml(path)
    except SpecError as error:
        raise SpaceError(error.message, file=error.file, path=error.path) from None
    if isinstance(data, dict):
        data = _beside(relative_to({"name": path.stem} | data, path.parent), path.parent)
    return SearchSpec.parse(data, file=path.resolve())


def _beside(data: dict[str, Any], folder: Path) -> dict[str, Any]:
    """The plain data of a space's file, whose `budget.table` is relative to the file's folder."""
    budget = data.get("budget")
    if not isinstance(budget, dict) or not isinstance(budget.get("table"), str):
        return data
    return data | {"budget": budget | {"table": str(folder / budget["table"])}}


def list_spaces() -> list[str]:
    """Names of the spaces in ./search_spaces, and of those that come with the package."""
    return list(SPACES.files)
