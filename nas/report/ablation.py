"""The table of an ablation, from its trial directories: table.csv (a row per seed), table.md, table.tex, table.html.

Columns: check-marks or levels of the factors, params, GMACs (deployed graph), images/s, top-1 mean ± std (n), Δ to the
baseline over shared seeds with its 95 % interval, Holm-corrected p. A top-1 is bold if its Δ is positive, its interval
excludes zero and its corrected p is below 0.05; with one seed nothing is bold. If an arm has a mask, two more columns
have the mass left in it in the last epoch, and the change in validation accuracy by the switch to the deployed graph.
Images/s are left out, with a note, unless they can be compared (nas/ablation/timing.py). The caption says what is
compared; how the table was made, and what its marks mean, stands in notes below it.

Of a published run, which has its tables alone, the texts are written from table.csv.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from nas.ablation.run import cells_of
from nas.ablation.spec import Ablation, parse_ablation
from nas.ablation.statistics import Paired, binomial_floor, holm, paired
from nas.engine.reading import SHARES, read_table
from nas.engine.record import read_record
from nas.errors import RunError, shown
from nas.files import regular, write_text
from nas.profiling.stopwatch import BUSY
from nas.report.front import GONE
from nas.report.markup import Column, TextTable, html, latex, markdown
from nas.report.mask import write_mask
from nas.row_seals import write_sealed_table

CELL_NUMBERS = {*("trial", "seed", "epochs", "seconds", "macs", "params", "test_images", "mask_mass"), *SHARES}
CELL_NUMBERS |= {"images_per_second", "median_seconds", "batch_size", "batches", "threads", "spread"}
BESIDE = {  # of a published table: what stands in the cells that have the column
    "accuracy": ("test_images", "macs", "params"),
    "accuracy_before_switch": ("accuracy_after_switch", "mask_mass"),
}


@dataclass(frozen=True)
class Row:
    """The figures of one arm. Accuracies and differences are in percentage points."""

    name: str
    levels: list[str]
    params: float  # millions
    gmacs: float
    speed: float | None
    mean: float
    std: float
    count: int
    baseline: bool
    difference: Paired | None  # None for the baseline, or without a complete seed in common with it
    p: float
    mask: tuple[float, float] | None  # mass left in it; points of accuracy gained by leaving it out

    @property
    def bold(self) -> bool:
        return self.difference is not None and self.difference.low > 0 and self.p < 0.05


def write_table(directory: Path) -> list[Path]:
    """Write table.{csv,md,tex,html} into the run directory. Raises RunError if it is not an ablation's."""
    record = read_record(directory)
    if record is None or record.get("kind") != "ablation":
        raise RunError("not the run of an ablation", file=directory / "run.yaml")
    ablation = parse_ablation(record["spec"], file=directory / "run.yaml")
    published = not (directory / "trials").exists()
    if published and not (directory / "table.csv").exists():
        raise RunError(f"gone; {GONE}", file=directory / "table.csv")
    cells = read_cells(directory, ablation) if published else cells_of(directory)
    if not published:
        _check_whole(directory, cells)
        write_sealed_table(directory / "table.csv", cells)
    comparable, said = speeds(cells)
    rows = rows_of(cells if comparable else cells.drop(columns="images_per_second", errors="ignore"), ablation)
    notes = notes_of(cells, rows, ablation, record, said)
    label = "tab:" + re.sub(r"[^A-Za-z0-9]+", "-", record.get("name") or directory.name)
    table = text_table(rows, list(ablation.factors), caption_of(ablation), notes, label)
    for ending, render in (("md", markdown), ("tex", latex), ("html", html)):
        write_text(directory / f"table.{ending}", render(table))
    written = [directory / f"table.{ending}" for ending in ("csv", "md", "tex", "html")]
    if published:
        return written[1:]
    return written + (write_mask(directory, cells) if "accuracy_before_switch" in cells else [])


def read_cells(directory: Path, ablation: Ablation) -> pd.DataFrame:
    """The cells as table.csv has them, for a run that is published without its trials."""
    text = ["arm", "trial", "state", "hash", "deployed_graph", *ablation.factors]
    cells = read_table(
        directory / "table.csv",
        needed=["arm", "trial", "state", "seed", "macs", "params", "seconds", *ablation.factors],
        numbers=CELL_NUMBERS,
        text=text,
        remedy=GONE,
    )
    cells = cells.fillna(dict.fromkeys(ablation.factors, ""))
    for column, others in BESIDE.items():
        filled = cells[cells[column].notna()] if column in cells else cells[:0]
        lacking = [other for other in others if len(filled) and (other not in cells or filled[other].isna().any())]
        if lacking:
            message = f"damaged (there is {column} without {lacking[0]}); {GONE}"
            raise RunError(message, file=directory / "table.csv")
    return cells


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


def _check_whole(directory: Path, cells: pd.DataFrame) -> None:
    """Raise RunError if table.csv has complete cells that the trial directories no longer have."""
    file = directory / "table.csv"
    if not file.exists() or not regular(file).read_bytes().strip():  # blank: written before the first cell
        return
    remedy = "delete it to have it written from the trials"
    states = read_table(file, remedy=remedy, dtype=str)
    if not {"trial", "state"} <= set(states):
        return
    written = set(states.loc[states["state"] == "complete", "trial"])
    here = set(cells.loc[cells["state"] == "complete", "trial"]) if len(cells) else set()
    lost = sorted(written - here)
    if lost:
        what = (
            f"it has {len(lost)} complete cells whose trial directories are gone or no longer complete: {shown(lost)}"
        )
        raise RunError(f"{what}; restore them, or delete the table to have it written without them", file=file)


def rows_of(cells: pd.DataFrame, ablation: Ablation) -> list[Row]:
    """One row per arm that has a complete cell, in the order of the spec."""
    if "accuracy" not in cells:
        return []
    done = cells[cells["accuracy"].notna()]
    by_arm = {arm: part.set_index("seed")["accuracy"] for arm, part in done.groupby("arm", sort=False)}
    base = by_arm.get(ablation.baseline_name, pd.Series(dtype=float))
    differences: dict[str, Paired] = {}
    for arm, series in by_arm.items():
        shared = [seed for seed in ablation.seed_list if seed in series.index and seed in base.index]
        if arm != ablation.baseline_name and shared:
            differences[str(arm)] = paired(list(series[shared] * 100), list(base[shared] * 100))
    corrected = dict(zip(differences, holm([d.p for d in differences.values()]), strict=True))
    rows = []
    for arm, series in by_arm.items():
        first = done[done["arm"] == arm].iloc[0]
        rows.append(
            Row(
                name=str(arm),
                levels=[_mark(first.get(factor)) for factor in ablation.factors],
                params=first["params"] / 1e6,
                gmacs=first["macs"] / 1e9,
                speed=first.get("images_per_second"),
                mean=series.mean() * 100,
                std=series.std(ddof=1) * 100 if len(series) > 1 else float("nan"),
                count=len(series),
                baseline=arm == ablation.baseline_name,
                difference=differences.get(str(arm)),
                p=corrected.get(str(arm), float("nan")),
                mask=_mask(done[done["arm"] == arm]),
            )
        )
    return rows


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


def effects_of(cells: pd.DataFrame, ablation: Ablation) -> list[str]:
    """Main effects of a factorial design, of each level against its factor's first.

    `local 1-D − none: +3.10 [+1.20, +5.00]`

    An effect is the difference of the means over all combinations of the other factors, paired over seeds. Only seeds
    with all cells complete count.
    """
    if ablation.design != "factorial" or len(ablation.factors) < 2 or "accuracy" not in cells:
        return []
    designed = cells[(cells[list(ablation.factors)] != "").all(axis=1)]
    complete = designed.groupby("seed")["accuracy"].count()
    whole = complete.index[complete == math.prod(len(levels) for levels in ablation.factors.values())]
    if not len(whole):
        return []
    designed = designed[designed["seed"].isin(whole)]
    effects = []
    for factor, levels in ablation.factors.items():
        means = designed.pivot_table(index="seed", columns=factor, values="accuracy") * 100
        first, *others = levels
        for level in others:
            found = paired(list(means[level]), list(means[first]))
            effects.append(f"{factor} {level} − {first}: {_interval(found)}")
    return effects


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


def _dataset(data: str) -> str:
    """`parquet:/data/cifar10` as `parquet:cifar10`; the full path is in run.yaml, not in a published table."""
    kind, colon, path = data.partition(":")
    return f"{kind}:{Path(path).name}" if colon else data


def _mark(level: Any) -> str:
    text = "" if not isinstance(level, str) else level
    return {"yes": "✓", "no": ""}.get(text, text)


def _mask(cells: pd.DataFrame) -> tuple[float, float] | None:
    if "accuracy_before_switch" not in cells or cells["mask_mass"].isna().all():
        return None
    gained = cells["accuracy_after_switch"] - cells["accuracy_before_switch"]
    return cells["mask_mass"].mean(), 100 * gained.mean()


def _top(row: Row) -> str:
    return f"{row.mean:.2f} (1)" if np.isnan(row.std) else f"{row.mean:.2f} ± {row.std:.2f} ({row.count})"


def _difference(row: Row) -> str:
    if row.difference is None:
        return "baseline" if row.baseline else "–"
    return _interval(row.difference)


def _interval(difference: Paired) -> str:
    text = f"{difference.delta:+.2f}"
    if not np.isnan(difference.low):
        text += f" [{difference.low:+.2f}, {difference.high:+.2f}]"
    return text.replace("-", "−")


def _significant(value: float) -> str:
    """At least three significant digits, no exponent."""
    return f"{value:.{max(0, 2 - int(np.floor(np.log10(value))))}f}"


def _p(p: float) -> str:
    return "" if np.isnan(p) else f"{p:.3f}"


def _speed(row: Row) -> str:
    return "" if row.speed is None or np.isnan(row.speed) else f"{row.speed:,.0f}"
