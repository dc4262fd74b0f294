"""One HTML page about a run, to read and to explore, self-contained: no network and no server is needed.

templates/report.html.j2 renders what is read, from `Run`; text from a run's files is escaped there. What is explored is
drawn in the browser by templates/*.js, from the data of nas/report/payload.py.
"""

from __future__ import annotations

import shlex
from typing import Any

import pandas as pd

from nas.account import account_lines
from nas.numbers import magnitude
from nas.plain_yaml import dump_yaml
from nas.report import conversion
from nas.report.document import document
from nas.report.payload import payload
from nas.report.run import Run
from nas.report.tables import front_columns, heading, rows, with_error

TEXT_COLUMNS = {"state", "reason", "winner", "layers", "hash"}
SCRIPTS = ("trials.js", "table.js", "trial.js", "panels.js", "report.js")
FAILURES = 50  # tracebacks that the page holds
NAMED = 10  # trials that a notice names
STATES = ("complete", "pruned", "infeasible", "failed", "running")


def page(run: Run, *, refresh: float | None = None) -> str:
    """The page as HTML. refresh: seconds after which it loads itself anew, for a run in progress."""
    facts = run.facts
    front = run.front.assign(layers=[run.layers[int(trial)] for trial in run.front["trial"]])
    found = payload(run)
    example = _example(run)
    return document(
        "report.html.j2",
        SCRIPTS,
        found | {"data": str(facts["spec"].get("data", "digits")), "refresh": refresh},
        name=found["name"],
        kind=facts.get("kind", "search"),
        subtitle=_subtitle(facts),
        notices=_notices(run),
        tiles=_tiles(run),
        objectives=run.worded(", ".join(f"{name} {direction}" for name, direction in run.objectives.items())),
        accuracy=_accuracy(run),
        word=run.worded("accuracy"),
        front=_view(run, front, [*front_columns(front), *(["layers"] if any(front["layers"]) else [])]),
        on_test=run.on_test,
        example=example,
        load=f'import nas; model = nas.build("{example}", weights=True)',
        retrain=f"nas retrain {shlex.quote(str(run.directory))}" if "winner" in run.front else "",
        some=len(run.trials),
        parallel=len(found["front"]) > 1 and any(column.get("parameter") for column in found["columns"]),
        importance=found["importance"],
        hypervolume=found["hypervolume"],
        curves=bool(run.curves),
        stacks=found["stacks"],
        sensitivity=found["sensitivity"],
        assemblies=conversion.assembly_rows(run.assemblies) if run.assemblies is not None else None,
        classes=[_by_class(run, name) for name in run.by_class],
        failures=[{"trial": trial, "reason": reason, "text": text} for trial, reason, text in run.failures[:FAILURES]],
        more_failures=max(0, len(run.failures) - FAILURES),
        data_lines=account_lines(facts["data"]) if "data" in facts else [],
        facts=_facts(facts),
        spec=dump_yaml(facts["spec"]),
    )


def _by_class(run: Run, winner: str) -> dict[str, Any]:
    """A winner's results by class for the template: a line, a table, its caption."""
    results = run.by_class[winner]
    table = results.table()
    columns = [{"heading": run.worded(column.head), "text": not column.numeric} for column in table.columns]
    cells = zip(*(column.cells for column in table.columns), strict=True)
    view = {"columns": columns, "rows": [{"cells": row} for row in cells]}
    return {"winner": winner, "line": results.line, "view": view, "caption": table.caption}


def _accuracy(run: Run) -> str:
    """What accuracy is, for the sentence that goes on with the split."""
    return "Accuracy is top-1" if run.meaning is None else "Agreement is top-1 against the parent's answers"


def _view(run: Run, frame: pd.DataFrame, columns: list[str]) -> dict[str, Any]:
    """A table for the template: columns with heading and alignment, rows of text."""
    text = {name for name in columns if name in TEXT_COLUMNS or not pd.api.types.is_numeric_dtype(frame[name])}
    return {
        "columns": [{"heading": run.worded(heading(name)), "text": name in text} for name in columns],
        "rows": [{"cells": cells} for cells in rows(frame, columns)],
    }


def _subtitle(facts: dict[str, Any]) -> str:
    spec = facts["spec"]
    begun = f"begun {str(facts['created'])[:16].replace('T', ' ')} UTC" if "created" in facts else ""
    parts = (facts.get("kind", "search"), f"on {spec['data']}" if "data" in spec else "", begun)
    return " · ".join(part for part in parts if part)


def _tiles(run: Run) -> list[tuple[str, str]]:
    counts = run.trials["state"].value_counts()
    tiles = [(state, str(counts[state])) for state in STATES if state in counts]
    tiles.append(("on the front", str(len(run.front))))
    if len(run.front):
        tiles.append((run.worded("best validation accuracy"), f"{_best(run.front)} %"))
        tiles.append(("fewest MACs on the front", magnitude(float(run.front["macs"].min()))))
    seconds = pd.to_numeric(run.trials["seconds"]).sum()
    unit, size = ("h", 3600) if seconds >= 3600 else ("min", 60) if seconds >= 60 else ("s", 1)
    time = f"{seconds / size:.1f} {unit}"
    tiles.append(("training time, all workers", time))
    return tiles


def _best(front: pd.DataFrame) -> str:
    best = front.sort_values("accuracy").iloc[-1]
    return with_error("accuracy", best["accuracy"], best.get("accuracy_se"))


def _notices(run: Run) -> list[str]:
    running = int((run.trials["state"] == "running").sum())
    notices = []
    if run.meaning is not None:
        notices.append(f"The images have no labels: accuracy is {run.meaning}, in trials.csv and front.csv as well.")
    if running:
        notices.append(f"{running} trial(s) have not ended: the run goes on, or was interrupted and can be resumed.")
    if run.ledger is not None and (gaps := run.ledger.gaps):
        more = f" and {len(gaps) - NAMED} more" if len(gaps) > NAMED else ""
        gone = ", ".join(f"{number:04d}" for number in gaps[:NAMED]) + more
        notices.append(f"Trials without a directory: {gone}. The same run, started again, trains them anew.")
    if run.facts.get("kind") == "search" and not run.ended:
        notices.append("The search has not ended: this is the front so far, and nothing of it has been timed.")
    elif run.gain is not None:
        notices.append(run.gain.capitalize() + ".")
    return notices


def _example(run: Run) -> str:
    """The path of one genome to load: the most accurate winner's or, if it has no name yet, its trial's."""
    if not len(run.front):
        return ""
    best = run.front.sort_values("accuracy").iloc[-1]
    winner = best.get("winner")
    if isinstance(winner, str):
        return str(run.directory / "winners" / f"{winner}.yaml")
    return str(run.folder(int(best["trial"])) / "genome.yaml")


def _facts(facts: dict[str, Any]) -> list[tuple[str, str]]:
    """Everything in run.yaml except the specification and the account of the data, one line each."""
    lines = []
    for key, value in facts.items():
        if key in ("spec", "data"):
            continue
        if isinstance(value, dict):
            value = ", ".join(f"{name} {_plain(part)}" for name, part in value.items() if part not in (None, []))
        lines.append((key, _plain(value)))
    return lines


def _plain(value: Any) -> str:
    if isinstance(value, (list, tuple)):
        return ", ".join(map(str, value))
    return "–" if value is None else str(value)
