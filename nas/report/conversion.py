"""What a conversion found, for people: a row per layer, and which layers can go.

A candidate is as good as the parent, alone in its layer, if the interval of its change in accuracy (95 %, paired over
images) does not lie below 0. A layer can go if such a candidate costs less than the layer's own attention.
"""

from __future__ import annotations

import pandas as pd
from rich.table import Table

from nas.numbers import magnitude

Z = 1.96  # 95 %


def sensitivity_table(table: pd.DataFrame) -> Table:
    """Every layer with its best candidate, by KL: what replacing it alone does to the answers."""
    shown = Table(title="Each layer replaced alone, by its best candidate", title_justify="left", box=None)
    for name in ("layer", "candidate", "KL", "accuracy", "MACs"):
        shown.add_column(name, justify="left" if name in ("layer", "candidate") else "right")
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


def _signed(value: float) -> str:
    return f"{'−' if value < 0 else '+'}{magnitude(abs(value))}"
