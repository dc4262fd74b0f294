"""A genome drawn as its stack of layers with the cost of each; two of them side by side, with what differs.

layer              lavit_digits     MACs   params
stages.0           4×4 tokens, width 32, 2 heads
  embed            2×2 patches     2.05 k   672  ▏
  layers.0         softmax          160 k  8.51 k ████████
  layers.2         less             142 k  ...
"""

from __future__ import annotations

from itertools import groupby
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table

from nas.genome import Genome
from nas.genome.layout import StagePlan
from nas.numbers import magnitude
from nas.paths import Difference, flat
from nas.profiling import GenomeCost, Throughput, TimesByLayer, cost, disturbance
from nas.profiling.stack import Seconds, row_words, value_words

BAR = 16  # characters of the costliest layer
LISTED = {"layers", "depth", "split", "core", "tail", "auxiliary", "local"}  # keys of a stage that the stack shows
Drawn = tuple[str, Genome, GenomeCost, dict[str, str]]  # title, genome, cost, what each row is


def differences(one: Genome, two: Genome) -> list[Difference]:
    """The keys in which two genomes differ, other than their names and the lists of layers, which the stacks show."""
    old, new = _keys(one), _keys(two)
    return [Difference(key, old.get(key), new.get(key)) for key in old | new if old.get(key) != new.get(key)]


def conditions(pace: Throughput) -> str:
    """What times were taken under: `ms: a batch of 1, cpu, float32, 2 threads`."""
    threads = "1 thread" if pace.threads == 1 else f"{pace.threads} threads"
    told = disturbance([pace])
    return f"ms: a batch of {pace.batch_size}, {pace.device}, {pace.dtype}, {threads}" + (f"; {told}" if told else "")


def stacks(genomes: list[tuple[str, Genome]], times: TimesByLayer | None = None) -> RenderableType:
    """One genome, or two to compare, each with its title. Rows that differ are marked with ≠. times: in their order."""
    seconds: list[Seconds | None] = [*times.seconds] if times is not None else [None] * len(genomes)
    drawn: list[Drawn] = [(title, genome, cost(genome), row_words(genome)) for title, genome in genomes]
    two = len(drawn) == 2
    table = Table(box=None, pad_edge=False)
    table.add_column("layer", no_wrap=True)
    table.add_column("", no_wrap=True)  # ≠
    for title, *_ in drawn:
        table.add_column(title)
        table.add_column("MACs", justify="right", no_wrap=True)
        table.add_column("params", justify="right", no_wrap=True)
        if times is not None:
            table.add_column("ms", justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    blank = ("",) if times is None else ("", "")
    most = max(layer.macs for _, _, total, _ in drawn for layer in total.layers)
    names = _merged([[layer.name for layer in total.layers] for _, _, total, _ in drawn])
    for stage, rows in groupby(names, key=_stage):
        if stage != "head":
            plans = [_plan(genome, stage) for _, genome, _, _ in drawn]
            heads = [_stage_words(plan) for plan in plans]
            table.add_row(stage, _mark(heads), *(cell for words in heads for cell in (words, "", *blank)), style="bold")
        for name in rows:
            _add(table, name, drawn, seconds, most)
    totals = [
        cell
        for (_, _, t, _), timed in zip(drawn, seconds, strict=True)
        for cell in ("", magnitude(t.macs), magnitude(t.params), *([] if timed is None else [_ms(sum(timed.values()))]))
    ]
    table.add_row("total", "", *totals, _change(*(t.macs for _, _, t, _ in drawn)) if two else "", style="bold")
    told = ["", conditions(times.pace)] if times is not None else []
    if not two:
        return Group(table, *told)
    found = differences(genomes[0][1], genomes[1][1])
    lines = [f"{key}: {value_words(old)} → {value_words(new)}" for key, old, new in found]
    return Group(table, *told, "", *(lines or ["all other keys are equal"]))


def _add(table: Table, name: str, drawn: list[Drawn], seconds: list[Seconds | None], most: int) -> None:
    costs = [next((layer for layer in total.layers if layer.name == name), None) for _, _, total, _ in drawn]
    words = [words.get(name, "–") for *_, words in drawn]
    cells: list[str] = []
    for what, found, timed in zip(words, costs, seconds, strict=True):
        cells += [what, *((magnitude(found.macs), magnitude(found.params)) if found else ("–", "–"))]
        cells += [] if timed is None else [_ms(timed[name]) if name in timed else "–"]
    macs = [found.macs if found else 0 for found in costs]
    last = _change(*macs) if len(drawn) == 2 else "█" * round(BAR * macs[0] / most)
    short = name if name == "head" else f"  {name.split('.', 2)[2]}"
    table.add_row(short, _mark(words), *cells, last)


def _stage_words(plan: StagePlan | None) -> str:
    if plan is None:
        return "–"
    first = plan.layers[0]
    ratio = f"{first.hidden / plan.width:g}"
    prefix = " + a class token" if plan.prefix else ""
    return f"{plan.grid[0]}×{plan.grid[1]} tokens{prefix}, width {plan.width}, {first.site.heads} heads, MLP ×{ratio}"


def _keys(genome: Genome) -> dict[str, Any]:
    data = genome.model_dump(mode="json")
    stages = [{key: value for key, value in stage.items() if key not in LISTED} for stage in data.pop("stages")]
    return flat(data | {"stages": {str(index): stage for index, stage in enumerate(stages)}}, free=("name", "notes"))


def _merged(lists: list[list[str]]) -> list[str]:
    """All names, stage by stage and the head last, each in the order of its own genome."""
    names = list(dict.fromkeys(name for one in lists for name in one))
    return sorted(names, key=lambda name: (name == "head", _stage(name)))


def _stage(name: str) -> str:
    """`stages.0` of `stages.0.layers.1`."""
    return name if name == "head" else ".".join(name.split(".")[:2])


def _plan(genome: Genome, stage: str) -> StagePlan | None:
    return next((plan for plan in genome.layout if plan.name == stage), None)


def _mark(words: list[str]) -> str:
    return "≠" if len(set(words)) > 1 else ""


def _change(old: int, new: int) -> str:
    if old == new:
        return ""
    return f"{'+' if new > old else '−'}{magnitude(abs(new - old))}"


def _ms(seconds: float) -> str:
    return f"{1000 * seconds:.3g}"
