"""A diagnosis (nas/train/diagnosis.py) as a terminal table and as files."""

from __future__ import annotations

import csv
import io
from dataclasses import asdict, fields
from pathlib import Path

from rich.console import Group, RenderableType
from rich.table import Table

from nas.files import write_json, write_text
from nas.numbers import standard_error
from nas.report.tables import with_error
from nas.train.diagnosis import Diagnosis, LayerDiagnosis

COLUMNS = {
    "similarity": (
        "similarity",
        "cosine of the attention matrix with that of the layer before in the stage, head by head",
    ),
    "centred": ("centred", "the same of what the matrices have beyond uniform attention"),
    "best_head": ("best head", "similarity with the head of the layer before that is most alike"),
    "diagonal": ("diagonal", "attention of a token to itself; 1 is what uniform attention has there"),
    "near": ("near", "attention to the 3×3 tokens around it on the grid; 1 is uniform"),
    "entropy": ("entropy", "of the rows, over log N; 1 is uniform"),
    "psi": ("Ψ − 1", "distance of a less layer's map of the queries from the identity, relative (Frobenius)"),
    "theta": ("Θ − 1", "the same of its map of the keys"),
    "mask": ("mask", "attention mass in the masked softmax, with the settings its schedule starts → ends with"),
}
INEXACT = "not the matrix that the layer applies: softmax of the q·k that it passes on, without a relative bias"


def diagnosis_table(diagnosis: Diagnosis, title: str) -> RenderableType:
    """One row per layer; empty columns are left out, the others are explained below the table."""
    table = Table(box=None, pad_edge=False)
    shown = [name for name in COLUMNS if any(_cell(layer, name) != "–" for layer in diagnosis.layers)]
    for heading in ("layer", "core", "tokens", "heads"):
        table.add_column(heading, justify="left" if heading in ("layer", "core") else "right", no_wrap=True)
    for name in shown:
        table.add_column(COLUMNS[name][0], justify="right", no_wrap=True)
    for layer in diagnosis.layers:
        core = f"{layer.core} *" if layer.exact is False else layer.core
        cells = [_cell(layer, name) for name in shown]
        table.add_row(layer.layer, core, str(layer.tokens), str(layer.heads), *cells)
    legend = Table(box=None, pad_edge=False, show_header=False)
    for name in shown:
        legend.add_row(*COLUMNS[name])
    if any(layer.exact is False for layer in diagnosis.layers):
        legend.add_row("*", INEXACT)
    right = with_error("accuracy", diagnosis.accuracy, standard_error(diagnosis.accuracy, diagnosis.images))
    head = f"{title}: {right} % of {diagnosis.images} validation images right"
    return Group(head, "", table, "", legend)


def write_csv(diagnosis: Diagnosis, path: Path) -> None:
    """One row per layer, full precision; a figure that does not apply is empty."""
    text = io.StringIO()
    writer = csv.DictWriter(text, [field.name for field in fields(LayerDiagnosis)], lineterminator="\n")
    writer.writeheader()
    writer.writerows(asdict(layer) for layer in diagnosis.layers)
    write_text(path, text.getvalue())


def write_diagnosis(diagnosis: Diagnosis, path: Path) -> None:
    """JSON: images, accuracy, layers; a figure that does not apply is null."""
    write_json(path, diagnosis.as_dict())


def _cell(layer: LayerDiagnosis, name: str) -> str:
    if name == "mask":
        if layer.mask_start is None or layer.mask_end is None:
            return "–"
        return f"{layer.mask_start:.3f} → {layer.mask_end:.3f}"
    value = getattr(layer, name)
    return "–" if value is None else f"{value:.3f}"
