"""The table of an ablation, from its trial directories: table.csv (a row per seed), table.md, table.tex, table.html.

A row of table.csv is a cell: an arm trained with one seed. The texts have a row per arm (ablation_rows.py) and say
what is compared (ablation_text.py). A table is never written with fewer complete cells than it had. Of a published run,
which has its tables alone, the texts are written from table.csv.
"""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd

from nas.ablation.run import cells_of
from nas.ablation.spec import Ablation, parse_ablation
from nas.engine.reading import SHARES, read_table
from nas.engine.record import read_record
from nas.errors import RunError, shown
from nas.files import regular, write_text
from nas.report.ablation_rows import rows_of
from nas.report.ablation_text import caption_of, notes_of, speeds, text_table
from nas.report.front import GONE
from nas.report.markup import html, latex, markdown
from nas.report.mask import write_mask
from nas.row_seals import write_sealed_table

CELL_NUMBERS = {*("trial", "seed", "epochs", "seconds", "macs", "params", "test_images", "mask_mass"), *SHARES}
CELL_NUMBERS |= {"images_per_second", "median_seconds", "batch_size", "batches", "threads", "spread"}
BESIDE = {  # of a published table: what stands in the cells that have the column
    "accuracy": ("test_images", "macs", "params"),
    "accuracy_before_switch": ("accuracy_after_switch", "mask_mass"),
}


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


def _check_whole(directory: Path, cells: pd.DataFrame) -> None:
    """Raise RunError if table.csv has complete cells that the trial directories no longer have."""
    file = directory / "table.csv"
    if not file.exists() or not regular(file).read_bytes().strip():  # blank: written before the first cell
        return
    remedy = "delete it to have it written from the trials"
    states = read_table(file, remedy=remedy, dtype=str)
    if {"arm", "seed", "state"} <= set(states) and (lost := sorted(_complete(states) - _complete(cells))):
        words = ", ".join(f"{arm} with seed {seed}" for arm, seed in lost)
        what = f"it has {len(lost)} complete cells whose trials are gone or no longer complete: {shown(words)}"
        raise RunError(
            f"{what}; have the run train them again, or delete the table to have it written without them", file=file
        )


def _complete(cells: pd.DataFrame) -> set[tuple[str, str]]:
    """Arm and seed of the complete cells."""
    if not len(cells):
        return set()
    done = cells[cells["state"] == "complete"]
    return {(str(arm), str(seed)) for arm, seed in zip(done["arm"], done["seed"], strict=True)}
