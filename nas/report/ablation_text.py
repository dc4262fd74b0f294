"""An ablation's table as text: columns, caption, and the notes that say how it was made and what its marks mean.

Columns: check-marks or levels of the factors, params, GMACs (deployed graph), images/s, top-1 mean ± std (n), Δ to the
baseline over shared seeds with its 95 % interval, Holm-corrected p. A top-1 is bold if its Δ is positive, its interval
excludes zero and its corrected p is below 0.05; with one seed nothing is bold. If an arm has a mask, two more columns
have the mass left in it in the last epoch, and the change in validation accuracy by the switch to the deployed graph.
Images/s are left out, with a note, unless they can be compared (nas/ablation/timing.py).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from nas.ablation.spec import Ablation
from nas.ablation.statistics import binomial_floor
from nas.profiling.stopwatch import BUSY
from nas.report.ablation_rows import Row, effects_of, interval
from nas.report.markup import Column, TextTable


def speeds(cells: pd.DataFrame) -> tuple[bool, str]:
    """Whether the arms' images/s can be compared, and the note about them; no note where nothing was timed."""
    if "images_per_second" not in cells or cells["images_per_second"].isna().all():
        return False, ""
    timed = cells[cells["images_per_second"].notna()]
    if "deployed_graph" not in timed or timed["deployed_graph"].isna().any():
        return False, "Images/s are left out: each arm was timed by itself, by an earlier version."
    first, spread = timed.iloc[0], timed["spread"].max()
    if spread > BUSY:
        slow = f"batches in the middle took {spread:.1f} times as long as the fastest tenth"
        return False, f"Images/s are left out: other work disturbed the stopwatch ({slow})."
    threads = "1 thread" if first["threads"] == 1 else f"{first['threads']:.0f} threads"
    conditions = f"{first['device']}, {first['dtype']}, batch {first['batch_size']:.0f}, {threads}"
    return True, (
        f"Images/s of the deployed graph: {conditions}; timed in turns, equal graphs once; "
        f"batches in the middle took at most {spread:.2f} times as long as the fastest tenth."
    )


def caption_of(ablation: Ablation) -> str:
    """The claim, and what is compared on what."""
    claim = f"{ablation.claim.rstrip('.')}. " if ablation.claim else ""
    limit = f", {ablation.training.limit} training images" if ablation.training.limit else ""
    return (
        f"{claim}Top-1 on the test split of {_dataset(ablation.data)} after {ablation.training.epochs} epochs{limit}."
    )


def notes_of(cells: pd.DataFrame, rows: list[Row], ablation: Ablation, record: dict[str, Any], speed: str = "") -> str:
    """What the marks mean, and how the table was made: splits, hardware, commit, compute, binomial standard error.

    speed: the note about images/s.
    """
    hardware = {"cpu": "an unknown processor", "cores": "?", "gpus": []} | record.get("hardware", {})
    machine = ", ".join(hardware["gpus"]) or f"{hardware['cpu']} ({hardware['cores']} cores)"
    missing = int(cells.reindex(columns=["accuracy"])["accuracy"].isna().sum())
    baseline = ablation.baseline_name
    hours = float(pd.to_numeric(cells["seconds"]).sum()) / 3600 if len(cells) else 0.0
    parts = [
        f"Mean ± standard deviation over seeds, their number in parentheses ({len(ablation.seed_list)} planned).",
        f"Δ: points above the baseline, {baseline}, paired over the seeds that both have, with its 95 % t-interval.",
        "p: of the paired t-test, Holm-corrected.",
        "Bold: above the baseline with an interval that excludes 0 and p below 0.05"
        + ("." if any(row.bold for row in rows) else "; no arm is."),
        "MACs and params are those of the deployed graph, per image.",
        speed,
        "Trained on validation images as well." if ablation.training.validation == 0 else "",
        _splits(record.get("data")),
    ]
    if "accuracy" in cells and cells["accuracy"].notna().any():
        images = int(cells["test_images"].dropna().iloc[0])
        floor = 100 * binomial_floor(float(cells["accuracy"].mean()), images)
        parts.append(f"Binomial standard error of the {images}-image test split: {floor:.2f} points.")
    parts.append(f"Trained on {machine}, {hours:.2f} worker-hours in all, commit {record.get('commit') or 'unknown'}.")
    if {"accuracy_before_switch", "accuracy"} <= set(cells):
        parts.append(
            "Mass in the mask: mean share of a row, last epoch. Switch: points gained by leaving the mask out."
        )
    if effects := effects_of(cells, ablation):
        parts.append(f"Main effects, the other factors averaged out: {'; '.join(effects)}.")
    if missing:
        parts.append(f"{missing} cells are not complete.")
    return " ".join(part for part in parts if part)


def _splits(account: dict[str, Any] | None) -> str:
    """How the splits came about; run.yaml of earlier versions does not say."""
    if account is None:
        return ""
    size, origins = account["size"], account["origins"]
    counts = ", ".join(f"{name} {count:,} ({origins[name]})" for name, count in account["images"].items())
    return f"Images of {size}×{size}: {counts}."


def text_table(rows: list[Row], factors: list[str], caption: str, notes: str = "", label: str = "") -> TextTable:
    """The table as text. It has a column of images/s if there are any, and columns about the mask if an arm has one."""
    columns = [Column("arm", [row.name for row in rows])]
    columns += [Column(name, [row.levels[i] for row in rows]) for i, name in enumerate(factors)]
    columns += [
        Column("params (M)", [_significant(row.params) for row in rows], numeric=True),
        Column("GMACs", [_significant(row.gmacs) for row in rows], numeric=True),
        *([Column("images/s", [_speed(row) for row in rows], numeric=True)] if any(map(_speed, rows)) else []),
        Column("top-1 (%)", [_top(row) for row in rows], bold=[row.bold for row in rows]),
        Column("Δ [95 % CI]", [_difference(row) for row in rows]),
        Column("p", [_p(row.p) for row in rows]),
    ]
    if any(row.mask for row in rows):
        columns.append(Column("mass in the mask", [f"{row.mask[0]:.4f}" if row.mask else "" for row in rows]))
        columns.append(Column("switch", [f"{row.mask[1]:+.2f}".replace("-", "−") if row.mask else "" for row in rows]))
    return TextTable(columns, caption, notes, label)


def _top(row: Row) -> str:
    return f"{row.mean:.2f} (1)" if np.isnan(row.std) else f"{row.mean:.2f} ± {row.std:.2f} ({row.count})"


def _difference(row: Row) -> str:
    if row.difference is None:
        return "baseline" if row.baseline else "–"
    return interval(row.difference)


def _significant(value: float) -> str:
    """At least three significant digits, no exponent."""
    return f"{value:.{max(0, 2 - int(np.floor(np.log10(value))))}f}"


def _p(p: float) -> str:
    return "" if np.isnan(p) else f"{p:.3f}"


def _speed(row: Row) -> str:
    return "" if row.speed is None or np.isnan(row.speed) else f"{row.speed:,.0f}"


def _dataset(data: str) -> str:
    """`parquet:/data/cifar10` as `parquet:cifar10`; the full path is in run.yaml, not in a published table."""
    kind, colon, path = data.partition(":")
    return f"{kind}:{Path(path).name}" if colon else data
