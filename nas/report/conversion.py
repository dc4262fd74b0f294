"""What a conversion found, for people: a row per layer, and which layers can go.

A candidate is as good as the parent, alone in its layer, if the interval of its change in accuracy (95 %, paired over
images) does not lie below 0. A layer can go if such a candidate costs less than the layer's own attention.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter
from rich.table import Table

from nas.numbers import magnitude
from nas.report.plots import BLUE, GREY, VERMILLION, blank, tick

Z = 1.96  # 95 %


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


def verdict(table: pd.DataFrame) -> list[str]:
    """Two sentences: which layers can go at which price, and which must stay."""
    cheaper = table[table["delta_macs"] < 0]
    fine = cheaper[cheaper["delta_accuracy"] + Z * cheaper["delta_accuracy_se"] >= 0]
    best = fine.sort_values("kl").groupby("layer", sort=False).head(1).set_index("layer")
    layers = list(dict.fromkeys(table["layer"]))
    can = [layer for layer in layers if layer in best.index]
    must = [layer for layer in layers if layer not in best.index]
    went = ", ".join(f"{layer} ({best.loc[layer, 'candidate']}, KL {best.loc[layer, 'kl']:.4f})" for layer in can)
    return [
        f"can go, each alone and before any repair: {went or 'none'}",
        f"must stay, or costs accuracy at once: {', '.join(must) or 'none'}",
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


def before_and_after(trials: pd.DataFrame, gains: dict[int, float]) -> Figure:
    """Change in validation accuracy against MACs, before repair (gains, by trial) and after it (less trial 0)."""
    figure, (axes,) = blank()
    complete = trials[trials["state"] == "complete"].set_index("trial").sort_values("macs")
    parent = complete["accuracy"].get(0)
    some = complete.loc[[trial for trial in complete.index if trial in gains]]
    before = [100 * gains[trial] for trial in some.index]
    axes.axhline(0, color=GREY, linewidth=1)
    axes.plot(some["macs"], before, "o--", color=VERMILLION, mfc="white", label="before repair")
    axes.plot(some["macs"], 100 * (some["accuracy"] - parent), "D-", color=BLUE, label="after repair")
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: tick(value)))
    axes.set_xlabel("MACs per image")
    axes.set_ylabel("accuracy less the parent's, points")
    axes.legend(frameon=False)
    return figure


def _signed(value: float) -> str:
    return f"{'−' if value < 0 else '+'}{magnitude(abs(value))}"
