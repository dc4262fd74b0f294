"""Which figures a run has, one function for each, and the files that they are written to.

A function takes a run (its name in results/, its path, or a `Run` that is open) and returns a matplotlib Figure. It
raises RunError if there is nothing to draw yet, or never will be in a run of this kind. `nas.plots` is the public name
of these functions.

PDF and SVG keep text as text (fonts embedded as TrueType, `<text>` elements) and have no date: equal figures are equal
bytes under one version of matplotlib.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import matplotlib
import pandas as pd
from matplotlib.figure import Figure

from nas.engine.record import read_record
from nas.errors import RunError, SpecError, nearest, shown
from nas.files import no_link, write_atomically
from nas.metrics import METRICS, Metric
from nas.report import conversion, plots
from nas.report.importance import LEAST, Importance
from nas.report.importance import importances as permutation
from nas.report.mask import mask_curves, mask_epochs
from nas.report.run import Run, read_run
from nas.run_names import run_directory

UNDATED: dict[str, dict[str, Any]] = {".svg": {"Date": None}, ".pdf": {"CreationDate": None}, ".png": {}}
TEXT: Any = {"svg.fonttype": "none", "pdf.fonttype": 42, "svg.hashsalt": "nas"}  # the salt fixes the ids of an SVG
VECTOR = (".svg", ".pdf")


def front(run: str | Path | Run, metric: str | None = None) -> Figure:
    """Validation accuracy against a cost: all complete trials, the Pareto front, the budget, and the base genome.

    metric: macs, params, throughput, latency, ...; by default the first cost among the objectives, else macs.

    >>> nas.plots.front("my_run", "throughput")
    """
    opened = _opened(run)
    name = metric or next((each for each in opened.objectives if METRICS[each].budget), "macs")
    drawable = _drawable(opened, [each for each in METRICS if METRICS[each].budget])
    if opened.front.empty:
        raise RunError("no trial has been trained to the end: there is no front to draw", file=opened.directory)
    if name not in drawable:
        what = f"the trials of this run have no {shown(name)}; {nearest(name, drawable)}"
        raise RunError(what, file=opened.directory)
    limit = (opened.facts["spec"].get("budget") or {}).get(name)
    drawn = plots.accuracy_against(name, opened.trials, opened.front, limit=limit, base=opened.base)
    return _worded(opened, drawn)


def hypervolume(run: str | Path | Run) -> Figure:
    """Hypervolume of the front against trials and compute, with the random baseline if the run has one."""
    opened = _opened(run)
    if len(opened.anytime) < 2:
        raise RunError("fewer than two trials have ended: there is no hypervolume to draw", file=opened.directory)
    return plots.anytime_curves(opened.anytime)


def learning_curves(run: str | Path | Run) -> Figure:
    """Validation accuracy by epoch: trials of the front (seven at most) in colour, the others in grey."""
    opened = _opened(run)
    if not opened.curves:
        raise RunError("no trial has a metrics.csv with an epoch: there is no curve to draw", file=opened.directory)
    named = plots.spread([int(trial) for trial in opened.front.sort_values("macs")["trial"]])
    return _worded(opened, plots.learning_curves(opened.curves, named))


def importances(run: str | Path | Run) -> Figure:
    """Permutation importance of each searched parameter for accuracy, with its spread (nas/report/importance.py)."""
    opened = _opened(run)
    found = _importances(opened)
    if found is None:
        what = f"fewer than {LEAST} complete trials, or no parameter that varies: nothing to learn importances from"
        raise RunError(what, file=opened.directory)
    return plots.importance_bars(found)


def sensitivity(run: str | Path | Run) -> Figure:
    """Of a conversion: the KL from the parent that each candidate causes, alone in each layer, before any repair."""
    opened = _opened(run)
    if opened.sensitivity is None:
        raise RunError(_lacks(opened, "conversion", "sensitivity.csv"), file=opened.directory)
    return conversion.sensitivity_map(opened.sensitivity)


def repair(run: str | Path | Run) -> Figure:
    """Of a conversion: its front, the change in validation accuracy against MACs, before and after training."""
    opened = _opened(run)
    if opened.assemblies is None:
        raise RunError(_lacks(opened, "conversion", "assemblies.csv"), file=opened.directory)
    return _worded(opened, conversion.before_and_after(opened.assemblies))


def arms(run: str | Path) -> Figure:
    """Of an ablation: top-1 on test of every arm, its seeds, and their mean ± standard deviation."""
    directory, cells, baseline = _ablation(run)
    done = cells.dropna(subset="accuracy") if "accuracy" in cells else cells[:0]
    if done.empty:
        raise RunError("no cell has been trained and tested: there is no arm to draw", file=directory)
    percents = {str(arm): (100 * part["accuracy"]).tolist() for arm, part in done.groupby("arm", sort=False)}
    return plots.arm_dots(list(percents), list(percents.values()), baseline=baseline)


def mask(run: str | Path) -> Figure:
    """Of an ablation: mass left in each masked-softmax auxiliary by epoch, and what leaving it out gains."""
    directory, cells, _ = _ablation(run)
    if not _has_mask(cells):
        raise RunError("no arm has a masked-softmax auxiliary that has been trained", file=directory)
    return mask_curves(mask_epochs(directory, cells))


def save(figure: Figure, file: str | Path) -> Path:
    """Write a figure as .svg, .pdf or .png: text stays text, no date, equal bytes for an equal figure.

    >>> nas.plots.save(nas.plots.front("my_run"), "front.pdf")
    PosixPath('front.pdf')
    """
    file = Path(file)
    if file.suffix.lower() not in UNDATED:
        raise SpecError(f"a figure is a .svg, .pdf or .png, found {file.name}", path="file")
    with matplotlib.rc_context(TEXT):
        write_atomically(file, partial(_write, figure, file.suffix.lower()))
    return file


def _write(figure: Figure, ending: str, file: Path) -> None:
    figure.savefig(file, format=ending[1:], metadata=UNDATED[ending])


@dataclass(frozen=True)
class Drawing:
    """A figure with its file name and caption."""

    name: str
    figure: Figure
    caption: str

    @cached_property
    def png(self) -> bytes:
        buffer = io.BytesIO()
        self.figure.savefig(buffer, format="png")
        return buffer.getvalue()

    def write(self, path: Path) -> None:
        path.write_bytes(self.png)

    def embedded(self) -> str:
        """The PNG in base64, for a data URL."""
        return base64.b64encode(self.png).decode()


def drawings(run: Run) -> list[Drawing]:
    """The figures of a search or a conversion, as far as it has come."""
    made = [Drawing(f"accuracy_{name}", front(run, name), _caption(METRICS[name])) for name in _costs(run)]
    others: list[tuple[bool, Callable[[Run], Figure], str]] = [
        (
            len(run.anytime) > 1,
            hypervolume,
            "Hypervolume of the front after each trial, as a share of what all trials have reached by now.",
        ),
        (
            run.sensitivity is not None,
            sensitivity,
            "What each candidate alone does to the parent's answers (KL on validation images), before any repair.",
        ),
        (
            run.assemblies is not None,
            repair,
            "Assemblies before and after training: validation accuracy less that of the parent, trained as long.",
        ),
        (
            bool(run.curves),
            learning_curves,
            "Learning curves; trials of the front (seven at most, cheap to costly) in colour, the others in grey.",
        ),
    ]
    made += [Drawing(draw.__name__, draw(run), caption) for there, draw, caption in others if there]
    return [Drawing(each.name, each.figure, run.worded(each.caption)) for each in made]


def write_figures(run: str | Path) -> list[Path]:
    """Write every figure of a run as figures/*.svg and *.pdf; returns the files. Raises RunError if it has none."""
    directory = run_directory(run)
    if (read_record(directory) or {}).get("kind") == "ablation":
        made = {"arms": arms(run)}
        if _has_mask(_ablation(run)[1]):
            made["mask"] = mask(run)
    else:
        opened = read_run(directory)
        made = {drawing.name: drawing.figure for drawing in drawings(opened)}
        if _importances(opened) is not None:
            made["importances"] = importances(opened)
    if not made:
        raise RunError("no trial has finished an epoch: there is no figure to write", file=directory)
    folder = no_link(directory / "figures")
    folder.mkdir(exist_ok=True)
    return [save(figure, folder / f"{name}{ending}") for name, figure in made.items() for ending in VECTOR]


def _opened(run: str | Path | Run) -> Run:
    return run if isinstance(run, Run) else read_run(run_directory(run))


def _costs(run: Run) -> list[str]:
    """The metrics that a front is drawn over: MACs, throughput, other objectives and budgets, where they are known."""
    budget = run.facts["spec"].get("budget") or {}
    limits = [name for name, limit in budget.items() if limit is not None]
    return _drawable(run, ["macs", "throughput", *run.objectives, *limits])


def _importances(run: Run) -> Importance | None:
    names = list(
        map(str, run.trials)
    )  # parameters are the columns after the last one of every run (nas/engine/ledger.py)
    return permutation(run.trials, names[names.index("reason") + 1 :])


def _drawable(run: Run, names: list[str]) -> list[str]:
    known = [name for name in dict.fromkeys(names) if name in METRICS and METRICS[name].budget and name in run.front]
    return [name for name in known if run.front[name].notna().any()]


def _ablation(run: str | Path) -> tuple[Path, pd.DataFrame, str]:
    """Directory, cells and baseline of an ablation; the cells of a published one are those of its table.csv."""
    directory = run_directory(run)
    record = read_record(directory)
    if record is None:
        raise RunError("not a run: it has no run.yaml", file=directory)
    if record.get("kind") != "ablation":
        raise RunError(f"arms and masks are of an ablation, and this is a {record.get('kind')}", file=directory)
    from nas.ablation import cells_of, parse_ablation  # imports torch, which a search's figures do without
    from nas.report.ablation import read_cells

    ablation = parse_ablation(record["spec"], file=directory / "run.yaml")
    cells = cells_of(directory) if (directory / "trials").exists() else read_cells(directory, ablation)
    return directory, cells, ablation.baseline_name


def _has_mask(cells: pd.DataFrame) -> bool:
    return "accuracy_before_switch" in cells and bool(cells["accuracy_before_switch"].notna().any())


def _lacks(run: Run, kind: str, file: str) -> str:
    found = run.facts.get("kind", "search")
    return f"there is no {file} yet" if found == kind else f"only a {kind} has {file}, and this is a {found}"


def _worded(run: Run, figure: Figure) -> Figure:
    """The figure with its axes in the words of the run."""
    for axes in figure.axes:
        axes.set_xlabel(run.worded(axes.get_xlabel()))
        axes.set_ylabel(run.worded(axes.get_ylabel()))
    return figure


def _caption(metric: Metric) -> str:
    if metric.known == "table":
        side = "left" if metric.direction == "min" else "right"
        return f"Accuracy against {metric.axis}, as predicted before training; better is to the {side}."
    line = "Numbers are trials; the line is the best accuracy that each cost can buy."
    return f"Accuracy against {metric.axis}. {line}"
