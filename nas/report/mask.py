"""The decay of masked-softmax auxiliaries: mass left in the mask by epoch, and accuracy with and without it, per arm.

    mask.csv             a row per arm, seed and epoch, at full precision, from the trials' metrics.csv
    figures/mask.png     both by epoch, means over seeds
Mass is the mean over rows of what masked softmax keeps (nas/blocks/masked_softmax.py). Accuracy is on validation.
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from nas.engine.reading import read_epochs, read_table
from nas.files import write_atomically
from nas.report.front import GONE
from nas.report.plots import GREY, blank, look
from nas.row_seals import write_sealed_table

COLUMNS = ["epoch", "mask_mass", "accuracy_with_auxiliary", "accuracy"]


def write_mask(directory: Path, cells: pd.DataFrame) -> list[Path]:
    """Write mask.csv and figures/mask.png into an ablation's run directory. cells: from `nas.ablation.cells_of`."""
    epochs = mask_epochs(directory, cells)
    table, figure = directory / "mask.csv", directory / "figures" / "mask.png"
    figure.parent.mkdir(exist_ok=True)
    write_sealed_table(table, epochs)
    write_atomically(figure, lambda path: mask_curves(epochs).savefig(path, format="png"))
    return [table, figure]


def mask_epochs(directory: Path, cells: pd.DataFrame) -> pd.DataFrame:
    """The rows of mask.csv, from the trial directories or, of a published run, from that file."""
    if not (directory / "trials").exists():
        needed = ["arm", "seed", *COLUMNS]
        return read_table(directory / "mask.csv", needed=needed, numbers=needed[1:], text=["arm"], remedy=GONE)
    parts = []
    for cell in cells[cells["accuracy_before_switch"].notna()].to_dict("records"):
        metrics = pd.DataFrame(read_epochs(directory / "trials" / cell["trial"] / "metrics.csv"))[COLUMNS]
        metrics.insert(0, "seed", cell["seed"])
        metrics.insert(0, "arm", cell["arm"])
        parts.append(metrics.astype({"epoch": int}))
    return pd.concat(parts)


def mask_curves(epochs: pd.DataFrame) -> Figure:
    """Left: mass in the mask. Right: points of validation accuracy gained by leaving the mask out."""
    figure, (left, right) = blank(2, size=(9.6, 4.4), grid=False)
    gained = epochs.assign(gained=100 * (epochs["accuracy"] - epochs["accuracy_with_auxiliary"]))
    for number, (arm, rows) in enumerate(gained.groupby("arm", sort=False)):
        means = rows.groupby("epoch")[["mask_mass", "gained"]].mean()
        style = look(number) | {"label": str(arm), "markersize": 4}
        left.plot(means.index, means["mask_mass"], **style)
        right.plot(means.index, means["gained"], **style)
    left.set_ylabel("mass in the mask")
    right.set_ylabel("accuracy without the mask − with it (points)")
    right.axhline(0, color=GREY, linewidth=0.8)
    for axes in (left, right):
        axes.set_xlabel("epoch")
        axes.xaxis.set_major_locator(MaxNLocator("auto", steps=[1, 2, 2.5, 5, 10], integer=True))
    figure.legend(*left.get_legend_handles_labels(), loc="outside lower center", ncols=4, frameon=False)
    return figure
