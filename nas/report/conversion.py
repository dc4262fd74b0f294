"""What a conversion found, for people: a row per layer, which layers can go, and the assemblies that were repaired.

A candidate is as good as the parent, alone in its layer, if the interval of its change in accuracy (95 %, paired over
images) does not lie below 0. A layer can go if such a candidate costs less than the layer's own attention, in the cost
along which the run's front lies.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter
from rich.table import Table

from nas.metrics import METRICS
from nas.numbers import magnitude
from nas.report.plots import BLUE, GREEN, GREY, ORANGE, PURPLE, VERMILLION, blank, tick

Z = 1.96  # 95 %
CHOSEN = "chosen"
ARMS: dict[str, dict[str, Any]] = {
    CHOSEN: {"color": BLUE, "marker": "D"},
    "random": {"color": VERMILLION, "marker": "o"},
    "last": {"color": GREEN, "marker": "s"},
    "alternate": {"color": ORANGE, "marker": "^"},
    "all": {"color": PURPLE, "marker": "X"},
}
HEADINGS = ("arm", "trial", "replaced", "MACs", "KL before", "points before", "points after")


def sensitivity_table(table: pd.DataFrame, worded: Callable[[str], str] = str) -> Table:
    """Every layer with its best candidate, by KL: what replacing it alone does to the answers.

    worded: from the run (nas/report/run.py), for the headings.
    """
    shown = Table(title="Each layer replaced alone, by its best candidate", title_justify="left", box=None)
    for name in ("layer", "candidate", "KL", "accuracy", "MACs"):
        shown.add_column(worded(name), justify="left" if name in ("layer", "candidate") else "right")
    for _, rows in table.groupby("layer", sort=False):
        row = rows.sort_values("kl").iloc[0]
        change = f"{100 * row['delta_accuracy']:+.2f} ± {100 * Z * row['delta_accuracy_se']:.2f}"
        shown.add_row(row["layer"], row["candidate"], f"{row['kl']:.4f}", change, _signed(row["delta_macs"]))
    return shown


def verdict(table: pd.DataFrame, metric: str = "macs") -> list[str]:
    """Which layers can go at which price, which must stay, and which have nothing better in `metric` to offer."""
    change = table["delta_ms" if metric == "latency" else f"delta_{metric}"]
    more = METRICS[metric].direction == "max"
    cheaper = table[change > 0 if more else change < 0]
    fine = cheaper[cheaper["delta_accuracy"] + Z * cheaper["delta_accuracy_se"] >= 0]
    best = fine.sort_values("kl").groupby("layer", sort=False).head(1).set_index("layer")
    layers = list(dict.fromkeys(table["layer"]))
    can = [layer for layer in layers if layer in best.index]
    dear = [layer for layer in layers if layer not in set(cheaper["layer"])]
    must = [layer for layer in layers if layer not in best.index and layer not in dear]
    better = (
        f"of more {metric} than"
        if more
        else {"macs": "of fewer MACs than", "latency": "faster than"}.get(metric, f"of less {metric} than")
    )
    went = ", ".join(f"{layer} ({best.loc[layer, 'candidate']}, KL {best.loc[layer, 'kl']:.4f})" for layer in can)
    return [
        f"can go, each alone and before any repair: {went or 'none'}",
        f"must stay, or costs accuracy at once: {', '.join(must) or 'none'}",
        *([f"no candidate is {better} the layer's own attention: {', '.join(dear)}"] if dear else []),
    ]


def sensitivity_map(table: pd.DataFrame) -> Figure:
    """The KL of each candidate alone in each layer; empty where a candidate makes no sense."""
    layers, names = (list(dict.fromkeys(table[column])) for column in ("layer", "candidate"))
    kl_LC = table.pivot(index="layer", columns="candidate", values="kl").loc[layers, names].to_numpy()
    figure, (axes,) = blank(size=(1.6 + 1.1 * len(names), 1.4 + 0.32 * len(layers)), grid=False)
    shown = axes.imshow(np.maximum(kl_LC, 1e-6), norm=LogNorm(), cmap="cividis_r", aspect="auto")
    axes.set_xticks(range(len(names)), names, rotation=20, ha="right")
    axes.set_yticks(range(len(layers)), layers)
    middle = np.exp(np.nanmean(np.log([np.nanmin(kl_LC).clip(1e-6), np.nanmax(kl_LC).clip(1e-6)])))  # of the colours
    for (row, column), value in np.ndenumerate(kl_LC):
        if not np.isnan(value):
            dark = value > middle
            axes.text(column, row, f"{value:.2g}", ha="center", va="center", size=8, color="white" if dark else "black")
    figure.colorbar(shown, ax=axes, label="KL from the parent, alone and unrepaired")
    return figure


def before_and_after(assemblies: pd.DataFrame) -> Figure:
    """Change in validation accuracy against MACs: in the end by arm, and of the chosen ones before training too."""
    figure, (axes,) = blank()
    axes.axhline(0, color=GREY, linewidth=1)
    for arm, rows in assemblies.sort_values("macs").groupby("arm", sort=False):
        look = ARMS.get(str(arm), {"color": GREY, "marker": "o"})
        if arm == CHOSEN:
            before = 100 * rows["delta_accuracy_before"]
            axes.plot(rows["macs"], before, linestyle=":", mfc="white", **look, label="chosen, before training")
        name, line = ("chosen, after training", "-") if arm == CHOSEN else (arm, "")
        axes.plot(rows["macs"], 100 * rows["delta_accuracy"], linestyle=line, **look, label=name)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: tick(value)))
    axes.set_xlabel("MACs per image")
    axes.set_ylabel("accuracy less the parent's, points")
    axes.legend(frameon=False)
    return figure


def assembly_rows(assemblies: pd.DataFrame) -> dict[str, Any]:
    """The table of assemblies as the page's template takes it."""
    columns = [{"heading": name, "text": name == "arm"} for name in HEADINGS]
    return {
        "columns": columns,
        "rows": [{"cells": cells} for cells in _cells(assemblies)],
    }


def assembly_table(assemblies: pd.DataFrame) -> Table:
    """Every chosen assembly, by arm."""
    shown = Table(title="Assemblies before and after training", title_justify="left", box=None)
    for name in HEADINGS:
        shown.add_column(name, justify="left" if name == "arm" else "right")
    for cells in _cells(assemblies):
        shown.add_row(*cells)
    return shown


def _cells(assemblies: pd.DataFrame) -> list[list[str]]:
    return [
        [
            row["arm"],
            str(row["trial"]),
            str(row["replaced"]),
            magnitude(row["macs"]),
            f"{row['kl']:.4f}",
            f"{100 * row['delta_accuracy_before']:+.2f}",
            f"{100 * row['delta_accuracy']:+.2f}",
        ]
        for row in assemblies.to_dict("records")
    ]


def _signed(value: float) -> str:
    return f"{'−' if value < 0 else '+'}{magnitude(abs(value))}"
