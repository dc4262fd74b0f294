"""A conversion whose driver is killed twenty times: what is done twice, what is lost, and whether the winners change.

Each driver is a process with a Ray of its own. It ends itself by SIGKILL at a moment that is counted and not clocked:
before or after it writes a piece of the library or the table of scores, before or after it asks for the best assemblies
of one cost (the choice), before or after it hears of an epoch of the repair. The next driver begins with what is on the
disk. The last one is left alone, and its run is compared with that of one driver that nobody killed.

A unit is a round of a piece, the score of an assembly, or a trial. `kept` reads from the files which units are done.
Each driver writes down which ones it hands to a worker. Done twice is what is handed out although it was kept when
that driver began, and lost is what was kept and no longer is. Work that no file holds yet when the kill comes is done
again by design: at most a round of the pieces in training, the assemblies being scored, an epoch.

The budget needs a table of timings. The first driver measures it, and the others have to go by it. The run that was
not killed is given a copy, since a second measurement would differ.
"""

from __future__ import annotations

import math
import os
import shutil
import signal
import tempfile
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from multiprocessing import get_context
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pandas as pd
import torch

from benchmarks.contest import met
from benchmarks.deadly import die_at
from benchmarks.machine import Setting
from nas.convert import plan
from nas.convert.candidates import Place, key_of
from nas.convert.run import convert
from nas.convert.shelf import unpacked
from nas.convert.spec import ConversionSpec
from nas.convert.workers import Content, Crew, run_round
from nas.engine import Event
from nas.engine.driver import Driver
from nas.engine.single import train_genome
from nas.files import SEAL
from nas.profiling import parts, table_file
from nas.profiling.stopwatch import timed
from nas.row_seals import ROW_SEAL

SPEC = {
    "budget": {"latency": "1000000x"},  # admits all, on a machine of whatever load
    "library": {"rounds": 3, "images": 512},
    "scored": 200,
    "tried": 20,
    "points": 3,
    "training": {"epochs": 5, "limit": 800},
}


@dataclass(frozen=True)
class Moment:
    """Before or after the `count`-th time that a driver does what `part` is counted by."""

    part: str
    count: int
    after: bool = False

    def arm(self) -> None:
        owner, name, counted = PARTS[self.part]
        die_at(owner, name, self.count, after=self.after, counted=counted)


PARTS: Mapping[str, tuple[Any, str, Callable[..., bool]]] = {
    "library": (os, "replace", lambda _, target: str(target).endswith(".pt")),
    "scores": (os, "replace", lambda _, target: Path(target).name == "scores.csv"),
    "choice": (plan, "best", lambda *_: True),  # twice for each of the points
    "repair": (Driver, "reported", lambda _, trial, result: "row" in result),
}
MOMENTS = [
    *(Moment("library", count, after) for count in (1, 5, 9) for after in (False, True)),
    Moment("scores", 1),
    Moment("scores", 1, after=True),
    Moment("choice", 1),
    Moment("choice", 3, after=True),
    Moment("scores", 2),
    Moment("scores", 1, after=True),
    Moment("choice", 4),
    Moment("choice", 6, after=True),
    *(Moment("repair", 1, after) for after in (False, True) * 3),
]


def run(setting: Setting) -> list[dict[str, Any]]:
    with tempfile.TemporaryDirectory() as folder, patch.dict(os.environ, XDG_CACHE_HOME=folder):
        return [_measured(Path(folder))]


def _measured(folder: Path) -> dict[str, Any]:
    settings = {"training.epochs": 8}
    parent = train_genome("mixed_digits", out=folder / "parent", settings=settings, progress=False).file
    spec = ConversionSpec.parse(SPEC | {"start": str(parent)}).only(["reuse", "linear"])
    drivers, killed, whole = get_context("forkserver"), folder / "killed", folder / "whole"
    drivers.set_forkserver_preload([__name__])  # imported once for all drivers
    twice: list[str] = []
    lost: list[str] = []
    for moment in [*MOMENTS, None]:
        before = kept(killed)
        code = drive(drivers, killed, spec, moment)
        if code != (-signal.SIGKILL if moment else 0):
            raise RuntimeError(f"{moment}: the driver ended with {code}")
        twice += before & handed(killed)
        lost += before - kept(killed)
        print(f"{moment}: {len(kept(killed))} units are kept", flush=True)
    give_tables(killed, whole)
    if drive(drivers, whole, spec):
        raise RuntimeError("the driver that was left alone did not end well")
    differ = differences(killed, whole)
    kinds = {"piece": "rounds of pieces", "score": "scores of assemblies", "trial": "trials", "table": "latency tables"}
    at = f"{len(MOMENTS)} kills, mixed_digits on digits, {len(kept(killed))} units"
    counts = {f"{text} done twice": _of(kind, twice) for kind, text in kinds.items()}
    counts |= {"units lost": len(lost), "files that differ from those of a run without a kill": len(differ)}
    moments = [asdict(moment) for moment in MOMENTS]
    found = {"moments": moments, "twice": twice, "lost": lost, "differ": differ}
    return {"at": at, **found, "rows": [_row(what, at, count) for what, count in counts.items()]}


def _of(kind: str, units: Collection[str]) -> int:
    return sum(unit.startswith(kind) for unit in units)


def _row(what: str, at: str, count: int) -> dict[str, Any]:
    return {
        "what": what,
        "against": "—",
        "at": at,
        "about": "count",
        "bar": 0,
        "upper": True,
        "ratio": {"value": count, "low": None, "high": None},
        "met": met(count, 0, True),
        "limit": "the units are named in the file",
    }


# ----------------------------------------------------------------------------------------------------------------------
# Drivers, and what they leave; tests/convert/test_kill.py uses these as well
# ----------------------------------------------------------------------------------------------------------------------
def drive(
    drivers: ForkServerContext,
    folder: Path,
    spec: ConversionSpec,
    moment: Moment | None = None,
    *,
    environment: Mapping[str, str] | None = None,
    seconds: float = 0.5,
) -> int | None:
    """Run or resume a conversion in a process of its own, to its end or to the moment; returns the exit status.

    seconds: of the stopwatch, for each model that is timed for the table.
    """
    arguments = (folder, spec, moment, environment or {}, seconds)
    driver = drivers.Process(target=_drive, args=arguments)
    driver.start()
    driver.join()
    code: int | None = driver.exitcode
    return code


def kept(folder: Path) -> set[str]:
    """The units of a conversion that its files say are done."""
    units = {f"table {file.name}" for file in folder.glob("latency*.json")}
    for file in folder.glob("library/[!.]*.pt"):
        units |= {f"piece {file.stem}, round {done + 1}" for done in range(unpacked(file.read_bytes())["rounds"])}
    units |= {f"score {key}" for key in _scores(folder)}
    return units | {f"trial {file.parent.name}" for file in folder.glob("trials/[0-9]*/result.json")}


def _scores(folder: Path) -> dict[str, dict[str, str]]:
    """The rows of scores.csv by assembly, without those that are taken anew, and without the seals of its run."""
    file = folder / "scores.csv"
    rows = pd.read_csv(file, dtype=str).drop(columns=SEAL).to_dict("records") if file.exists() else []
    return {str(row["assembly"]): row for row in rows if math.isfinite(float(row["kl"]))}


def handed(folder: Path) -> set[str]:
    """The units that the last driver of a conversion began, or handed to a worker."""
    return set(_log(folder).read_text().splitlines())


def give_tables(folder: Path, other: Path) -> None:
    """The timings of one conversion to another that has not begun: a second measurement would differ."""
    other.mkdir()
    for file in folder.glob("latency*.json"):
        shutil.copy(file, other)


def differences(folder: Path, other: Path) -> list[str]:
    """The files of two conversions that should be equal and are not, in the columns that both have."""
    names = {file.relative_to(root) for root in (folder, other) for file in root.glob("library/*.pt")}
    found = [str(name) for name in sorted(names) if not _same_piece(folder / name, other / name)]
    found += [] if _scores(folder) == _scores(other) else ["scores.csv"]
    for name in ("sensitivity.csv", "assemblies.csv", "trials.csv", "front.csv"):
        one, two = (pd.read_csv(root / name) for root in (folder, other))
        columns = [column for column in one if column in two and column not in BY_THE_CLOCK]
        found += [] if one[columns].equals(two[columns]) else [name]
    return found


BY_THE_CLOCK = {"seconds", "throughput", "throughput_measured", "latency", "latency_measured", "delta_ms", ROW_SEAL}


def _same_piece(file: Path, other: Path) -> bool:
    one, two = (unpacked(each.read_bytes()) for each in (file, other))
    tensors = (one["attention"], two["attention"])
    same = all(torch.equal(tensor, tensors[1][name]) for name, tensor in tensors[0].items())
    return same and one["errors"] == two["errors"]


def _drive(
    folder: Path, spec: ConversionSpec, moment: Moment | None, environment: Mapping[str, str], seconds: float
) -> None:
    os.environ |= environment
    log, each = _log(folder), Crew.each
    log.write_text("")

    def note(unit: str) -> None:
        with log.open("a") as file:
            file.write(unit + "\n")

    def noted(crew: Crew, what: str, work: Any, tasks: Iterable[Any], done: Any) -> None:
        tasks = list(tasks)
        for task in tasks:
            for unit in _pieces(*task) if work is run_round else [f"score {key_of(assembly)}" for assembly in task[0]]:
                note(unit)
        each(crew, what, work, tasks, done)

    def on_event(event: Event) -> None:
        if event.kind == "started":
            note(f"trial {event.trial}")
        elif event.data.get("text", "").startswith(("timing the parts", "timing the base")):
            note(f"table {table_file(folder, 1).name}")

    if moment is not None:
        moment.arm()
    hasty = partial(timed, seconds=seconds)
    with patch.object(Crew, "each", noted), patch.object(parts, "timed", hasty):
        convert(spec, folder, on_event=on_event)


def _pieces(places: Sequence[Place], contents: Sequence[Content | None]) -> list[str]:
    rounds = [content["rounds"] + 1 if content is not None else 1 for content in contents]
    return [f"piece {'-'.join(place)}, round {done}" for place, done in zip(places, rounds, strict=True)]


def _log(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}.log")
