"""A search space as a YAML file: a base genome, what is searched around it, and what counts as better.

    base: lavit_digits                           preset, genome file (relative to this one), or a genome in place
    parameters:                                  dotted path into the genome: values (nas/search/parameter.py)
      stages.{0,1}.split: {int: [0, 3]}
    objectives: {accuracy: max, macs: min}
    budget: {macs: 400_000}
    data: digits
    training: {epochs: 15}
    sampler: tpe
    trials: 32
    seed: 0

Every key has a default but `base`, `parameters`; unknown keys are refused with file and key path.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, ValidationError, field_validator, model_validator

from nas.engine import Workers
from nas.errors import SpaceError, SpecError, from_pydantic, nearest
from nas.files import parse_yaml, read_yaml
from nas.genome import Genome, load_genome
from nas.metrics import METRICS
from nas.search.budget import Budget
from nas.search.halving import Halving
from nas.search.mirror import check_url
from nas.search.parameter import Parameter, ParameterSpec, expand
from nas.search.space import SearchSpace
from nas.train import Training

FOLDERS = (Path("search_spaces"), Path(__file__).parents[2] / "search_spaces")


class SamplerSpec(BaseModel):
    """The `sampler:` section, or just a name. The numbers are filled in when a run starts, and kept when it resumes.

    lag: the n-th suggestion knows the outcomes of all trials but the `lag` latest, in whatever order those end. So the
    seed alone determines the search; null: twice the number of workers.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    name: Literal["tpe", "nsga2", "nsga3", "gp", "random", "qmc", "grid"] = "tpe"
    startup: int = Field(10, ge=1, description="random trials before tpe and gp look at outcomes")
    population: int | None = Field(None, ge=2, description="of nsga2 and nsga3; null: a fifth of the trials, 8 to 50")
    lag: int | None = Field(None, ge=0)


class SearchSpec(BaseModel):
    """A search space: see the head of this file.

    >>> load_space("lavit_split").with_settings(["trials=8", "training.epochs=3"])
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
    name: str = ""
    notes: str = ""
    base: str | dict[str, Any]
    parameters: dict[str, ParameterSpec] = Field(min_length=1)
    objectives: dict[str, str] = Field({"accuracy": "max", "macs": "min"}, min_length=1)
    budget: Budget = Budget()
    data: str = "digits"
    image_size: int | None = Field(None, ge=1, description="side to which images are brought; null: as the data has it")
    training: Training = Training()
    sampler: SamplerSpec = SamplerSpec()
    trials: int = Field(32, ge=1, description="genomes that are trained; refused ones do not count")
    repeat: int = Field(1, ge=1, description="trainings of each genome, with different seeds; the mean is what counts")
    halving: Halving | None = Field(None, description="train most trials only a little; null: each to its end")
    baseline: Literal["random"] | None = Field(
        None, description="as many trials again, drawn at random, to compare with"
    )
    warm_start: tuple[str, ...] = Field((), description="earlier runs, by name or path, whose trials are taken over")
    keep: Literal["front", "all"] = Field("front", description="weights that stay: of trials near the front, or of all")
    seed: int = Field(0, ge=0)
    workers: Workers = Workers()
    storage: str | None = Field(None, description="where the run is kept as well: a path, s3://bucket/folder, ...")
    study: str | None = Field(None, description="URL of the Optuna study's database; null: optuna.db in the run; off")
    _file: Path | None = PrivateAttr(None)

    @field_validator("sampler", mode="before")
    @classmethod
    def _named(cls, value: Any) -> Any:
        return {"name": value} if isinstance(value, str) else value

    @field_validator("study")
    @classmethod
    def _usable(cls, value: str | None) -> str | None:
        if value not in (None, "off"):
            check_url(value)
        return value

    @field_validator("objectives")
    @classmethod
    def _known(cls, value: dict[str, str]) -> dict[str, str]:
        for name, direction in value.items():
            if name not in METRICS:
                raise SpaceError(f"no objective {name!r}; {nearest(name, METRICS)}", path=name)
            if direction != METRICS[name].direction:
                raise SpaceError(f"expected {METRICS[name].direction}, found {direction!r}", path=name)
        return value

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
    def _once(self) -> SearchSpec:
        if self.halving and self.repeat > 1:
            raise SpaceError("halving trains every genome once; leave one of halving and repeat out", path="repeat")
        if self.halving and self.halving.first >= self.training.epochs:
            message = f"the first rung, {self.halving.first} epochs, is the whole training of {self.training.epochs}"
            raise SpaceError(message, path="halving.first")
        return self

    @property
    def costs(self) -> list[str]:
        """Metrics of the objectives and the budget that must be known of a candidate before it is trained."""
        return [name for name in dict.fromkeys([*self.objectives, *self.budget.limits]) if METRICS[name].budget]

    def genome(self) -> Genome:
        """The base genome as the file gives it. Raises GenomeError."""
        if isinstance(self.base, str) and self._file is not None and (self._file.parent / self.base).exists():
            return load_genome(self._file.parent / self.base)
        try:
            return load_genome(self.base)
        except SpecError as error:
            raise error.within(file=self._file, path="base") from None

    def space(self, base: Genome) -> SearchSpace:
        """All genomes around `base`. Raises SpaceError with the key path for a parameter that fits no genome."""
        try:
            return SearchSpace(base, self.expanded())
        except SpaceError as error:
            raise error.within(file=self._file) from None

    def with_settings(self, settings: list[str]) -> SearchSpec:
        """A copy with `key.path=value` settings applied; values are read as YAML. Raises SpaceError."""
        data = self.model_dump(mode="json", exclude_defaults=True)
        for setting in settings:
            key, equals, text = setting.partition("=")
            if not equals or not key:
                raise SpaceError(f"expected key.path=value, found {setting!r}", file="SET")
            _set(data, key.strip().split("."), parse_yaml(text, file=f"SET {key}"), key)
        return SearchSpec.parse(data, file=self._file, blame="SET" if settings else None)

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
    """The space that a YAML file describes, or the one of that name in `search_spaces/`.

    Raises SpaceError with file and key path.
    """
    path = _find(source)
    try:
        data = read_yaml(path)
    except SpecError as error:
        raise SpaceError(error.message, file=error.file, path=error.path) from None
    if isinstance(data, dict):
        data = {"name": path.stem} | data
    return SearchSpec.parse(data, file=path.resolve())


def list_spaces() -> list[str]:
    """Names of the spaces in `search_spaces/`."""
    return sorted({path.stem for folder in FOLDERS for path in folder.glob("*.yaml")})


def _find(source: str | Path) -> Path:
    if Path(source).suffix in (".yaml", ".yml"):
        return Path(source)
    for folder in FOLDERS:
        path = folder / f"{source}.yaml"
        if path.exists():
            return path
    raise SpaceError(f"no space called {str(source)!r} in search_spaces/; {nearest(source, list_spaces())}")


def _set(data: dict[str, Any], keys: list[str], value: Any, key: str) -> None:
    """Set a value in the space's plain data, where `parameters` and `base` may be given in short."""
    if keys[0] == "parameters" and len(keys) > 1:  # the paths there have dots themselves
        data["parameters"] = data.get("parameters", {}) | {key.removeprefix("parameters."): value}
        return
    for part in keys[:-1]:
        inner = data.get(part, {})
        if part == "sampler" and isinstance(inner, str):
            inner = {"name": inner}
        if not isinstance(inner, dict):
            raise SpaceError(f"nothing below {part!r} to set: it is {inner!r}", file="SET", path=key)
        data[part] = data = dict(inner)
    data[keys[-1]] = value
