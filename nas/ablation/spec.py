"""An ablation as a YAML file: a base genome, arms that edit it, seeds, and one training for all.

    base: castling_digits
    claim: linear-angular attention needs its helpers          the hypothesis that the table tests
    factors:                                                   each a choice of levels; the first is "without"
      local: {none: {stages.*.local: null}, dwconv: {stages.*.local: depthwise}}
      mask:  {no: {stages.*.auxiliary: null}, yes: {}}
    design: factorial                                          or one_at_a_time, leave_one_out
    arms:                                                      further arms, as dotted-path edits of the base
      softmax: {stages.*.core: softmax, stages.*.auxiliary: null, stages.*.local: null}
    baseline: softmax                                          default: the first arm
    seeds: 3                                                   a number, or a list
    data: digits
    training: {epochs: 15}

`start: winner.yaml` in place of `base` compares changes of a trained model, from whose weights every arm begins.
Designs: `factorial` has every combination of levels; `one_at_a_time` has all first levels, then one arm per further
level of a factor; `leave_one_out` has all last levels, then one arm per factor with that factor at its first level.
Levels called `no` and `yes` become check-marks. All arms are validated before training starts.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import ConfigDict, Field, ValidationError, ValidationInfo, field_validator, model_validator

from nas.engine import Limits, Workers
from nas.engine.start import Starting, refuse_edits_of_base, relative_to
from nas.engine.trackers import Name
from nas.errors import SpaceError, SpecError, from_pydantic, nearest, shown
from nas.genome import Genome, load_genome
from nas.genome.settings import with_settings
from nas.metrics import METRICS
from nas.metrics.columns import COLUMNS
from nas.model.inheritable import check_inheritable
from nas.paths import SET
from nas.plain_yaml import read_yaml
from nas.seeds import derive
from nas.shipped import ABLATIONS
from nas.train import Task

Edits = dict[str, Any]
MAX_ARMS = 10_000  # and as many seeds
FORMULA = ("=", "@", "\t", "\r")


@dataclass(frozen=True)
class Arm:
    """One row of the table: a genome and its level of each factor ("" for an arm listed under `arms:`)."""

    name: str
    genome: Genome
    levels: dict[str, str]


class Ablation(Starting):
    """See the head of this file. `arms_of(base)` lists the rows.

    >>> [arm.name for arm in load_ablation("castling_terms").arms_of(load_genome("castling_digits"))]
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
    name: str = Field("", description="default: of the file")
    claim: str = Field("", description="the hypothesis that the table tests; printed in its caption")
    factors: dict[str, dict[str, Edits]] = Field(
        default={},
        description='by name, each with levels by name: edits of the base, by dotted path; the first is "without"',
    )
    design: Literal["factorial", "one_at_a_time", "leave_one_out"] = Field(
        "factorial", description="which combinations of levels are arms"
    )
    arms: dict[str, Edits] = Field(default={}, description="further arms by name: edits of the base, by dotted path")
    baseline: str | None = Field(None, description="arm that the others are compared with; null: the first")
    seeds: int | tuple[int, ...] = Field(3, description="a number of seeds (derived from 0, 1, ...), or a list")
    split_seed: int = Field(
        0, ge=0, le=2**63 - 1, description="of the validation split and of the subset of `training.limit`"
    )
    workers: Workers = Field(Workers(), description="resources of each worker")
    limits: Limits = Field(Limits(), description="when a trial is ended")
    track: tuple[Name, ...] = Field((), description="tensorboard, mlflow, wandb, csv: told every epoch and outcome")
    storage: str | None = Field(None, description="a copy of the run is kept there: a path, s3://bucket/folder, ...")

    @field_validator("arms", "factors")
    @classmethod
    def _no_formulas(cls, value: dict[str, Any], info: ValidationInfo) -> dict[str, Any]:
        """Names are cells of table.csv and trials.csv, in which spreadsheets carry out what begins so.

        So they do with + and -, which stay: `-LA` is an arm without LA, and a level may be a negative number.
        """
        levels = [level for each in value.values() for level in each] if info.field_name == "factors" else []
        for name in [*value, *levels]:
            if name.startswith(FORMULA):
                what = f"a spreadsheet would take the name {shown(name)} for a formula"
                raise SpaceError(f"{what}; let it not begin with =, @, a tab or a carriage return")
        return value

    @model_validator(mode="after")
    def _has_arms(self) -> Ablation:
        if not self.factors and not self.arms:
            raise SpaceError("there is nothing to compare: give `factors:` or `arms:`")
        for factor, levels in self.factors.items():
            if factor in COLUMNS or factor in METRICS:  # a factor has a column of its own
                message = f"the table has a column {shown(factor)}: give the factor another name"
                raise SpaceError(message, path=f"factors.{factor}")
            if len(levels) < 2:
                raise SpaceError(f"a factor needs at least two levels, found {list(levels)}", path=f"factors.{factor}")
        if isinstance(self.seeds, int) and self.seeds > MAX_ARMS:
            raise SpaceError(f"at most {MAX_ARMS} seeds, found {shown(self.seeds)}", path="seeds")
        found = math.prod(map(len, self.factors.values()))
        if self.design == "factorial" and found > MAX_ARMS:
            raise SpaceError(f"at most {MAX_ARMS} arms, and these factors have {found:,} combinations", path="factors")
        names = [name for name, _, _ in self._listed()]
        if len(set(names)) < len(names):
            raise SpaceError("two arms have the same name", path="arms")
        if self.baseline is not None and self.baseline not in names:
            raise SpaceError(
                f"no arm is called {shown(self.baseline)}; {nearest(self.baseline, names)}", path="baseline"
            )
        if not self.seed_list:
            raise SpaceError("at least one seed is needed", path="seeds")
        if len(set(self.seed_list)) < len(self.seed_list):
            raise SpaceError(f"a seed is listed twice, found {list(self.seed_list)}; list each seed once", path="seeds")
        return self

    @property
    def seed_list(self) -> tuple[int, ...]:
        """The training seed of each repetition; all arms share them, so differences are paired."""
        return (
            self.seeds if isinstance(self.seeds, tuple) else tuple(derive(0, "ablation", i) for i in range(self.seeds))
        )

    @property
    def baseline_name(self) -> str:
        return self.baseline or self._listed()[0][0]

    def with_settings(self, changes: dict[str, Any]) -> Ablation:
        """A copy with values set at dotted paths. Below an arm or a level, the rest of a path is one key of its edits.

        Raises SpecError. See nas/genome/settings.py.

        >>> load_ablation("lavit_split").with_settings({"training.epochs": 3, "arms.half.stages.*.split": 2})
        """
        keyed = ("arms.*", "factors.*.*")
        data = with_settings(self.plain(), changes, keyed=keyed, file=self.name)
        ablation = parse_ablation(data, file=SET if changes else self.name)
        refuse_edits_of_base(changes, ablation.start)
        return ablation

    @property
    def task(self) -> Task:
        """The dataset and recipe of all arms."""
        return self.task_of(self.split_seed)

    def genome(self) -> Genome:
        """The base genome: the start's, or `base`, whose path `load_ablation` has resolved against its own folder."""
        if self.donor is not None:
            return self.donor.genome
        assert self.base is not None
        return load_genome(self.base)

    def arms_of(self, base: Genome) -> list[Arm]:
        """The rows of the table. Raises SpecError, naming the arm, if its edits do not give a valid genome."""
        arms = []
        for name, edits, levels in self._listed():
            try:
                arms.append(Arm(name, base.edit(edits), levels))
                if self.donor is not None:
                    check_inheritable(arms[-1].genome, self.donor.genome)
            except SpecError as error:
                raise error.within(file=self.name, path=f"arm {name}") from None
        return arms

    def _listed(self) -> list[tuple[str, Edits, dict[str, str]]]:
        listed = []
        for levels in self._designed():
            edits: Edits = {}
            for factor, level in levels.items():
                edits |= self.factors[factor][level]
            listed.append((_name(levels), edits, levels))
        return listed + [(name, edits, dict.fromkeys(self.factors, "")) for name, edits in self.arms.items()]

    def _designed(self) -> list[dict[str, str]]:
        if not self.factors:
            return []
        options = {factor: list(levels) for factor, levels in self.factors.items()}
        if self.design == "factorial":
            return [dict(zip(options, chosen, strict=True)) for chosen in itertools.product(*options.values())]
        if self.design == "leave_one_out":
            full = {factor: levels[-1] for factor, levels in options.items()}
            return [full, *(full | {factor: levels[0]} for factor, levels in options.items())]
        bare = {factor: levels[0] for factor, levels in options.items()}
        return [bare, *(bare | {factor: level} for factor, levels in options.items() for level in levels[1:])]


def _name(levels: dict[str, str]) -> str:
    """`local dwconv, mask`: the factors whose level is not called no or none."""
    parts = [f if level == "yes" else f"{f} {level}" for f, level in levels.items() if level not in ("no", "none")]
    return ", ".join(parts) or "none"


def load_ablation(name: str) -> Ablation:
    """An ablation by its name (nas/shipped.py), or from a YAML file. Raises SpecError with file and key path."""
    path = ABLATIONS.find(name)
    data = read_yaml(path)
    if not isinstance(data, dict):
        raise SpaceError(f"an ablation is a mapping with `base:` and `arms:`, found {type(data).__name__}", file=path)
    base = data.get("base")
    if isinstance(base, str) and base.endswith((".yaml", ".yml")):
        data = data | {"base": str((path.parent / base).resolve())}
    return parse_ablation(relative_to({"name": path.stem} | data, path.parent), file=path)


def parse_ablation(data: dict[str, Any], *, file: object = None) -> Ablation:
    """Validate plain data. Raises SpaceError with file and key path."""
    try:
        return Ablation.model_validate(data)
    except ValidationError as error:
        raise from_pydantic(error, Ablation, kind=SpaceError, file=file) from None
