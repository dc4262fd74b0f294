"""A metric: the value of objectives and budgets, with its direction, unit and format.

The source of its values determines when they are known:
    training   the last epoch of a training (accuracy)
    formula    the genome, exactly, before training
    table      timings of parts (nas/profiling/latency.py), before training; for winners, the stopwatch

A metric that is known before training is a cost. A cost can be a budget, and a budget is hard. A new cost is one
function in one file; it can then be an objective, a budget, a column of the tables and a figure of the report:

    @metric("depth", direction="min", known="formula", heading="layers", whole=True)
    def depth(genome: Genome) -> int:
        return sum(len(stage.layers) for stage in genome.layout)
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from nas.errors import SpaceError, SpecError, nearest, shown
from nas.metrics.columns import COLUMNS, KEYS
from nas.registry import Registry


@dataclass(frozen=True)
class Metric:
    """See the head of this file.

    value: function of a genome for `formula`, of the seconds of one batch for `table`; None for `training`.
    batch_size: of those seconds. heading: of a table's column, with the unit. axis: of a figure. text: format of a
    value in a table. unit: appended in a sentence. whole: values are integers.
    """

    name: str
    direction: Literal["max", "min"]
    known: Literal["training", "formula", "table"]
    heading: str
    axis: str
    text: Callable[[float], str]
    value: Callable[[Any], float] | None = None
    batch_size: int | None = None
    whole: bool = False
    unit: str = ""

    @property
    def budget(self) -> bool:
        """Whether it can be a budget: values must be known before training."""
        return self.known != "training"

    def of(self, argument: Any) -> float:
        """The value for a genome (`formula`), or for the seconds of one batch (`table`)."""
        assert self.value is not None
        try:
            value = self.value(argument)
            if isinstance(value, bool | np.bool_):
                raise ValueError(f"expected a number, found {value}")
            if not 0 <= value < (2**63 if self.whole else math.inf):  # what trial.json is read with (nas/engine/job.py)
                allowed = "a whole number from 0 to 2**63 - 1" if self.whole else "a finite number from 0 on"
                raise ValueError(f"expected {allowed}, found {value}")
            return int(value) if self.whole else float(value)
        except BaseException as error:  # SystemExit would end the command as if all were well
            if isinstance(error, KeyboardInterrupt) or self.value.__module__.startswith("nas."):
                raise
            what = f"the metric {self.name!r} cannot be worked out: {type(error).__name__}: {error}"
            raise SpecError(what, file=self.value.__code__.co_filename) from error

    def phrase(self, value: float) -> str:
        """A value with its unit, for a sentence.

        >>> METRICS["macs"].phrase(331_000)
        '331 k MACs'
        """
        return f"{self.text(value)} {self.unit}".rstrip()


METRICS: Registry[Metric] = Registry("metric", "nas.metrics")


def metric(
    name: str,
    *,
    direction: Literal["max", "min"],
    known: Literal["formula", "table"],
    heading: str,
    axis: str | None = None,
    text: Callable[[float], str] = "{:,.4g}".format,
    batch_size: int | None = None,
    whole: bool = False,
    unit: str = "",
) -> Callable[[Callable[[Any], float]], Callable[[Any], float]]:
    """Register the function that computes a metric. See `Metric` for the arguments."""

    if name in COLUMNS | KEYS or name.startswith("accuracy_") or name.endswith("_measured"):
        raise SpecError(f"metric {name!r}: a column of the tables or a key of a trial has this name; choose another")
    if direction not in ("max", "min") or known not in ("formula", "table"):
        raise SpecError(f"metric {name!r}: a direction is max or min, and it is known by formula or table")
    if (known == "table") != (batch_size is not None):
        raise SpecError(f'metric {name!r}: `batch_size` goes with known="table", and only with it')

    def register(value: Callable[[Any], float]) -> Callable[[Any], float]:
        made = Metric(name, direction, known, heading, axis or heading, text, value, batch_size, whole, unit)
        METRICS.add(name)(made)
        return value

    return register


def known_objectives(objectives: dict[str, str]) -> dict[str, str]:
    """The objectives themselves. Raises SpaceError, naming the metric, for an unknown one or a wrong direction.

    >>> known_objectives({"accuracy": "max", "macs": "min"})
    {'accuracy': 'max', 'macs': 'min'}
    """
    for name, direction in objectives.items():
        if name not in METRICS:
            raise SpaceError(f"no objective {shown(name)}; {nearest(name, METRICS)}", path=name)
        if direction != METRICS[name].direction:
            raise SpaceError(f"expected {METRICS[name].direction}, found {shown(direction)}", path=name)
    return objectives


def signs(names: Iterable[str]) -> np.ndarray:
    """(metrics,) −1 where more is better, else 1.

    A mapping brings its directions along: the file of a run may name a metric whose plug-in is not here.
    """
    given = names if isinstance(names, Mapping) else {name: METRICS[name].direction for name in names}
    return np.array([-1.0 if direction == "max" else 1.0 for direction in given.values()])
