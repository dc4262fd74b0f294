"""A metric: a number that objectives and budgets are stated in, with all that the rest of the package asks of it.

How it is known decides when:
    training   from a training's last epoch; the only kind that has to be paid for
    formula    from the genome alone, exactly, before anything runs
    table      from timings of the device's parts (nas/cost/latency.py), before anything runs; winners by the stopwatch

A metric that is known before training can be a budget, and a budget is hard. A new metric is one file:

    @metric("depth", direction="min", known="formula", heading="layers")
    def depth(genome: Genome) -> int:
        return sum(len(stage.layers) for stage in genome.layout)
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from nas.registry import Registry


@dataclass(frozen=True)
class Metric:
    """See the head of this file.

    value: of a genome for `formula`; of the predicted seconds of one batch for `table`; None for `training`, whose
    value is the column `name` of metrics.csv. batch_size: of those seconds. heading: of a table's column, with the
    unit. axis: of a figure. text: how a table prints a value. whole: values are integers.
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

    @property
    def sign(self) -> float:
        """Times a value gives a cost: less is better."""
        return -1.0 if self.direction == "max" else 1.0

    @property
    def budget(self) -> bool:
        """Whether a budget can be set: what is known only after training cannot be refused before."""
        return self.known != "training"


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
) -> Callable[[Callable[[Any], float]], Callable[[Any], float]]:
    """Register the function that works a metric out. See `Metric` for the arguments."""

    def register(value: Callable[[Any], float]) -> Callable[[Any], float]:
        made = Metric(name, direction, known, heading, axis or heading, text, value, batch_size, whole)
        METRICS.add(name)(made)
        return value

    return register


def signs(names: Iterable[str]) -> np.ndarray:
    """(metrics,) −1 where more is better, else 1."""
    return np.array([METRICS[name].sign for name in names])
