"""An ablation's table, from its trial directories: table.csv (a row per seed), table.md, table.tex, table.html.

Columns: check-marks or levels of the factors, params, GMACs (deployed graph), images/s, top-1 mean ± std (n), Δ to the
baseline over the shared seeds with its 95 % interval, Holm-corrected p. A top-1 is bold if its Δ is positive, its
interval excludes zero and its corrected p is below 0.05: with one seed nothing is bold. LaTeX is booktabs and siunitx.
"""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from nas.ablation.run import cells_of
from nas.ablation.spec import Ablation, parse_ablation
from nas.ablation.statistics import Paired, binomial_floor, holm, paired
from nas.engine.record import read_record
from nas.errors import RunError
from nas.files import write_atomically, write_text


@dataclass(frozen=True)
class Row:
    """One arm, ready to be set. Accuracies and differences in percentage points."""

    name: str
    levels: list[str]
    params: float  # millions
    gmacs: float
    speed: float | None
    mean: float
    std: float
    count: int
    difference: Paired | None  # None for the baseline
    p: float

    @property
    def bold(self) -> bool:
        return self.difference is not None and self.difference.low > 0 and self.p < 0.05


def write_table(directory: Path) -> list[Path]:
    """Write table.{csv,md,tex,html} into the run directory. Raises RunError if it is no ablation's."""
    record = read_record(directory)
    if record is None or record.get("kind") != "ablation":
        raise RunError("not the run of an ablation", file=directory)
    ablation = parse_ablation(record["spec"], file=directory / "run.yaml")
    cells = cells_of(directory)
    rows = rows_of(cells, ablation)
    factors, caption = list(ablation.factors), caption_of(cells, ablation, record)
    write_atomically(directory / "table.csv", lambda path: cells.to_csv(path, index=False))
    for ending, render in (("md", markdown), ("tex", latex), ("html", html)):
        write_text(directory / f"table.{ending}", render(rows, factors, caption))
    return [directory / f"table.{ending}" for ending in ("csv", "md", "tex", "html")]


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
                difference=differences.get(str(arm)),
                p=corrected.get(str(arm), float("nan")),
            )
        )
    return rows


def caption_of(cells: pd.DataFrame, ablation: Ablation, record: dict[str, Any]) -> str:
    """What a reader needs to judge the table: claim, data, training, hardware, commit, compute, noise floor."""
    hardware = record["hardware"]
    machine = ", ".join(hardware["gpus"]) or f"{hardware['cpu']} ({hardware['cores']} cores)"
    missing = int((cells["state"] != "complete").sum()) if len(cells) else 0
    parts = [
        f"{ablation.claim.rstrip('.')}." if ablation.claim else "",
        f"{ablation.data}, {ablation.training.epochs} epochs"
        + (f", {ablation.training.limit} training images" if ablation.training.limit else "")
        + (", validation images among them" if ablation.training.validation == 0 else "")
        + f", {len(ablation.seed_list)} seeds; top-1 on the test split, mean ± std; "
        f"Δ to {ablation.baseline_name} in points over shared seeds, 95 % t-interval, p Holm-corrected.",
        "MACs and params of the deployed graph, per image.",
    ]
    if "images_per_second" in cells:
        timed = cells[cells["images_per_second"].notna()].iloc[0]
        conditions = f"{timed['device']}, {timed['dtype']}, batch {timed['batch_size']:.0f}"
        parts.append(f"Images/s: {conditions}, {timed['threads']:.0f} threads.")
    if "accuracy" in cells and cells["accuracy"].notna().any():
        images = int(cells["test_images"].dropna().iloc[0])
        floor = 100 * binomial_floor(float(cells["accuracy"].mean()), images)
        parts.append(f"Binomial standard error of the {images}-image test split: {floor:.2f} points.")
    hours = float(pd.to_numeric(cells["seconds"]).sum()) / 3600 if len(cells) else 0.0
    parts.append(f"Trained on {machine}, {hours:.2f} worker-hours in all, commit {record.get('commit') or 'unknown'}.")
    if missing:
        parts.append(f"{missing} cells are not complete.")
    return " ".join(part for part in parts if part)


def markdown(rows: list[Row], factors: list[str], caption: str) -> str:
    head = ["arm", *factors, "params (M)", "GMACs", "images/s", "top-1 (%)", "Δ [95 % CI]", "p"]
    lines = ["| " + " | ".join(head) + " |", "|" + " --- |" * len(head)]
    for row in rows:
        top = _top(row)
        cells = [row.name, *row.levels, _significant(row.params), _significant(row.gmacs), _speed(row)]
        cells += [f"**{top}**" if row.bold else top, _difference(row), _p(row.p)]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join([*lines, "", caption, ""])


def html(rows: list[Row], factors: list[str], caption: str) -> str:
    head = ["arm", *factors, "params (M)", "GMACs", "images/s", "top-1 (%)", "Δ [95 % CI]", "p"]
    body = []
    for row in rows:
        cells = [row.name, *row.levels, _significant(row.params), _significant(row.gmacs), _speed(row)]
        top = f"<b>{_top(row)}</b>" if row.bold else _top(row)
        marked = [*(escape(cell) for cell in cells), top, escape(_difference(row)), _p(row.p)]
        body.append("<tr>" + "".join(f"<td>{cell}</td>" for cell in marked) + "</tr>")
    style = (
        "body{font:16px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:70rem;padding:0 1rem;color:#222}"
        "table{border-collapse:collapse;border-top:2px solid;border-bottom:2px solid}th{border-bottom:1px solid}"
        "th,td{padding:.3rem .8rem;text-align:left;font-variant-numeric:tabular-nums}"
        "caption{caption-side:bottom;text-align:left;padding-top:.8rem;color:#555;font-size:.9rem}"
    )
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>Ablation</title><style>{style}</style>\n'
        f"<table><caption>{escape(caption)}</caption>\n<tr>{''.join(f'<th>{escape(h)}</th>' for h in head)}</tr>\n"
        + "\n".join(body)
        + "\n</table></html>\n"
    )


def latex(rows: list[Row], factors: list[str], caption: str) -> str:
    """A whole `table` environment. Needs booktabs, siunitx and amssymb."""
    columns = "l" + "c" * len(factors) + "SSrrrr"
    head = [
        "Arm",
        *map(_tex, factors),
        "{Params (M)}",
        "{GMACs}",
        "Images/s",
        "Top-1 (\\%)",
        "$\\Delta$ [95\\,\\% CI]",
        "$p$",
    ]
    lines = [
        "% \\usepackage{booktabs,siunitx,amssymb}",
        "\\begin{table}",
        "\\centering",
        f"\\begin{{tabular}}{{{columns}}}",
        "\\toprule",
        " & ".join(head) + " \\\\",
        "\\midrule",
    ]
    for row in rows:
        top = _top(row).replace("±", "$\\pm$")
        levels = [level.replace("✓", "\\checkmark") if level == "✓" else _tex(level) for level in row.levels]
        cells = [
            _tex(row.name),
            *levels,
            _significant(row.params),
            _significant(row.gmacs),
            _speed(row).replace(",", "\\,"),
        ]
        cells += [f"\\textbf{{{top}}}" if row.bold else top, _tex(_difference(row)).replace("−", "$-$"), _p(row.p)]
        lines.append(" & ".join(cells) + " \\\\")
    caption = _tex(caption).replace("±", "$\\pm$").replace("Δ", "$\\Delta$")
    lines += ["\\bottomrule", "\\end{tabular}", f"\\caption{{{caption}}}", "\\end{table}", ""]
    return "\n".join(lines)


def _mark(level: Any) -> str:
    text = "" if not isinstance(level, str) else level
    return {"yes": "✓", "no": ""}.get(text, text)


def _top(row: Row) -> str:
    return f"{row.mean:.2f} (1)" if np.isnan(row.std) else f"{row.mean:.2f} ± {row.std:.2f} ({row.count})"


def _difference(row: Row) -> str:
    if row.difference is None:
        return "baseline"
    text = f"{row.difference.delta:+.2f}"
    if not np.isnan(row.difference.low):
        text += f" [{row.difference.low:+.2f}, {row.difference.high:+.2f}]"
    return text.replace("-", "−")


def _significant(value: float) -> str:
    """Three significant digits at least, no exponent."""
    return f"{value:.{max(0, 2 - int(np.floor(np.log10(value))))}f}"


def _p(p: float) -> str:
    return "" if np.isnan(p) else f"{p:.3f}"


def _speed(row: Row) -> str:
    return "" if row.speed is None or np.isnan(row.speed) else f"{row.speed:,.0f}"


def _tex(text: str) -> str:
    for character in "&%_#$":
        text = text.replace(character, f"\\{character}")
    return text.replace("ε", "$\\varepsilon$").replace("½", "$\\frac12$").replace("×", "$\\times$")
