"""Choose from a front: the best winner within limits on its costs.

Limits are those of a budget (nas/search/budget.py): at most where less is better, at least where more is better. A
metric that was predicted for the search and measured for its winners counts as measured. Best is by the first objective
of the run, by which front.csv is sorted. While a search goes on, its winners are those of when it last ended.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from pydantic import ValidationError

from nas.engine.reading import ANEW, hold_to_front
from nas.errors import RunError, SpecError, from_pydantic
from nas.genome import load_genome
from nas.metrics import METRICS, ON_TARGET
from nas.report.front import GONE, hold_to_winners, read_front, remedy_in
from nas.report.run import read_run
from nas.report.tables import cell, with_error
from nas.search.budget import Budget


@dataclass(frozen=True)
class Winner:
    """A winner of a run. genome: its file, for `nas.load` and `nas.build`. values: a row of front.csv, without gaps."""

    name: str
    genome: Path
    values: dict[str, Any]
    word: str = "accuracy"  # agreement, where the images have no labels
    device: str | None = None  # that latency is of, where it is another one than the run's

    @property
    def metrics(self) -> dict[str, float]:
        """What the winner is and costs, by metric; measured where it was."""
        return {name: self.values[column] for name in METRICS if (column := _column(name, self.values))}

    def __str__(self) -> str:
        """`w2-0019: accuracy 96.88 ± 1.08 %, 879 k MACs, 141 k params, 12,300 images/s; test 96.38 %`"""
        shown = {name: METRICS[name].phrase(value) for name, value in self.metrics.items()}
        if self.device is not None and ON_TARGET in shown:
            shown[ON_TARGET] += f" on {self.device}"
        shown["accuracy"] = (
            f"{self.word} {with_error('accuracy', self.values['accuracy'], self.values.get('accuracy_se'))} %"
        )
        test = self.values.get("accuracy_test")
        ending = "" if test is None else f"; test {cell('accuracy_test', test)} %"
        return f"{self.name}: {', '.join(shown.values())}{ending}"


def best_winner(directory: Path, limits: Mapping[str, float]) -> Winner:
    """The first winner of the front that is within all limits.

    Raises RunError for a run without winners, for a limit that its front has no values of, and if no winner is within
    the limits, with the nearest one.

    >>> best_winner(Path("results/my_run"), {"macs": 900_000}).name
    'w2-0019'
    """
    if "table" in limits:
        message = "no limit; the run has the table that its latency goes by"
        raise RunError(message, file="limits", path="table")
    try:
        budget = Budget.model_validate(dict(limits))
    except ValidationError as error:
        raise from_pydantic(error, Budget, kind=RunError, file="limits") from None
    winners = _winners(directory)
    valued = [winner for winner in winners if budget.limits.keys() <= winner.metrics.keys()]
    if not valued:
        known = dict.fromkeys(name for winner in winners for name in winner.metrics if METRICS[name].budget)
        message = f"the front has no such values; it has {', '.join(known)}"
        raise RunError(message, file="limits", path=", ".join(budget.limits))
    excess = [max(budget.violations(winner.metrics).values(), default=0.0) for winner in valued]
    within = [winner for winner, most in zip(valued, excess, strict=True) if most <= 0]
    if not within:
        nearest = valued[excess.index(min(excess))]
        found = f"the nearest, {nearest.name}: {budget.refusal(nearest.metrics)}"
        raise RunError(f"no winner is within the limits; {found}", file=directory)
    _check_genome(within[0])
    return within[0]


def _winners(directory: Path) -> list[Winner]:
    run, file = read_run(directory), directory / "front.csv"
    if not file.exists():
        what = "an ablation has none" if run.facts.get("kind") == "ablation" else "front.csv is written at its end"
        raise RunError(f"the run has no winners: {what}", file=directory)
    front = run.front
    if "winner" not in front:  # the search has gone on: its winners are those of before
        front = read_front(directory, "winner")
        hold_to_winners(front, directory, run.ledger, run.winners)
    rows = front.to_dict("records")
    if not rows:
        raise RunError("it has no winners: no trial is complete", file=file)
    return [
        Winner(
            row["winner"],
            directory / "winners" / f"{row['winner']}.yaml",
            {str(column): value for column, value in row.items() if pd.notna(value)},
            run.worded("accuracy"),
            run.target["device"] if run.target is not None else None,
        )
        for row in rows
    ]


def _check_genome(winner: Winner) -> None:
    """Raises RunError if the winner's file is another genome than its row is of, which was held to its trial.

    A genome that cannot be read here, without a plug-in for instance, is left to whoever loads it.
    """
    if winner.genome.parent.is_dir() and not winner.genome.exists():
        trained_here = (winner.genome.parents[1] / "trials").is_dir()
        raise RunError(f"gone; {ANEW if trained_here else GONE}", file=winner.genome)
    try:
        genome = load_genome(winner.genome)
    except SpecError:
        return
    hold_to_front(genome, str(winner.values["hash"]), winner.genome, remedy_in(winner.genome.parents[1]))


def _column(metric: str, values: Mapping[str, Any]) -> str | None:
    return next((name for name in (f"{metric}_measured", metric) if name in values), None)
