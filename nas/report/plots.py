"""The figures of a run, drawn with matplotlib from its tables. Each function returns a Figure and writes no file.

Colours are Okabe and Ito's, distinct under any colour vision; where colour has a meaning, the marker or line style
differs as well (`look`). Figures are made without pyplot, so no display is needed and no state is shared. What is drawn
in grey for each of many trials is a bitmap within vector files, which stay small.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from nas.metrics import METRICS
from nas.numbers import magnitude
from nas.report.importance import Importance

BLUE, VERMILLION, GREEN, ORANGE, SKY, PURPLE, BLACK = (
    "#0072B2", "#D55E00", "#009E73", "#E69F00", "#56B4E9", "#CC79A7", "#000000",
)  # fmt: skip
GREY = "#9a9a9a"
COLOURS = (BLUE, VERMILLION, GREEN, ORANGE, PURPLE, SKY, BLACK)
DASHES: tuple[tuple[float, ...], ...] = ((), (5, 2), (1, 1.2), (6, 2, 1, 2), (10, 3), (4, 2, 1, 2, 1, 2))  # on, off
MARKERS = "osD^vPX<>ph"
MANY = 1000  # artists' points above which grey becomes a bitmap


def look(number: int) -> dict[str, Any]:
    """Colour, dash and marker of the arm or trial of this number, as keywords for `Axes.plot`.

    7 colours and 6 dashes have no common factor, nor have 11 markers with either: the pair of colour and dash recurs
    after 42, all three after 462. Neighbours differ in all three.

    >>> look(0)
    {'color': '#0072B2', 'linestyle': '-', 'marker': 'o'}
    """
    dash = DASHES[number % len(DASHES)]
    return {
        "color": COLOURS[number % len(COLOURS)],
        "linestyle": (0, dash) if dash else "-",
        "marker": MARKERS[number % len(MARKERS)],
    }


def accuracy_against(
    column: str,
    trials: pd.DataFrame,
    front: pd.DataFrame,
    *,
    limit: float | None = None,
    base: str | None = None,
) -> Figure:
    """Validation accuracy of every complete trial over a metric, with the non-dominated ones in colour.

    The staircase is the best accuracy at each cost, over these two columns only; with more objectives, a trial of the
    front may lie below it. limit: the budget, drawn as a line. base: hash of the base genome, whose trial gets a ring.
    """
    metric = METRICS[column]
    figure, (axes,) = blank()
    complete = trials[trials["state"] == "complete"].dropna(subset=[column, "accuracy"])
    others = complete[~complete["trial"].isin(front["trial"])]
    of_base = complete[complete["hash"] == base] if base else complete[:0]
    steps = _staircase(front, column, metric.direction)
    if not others.empty:
        many = len(others) > MANY
        axes.plot(others[column], 100 * others["accuracy"], "o", color=GREY, alpha=0.8, label="trial", rasterized=many)
    axes.plot(steps[column], 100 * steps["accuracy"], "-", color=BLUE, linewidth=1.5, zorder=2)
    axes.plot(front[column], 100 * front["accuracy"], "D", color=BLUE, markersize=7, zorder=3, label="Pareto front")
    if "accuracy_se" in front:
        errors = 100 * front["accuracy_se"].to_numpy(float)  # a missing one draws nothing
        axes.errorbar(front[column], 100 * front["accuracy"], errors, fmt="none", ecolor=BLUE, alpha=0.5, zorder=2)
    if not of_base.empty:
        axes.plot(
            of_base[column], 100 * of_base["accuracy"], "o", mfc="none", mec=VERMILLION, mew=2, markersize=13, zorder=4,
            label="base genome",
        )  # fmt: skip
    if limit is not None:
        axes.axvline(limit, color=BLACK, linestyle="--", linewidth=1, label=f"budget {tick(limit)}")
    axes.set_xlabel(metric.axis)
    axes.set_ylabel("validation accuracy (%)")
    axes.xaxis.set_major_locator(MaxNLocator(6))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: tick(value)))
    axes.margins(x=0.08, y=0.12)
    axes.legend(loc="best", framealpha=0.9, edgecolor="none")
    _name_points(figure, axes, front, column, metric.direction)
    return figure


def anytime_curves(record: pd.DataFrame) -> Figure:
    """Hypervolume against trials and against compute, of a search and of its random baseline if there is one.

    record: from nas.search.anytime.
    """
    figure, (left, right) = blank(2, size=(9.6, 4.0), sharey=True)
    hours = record["worker_seconds"].max() >= 7200
    scale, unit = (3600.0, "hours") if hours else (60.0, "minutes")
    looks = {"search": (BLUE, "-"), "baseline": (VERMILLION, "--")}
    for name, rows in record.groupby("run", sort=False):
        colour, line = looks[str(name)]
        label = "search" if name == "search" else "random baseline"
        for axes, spent in ((left, rows["trials"]), (right, rows["worker_seconds"] / scale)):
            axes.step(spent, rows["hypervolume"], where="post", color=colour, linestyle=line, linewidth=2, label=label)
            axes.plot(spent.iloc[-1], rows["hypervolume"].iloc[-1], "D", color=colour)
    for axes, label in ((left, "trials that a worker has ended"), (right, f"worker-{unit}")):
        axes.set_ylim(0, 1.05)
        axes.set_xlabel(label)
    left.xaxis.set_major_locator(MaxNLocator(integer=True))
    left.set_ylabel("hypervolume, share of all")
    if record["run"].nunique() > 1:
        left.legend(loc="lower right", framealpha=0.9, edgecolor="none")
    return figure


def learning_curves(curves: Mapping[int, np.ndarray], named: Sequence[int]) -> Figure:
    """Validation accuracy by epoch: up to seven `named` trials in colour, the others in grey.

    curves: by trial, (epochs, 2) epoch and accuracy, a fraction.
    """
    figure, (axes,) = blank()
    styles = {trial: look(number) for number, trial in enumerate(named)}
    percent = {number: curve * (1, 100) for number, curve in curves.items()}
    grey = [curve for number, curve in percent.items() if number not in styles]
    # One artist for all of them: ten thousand lines are drawn in a second.
    many = sum(map(len, grey)) > MANY
    axes.add_collection(LineCollection(grey, colors=GREY, linewidths=0.9, alpha=0.6, rasterized=many), autolim=True)
    points = [curve[0] for curve in grey if len(curve) == 1]  # a line of one point is invisible
    if points:
        axes.plot(*np.array(points).T, "o", color=GREY, alpha=0.6)
    for number, style in styles.items():
        if number in percent:
            lone = {} if len(percent[number]) == 1 else {"marker": ""}  # a line of one point is its marker
            axes.plot(*percent[number].T, **style | lone, linewidth=2.2, zorder=3, label=f"trial {number}")
    axes.autoscale_view()
    if all(len(curve) == 1 for curve in curves.values()):
        axes.set_xlim(0.5, 1.5)
    axes.set_xlabel("epoch")
    axes.set_ylabel("validation accuracy (%)")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    if styles:
        axes.legend(loc="lower right", framealpha=0.9, edgecolor="none")
    return figure


def arm_dots(names: Sequence[str], accuracies: Sequence[Sequence[float]], *, baseline: str | None = None) -> Figure:
    """Top-1 of every arm: its seeds as small dots, their mean with the standard deviation as a bar.

    accuracies: in percent, by arm and seed. baseline: the arm whose mean is drawn as a line across the others.
    """
    figure, (axes,) = blank(size=(6.4, 1.2 + 0.34 * len(names)))
    for place, (name, values) in enumerate(zip(names, accuracies, strict=True)):
        style = look(place) | {"linestyle": "none"}
        axes.plot(values, [place] * len(values), **style | {"marker": "o"}, markersize=4, alpha=0.5)
        deviation = float(np.std(values, ddof=1)) if len(values) > 1 else 0.0
        axes.errorbar(float(np.mean(values)), place, xerr=deviation, **style, markersize=8, capsize=4)
        if name == baseline:
            axes.axvline(float(np.mean(values)), color=GREY, linestyle="--", linewidth=1, zorder=0)
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.5, -0.5)  # the first arm on top
    line = f"; dashed: {baseline}" if baseline in names else ""
    axes.set_xlabel(f"top-1 on test (%): seeds, mean ± standard deviation{line}")
    axes.xaxis.set_major_locator(MaxNLocator(6))
    return figure


def importance_bars(found: Importance) -> Figure:
    """Permutation importance of each searched parameter, mean ± standard deviation over splits of the trials."""
    figure, (axes,) = blank(size=(6.4, 1.2 + 0.3 * len(found.parameters)))
    places = range(len(found.parameters))
    axes.barh(places, found.mean, xerr=found.std, color=SKY, ecolor=BLACK, capsize=3, height=0.6)
    axes.set_yticks(places, found.parameters)
    axes.invert_yaxis()
    axes.set_xlabel(f"loss of R² by shuffling; a forest of {found.trials} trials, R² {found.r2:.2f} on held-out ones")
    return figure


def spread(numbers: Sequence[int], count: int = len(COLOURS)) -> list[int]:
    """Up to `count` of the numbers, both ends and evenly in between.

    >>> spread(range(10), 4)
    [0, 3, 6, 9]
    """
    if len(numbers) <= count:
        return list(numbers)
    return [numbers[round(i * (len(numbers) - 1) / (count - 1))] for i in range(count)]


def blank(
    columns: int = 1, *, size: tuple[float, float] = (6.4, 4.2), sharey: bool = False, grid: bool = True
) -> tuple[Figure, list[Axes]]:
    """A figure of `size` inches with `columns` axes side by side, in the style that all figures share."""
    figure = Figure(figsize=size, dpi=110, layout="constrained")
    (row,) = figure.subplots(1, columns, sharey=sharey, squeeze=False)
    for axes in row:
        axes.spines[["top", "right"]].set_visible(False)
        if grid:
            axes.grid(color="#e4e4e4", linewidth=0.8)
            axes.set_axisbelow(True)
    return figure, list(row)


def tick(value: float) -> str:
    """An axis label without trailing zeros: 1.5 M, not 1.50 M."""
    number, _, prefix = magnitude(value).partition(" ")
    return f"{number.rstrip('0').rstrip('.') if '.' in number else number} {prefix}".rstrip()


def _staircase(front: pd.DataFrame, column: str, direction: str) -> pd.DataFrame:
    """The corners of the step line: from the cheap end on, accuracy stays until a point improves on it."""
    corners: list[tuple[float, float]] = []
    best = -math.inf
    ordered = front.sort_values(column, ascending=direction == "min")
    for x, accuracy in ordered[[column, "accuracy"]].itertuples(index=False):
        if accuracy > best:
            if corners:
                corners.append((x, best))
            corners.append((x, accuracy))
            best = accuracy
    return pd.DataFrame(corners, columns=[column, "accuracy"])


def _name_points(figure: Figure, axes: Axes, front: pd.DataFrame, column: str, direction: str) -> None:
    """Trial numbers on the outer side of the front, where no point can lie; one that would overlap is left out."""
    figure.draw_without_rendering()  # settles the scales
    side = -1 if direction == "min" else 1
    taken: list[tuple[float, float]] = []
    for row in front.sort_values("accuracy", ascending=False).to_dict("records"):
        point = (float(row[column]), 100 * row["accuracy"])
        x, y = axes.transData.transform(point)
        if all(abs(x - other_x) > 24 or abs(y - other_y) > 15 for other_x, other_y in taken):
            taken.append((x, y))
            axes.annotate(
                str(row["trial"]), point, xytext=(8 * side, 5), textcoords="offset points", fontsize=9, color=BLUE,
                ha="right" if side < 0 else "left", va="bottom",
            )  # fmt: skip
