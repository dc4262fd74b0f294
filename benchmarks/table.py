"""docs/benchmarks.md from results/*.json: figures, bars, conditions; nothing is typed in by hand."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

_HEAD = """# Benchmarks

Written by `make bench` from benchmarks/results/*.json. Both sides of a row run in one process, call by call in turn; a
ratio is that of the median times, with its 95 % interval (bootstrap over rounds). Layers are measured with their
projections, deployed, on random tokens. A ratio says how many times as fast the left side is as the right side;
rows with "at most" say how many times as long it takes. Forward + backward and memory have no bar unless the row says
so, and compare the eager graphs; memory is what a call holds at most beside its input and weights. "castling layer"
without "eager" is the better of the eager and the compiled graph, and timm's side of that row has the same choice.

The groups `search_…` train nothing. What they run and how their intervals are made is said at the head of
benchmarks/latency.py, overhead.py, pareto.py, samplers.py, fidelity.py, scale.py and large_run.py; the tables that
samplers.py searches are made by `python -m benchmarks.samplers --make FOLDER --table NAME`. The groups `train_…` train;
the heads of benchmarks/start.py, loading.py, large_index.py, small.py and convert*.py say what; `search_ranks` trains
as well, and kills (ranks.py). `report_page` opens a page in Chromium (benchmarks/report_page.py).

What only a GPU can show is checked by `make gpu-check` ([how](cluster.md#is-this-gpu-set-up-right)).
"""
_COLUMNS = ("what", "against", "at", "ratio", "bar", "met", "forward + backward", "peak MB", "peak MB, training")
_FEWER = ("what", "against", "at", "figure", "bar", "met")  # of groups without models


def write(results: Path, page: Path) -> None:
    """Reads every result file, but for those of `make gpu-check`, and writes the page."""
    files = [json.loads(path.read_text()) for path in sorted(results.glob("*.json"))]
    page.write_text(rendered([file for file in files if file.get("kind") != "gpu-check"]))


def rendered(files: list[dict[str, Any]]) -> str:
    """The page's Markdown, a section per setting."""
    settings: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for file in files:
        settings[file["setting"]].append(file)
    return _HEAD + "".join(_section(name, groups) for name, groups in sorted(settings.items()))


def _section(name: str, groups: list[dict[str, Any]]) -> str:
    lines = [f"\n## {name}\n"]
    for group in groups:
        machine = group["machine"]
        where = machine["gpu"] or f"{machine['cpu']}, {machine['threads']} of {machine['cores']} cores"
        lines.append(
            f"### {group['group']}\n\n{where}; {machine['dtype']}; torch {machine['torch']}, timm {machine['timm']}, "
            f"Python {machine['python']}; load before the run {machine['load']}; {machine['date']}.\n"
        )
        rows = [row for result in group["results"] for row in result["rows"]]
        columns = _FEWER if group["group"].startswith(("search", "train", "report")) else _COLUMNS
        lines += _table(columns, [_cells(row)[: len(columns)] for row in rows])
        lines += _notes(group, rows)
        for result in group["results"]:
            lines += _curves(result) if "curves" in result else []
    return "\n".join(lines) + "\n"


def _table(columns: Sequence[str], rows: list[list[str]]) -> list[str]:
    head = "| " + " | ".join(columns) + " |\n|" + "---|" * len(columns)
    return [head, *("| " + " | ".join(row) + " |" for row in rows)]


def _curves(result: dict[str, Any]) -> list[str]:
    """A table with a line per curve and a column per mark (count of trials, or of epochs)."""
    columns = [result["at"], *(f"{mark:,} {result.get('unit', 'trials')}" for mark in result["marks"])]
    rows = []
    for curve in result["curves"]:
        gains = curve["differences"] or [None] * len(curve["values"])
        cells = [_level(value, gain) for value, gain in zip(curve["values"], gains, strict=True)]
        rows.append([f"{curve['what']} ({curve['note']})" if curve["note"] else curve["what"], *cells])
    return [*_table(columns, rows), ""]


def _level(value: dict[str, float] | None, gain: dict[str, float] | None) -> str:
    """`96.2 ± 0.4 (+1.3 ± 0.5)`; what is in brackets is the difference to the curve that all are compared with."""
    if value is None:
        return "—"
    if value["low"] is None:
        return f"{value['value']:,.1f}"
    text = f"{value['value']:.2f} ± {value['high'] - value['value']:.2f}"
    return text if gain is None else f"{text} ({gain['value']:+.2f} ± {gain['high'] - gain['value']:.2f})"


def _cells(row: dict[str, Any]) -> list[str]:
    rate = row["about"] == "rate"
    bar = "—" if row["bar"] is None else f"at {'most' if row['upper'] else 'least'} {row['bar']:,g}"
    answer = {True: "yes", False: "**no**", None: "—"}[row["met"]]
    if row["about"] == "difference":
        bar = f"interval {'below' if row['upper'] else 'above'} 0"
    figure = row["ratio"]
    training = row.get("training") if row["about"] == "inference" else None
    return [
        row["what"],
        row["against"],
        row["at"],
        f"{figure['value']:,.0f} ({figure['low']:,.0f}–{figure['high']:,.0f})" if rate else _ratio(figure),
        bar,
        answer,
        _ratio(training) if training else "—",
        _megabytes(row.get("peak_bytes")),
        _megabytes(row.get("training_peak_bytes")),
    ]


def _notes(group: dict[str, Any], rows: list[dict[str, Any]]) -> list[str]:
    notes = [f"{row['what']} at {row['at']}: {row['limit']}." for row in rows if row["met"] is False and row["limit"]]
    for result in group["results"]:
        notes += [f"{name} at {result['at']} did not run ({why})." for name, why in result.get("dropped", {}).items()]
    chosen = [f"{row['at']} {row['ours']}" for row in rows if row.get("ours", "").endswith("compiled")]
    if chosen:
        notes.append(f"The compiled graph is the better one in: {'; '.join(dict.fromkeys(chosen))}.")
    return ["", *(f"- {note}" for note in notes), ""] if notes else [""]


def _ratio(figure: dict[str, float]) -> str:
    interval = "" if figure["low"] is None else f" ({figure['low']:.2f}–{figure['high']:.2f})"
    return f"{figure['value']:.2f}{interval}"


def _megabytes(pair: list[int] | None) -> str:
    return " / ".join(f"{size / 1e6:.1f}" for size in pair) if pair else "—"
