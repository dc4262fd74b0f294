"""`make gpu-check`: run all checks, print what they found, and keep it as JSON.

    benchmarks/results/gpu-check-<device>.json    machine, checks

With `--only` a single check is run, and nothing is kept. `--rehearse` puts the CPU in the GPU's place.
Exit codes: 0 none failed, 1 a check failed, 2 no GPU, a package is missing, or --out cannot be written.
"""

from __future__ import annotations

import argparse
import re
import sys
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from benchmarks.gpu.alone import Answer

RESULTS = Path(__file__).parents[1] / "results"
COLOURS = {"passed": "green", "failed": "bold red", "skipped": "yellow"}
SHOWN = 15  # lines of the output of a check that failed


def main(arguments: Sequence[str] | None = None) -> int:
    given = _parser().parse_args(arguments)
    if (problem := lacking(given.rehearse)) is not None:
        print(f"gpu-check: {problem}", file=sys.stderr)
        return 2
    from benchmarks.gpu.alone import answer_of, run_here
    from benchmarks.gpu.check import Place
    from benchmarks.gpu.listed import CHECKS
    from nas.environment import command_line
    from nas.errors import SpecError
    from nas.files import check_target, write_json
    from nas.signals import interruptible

    command_line()
    checks = {check.name: check for check in CHECKS}
    name = given.one or given.only
    if name and name not in checks:
        print(f"gpu-check: no check {name!r}; there are {', '.join(checks)}", file=sys.stderr)
        return 2
    if given.one:
        with interruptible():
            run_here(checks[given.one], Place(given.folder, given.rehearse))
        return 0
    if not name:
        try:
            check_target(given.out / "gpu-check.json", "--out")
        except SpecError as error:
            print(f"gpu-check: {error}", file=sys.stderr)
            return 2
    answers = []
    with interruptible() as interruption, tempfile.TemporaryDirectory(prefix="nas-gpu-") as folder:
        try:
            for number, check in enumerate([checks[name]] if name else CHECKS):
                print(f"{check.name:<18}", end="", flush=True)
                answers.append(answer_of(check, Place(Path(folder) / f"{number:02}", given.rehearse)))
                print(f"{answers[-1].state:<8} {answers[-1].seconds:6.1f} s", flush=True)
        except KeyboardInterrupt:
            print("interrupted")
    file = given.out / f"gpu-check-{slug(answers, given.rehearse)}.json"
    if not name and answers:
        write_json(file, report(answers, given.rehearse))
    show(answers)
    if not name and answers:
        print(f"written: {file}")
    if interruption.signal:
        return interruption.code
    return int(any(answer.state == "failed" for answer in answers))


def lacking(rehearse: bool) -> str | None:
    """What is missing here before any check can be made, as one sentence; None if nothing is."""
    try:
        from nas.doctor import examine

        stops = [finding for finding in examine() if finding.stops]
    except ModuleNotFoundError as error:
        return f"the package {error.name} is not installed; `make install` installs all that is needed"
    if stops:
        return "; ".join(f"{finding.what}: {finding.found}, which needs {finding.remedy}" for finding in stops)
    import torch

    if rehearse or torch.cuda.is_available():
        return None
    build = f"for CUDA {torch.version.cuda}" if torch.version.cuda else "for the CPU alone"
    return (
        f"there is no NVIDIA GPU that torch can use here (torch {torch.__version__} is built {build}; `nvidia-smi` and "
        "`nas doctor` say more); --rehearse runs the checks on the CPU, which says nothing about a GPU"
    )


def slug(answers: list[Answer], rehearsal: bool) -> str:
    """The device's name as part of a file name.

    >>> slug([Answer("device", "passed", 1.0, "", figures={"gpu": "NVIDIA H100 80GB HBM3"})], False)
    'nvidia-h100-80gb-hbm3'
    """
    if rehearsal:
        return "rehearsal"
    name = next((answer.figures["gpu"] for answer in answers if "gpu" in answer.figures), None) or "unknown"
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


def report(answers: list[Answer], rehearsal: bool) -> dict[str, object]:
    """The content of the JSON file; the machine is what the check of the device found."""
    machine = next((answer.figures for answer in answers if answer.name == "device"), {})
    checks = [answer.as_dict() for answer in answers]
    date = datetime.now(UTC).isoformat(timespec="seconds")
    return {"kind": "gpu-check", "rehearsal": rehearsal, "date": date, "machine": machine, "checks": checks}


def show(answers: list[Answer]) -> None:
    """The table, and below it what to do about each check that failed, with the end of its output."""
    from rich.console import Console
    from rich.table import Column, Table
    from rich.text import Text

    console = Console(highlight=False)
    table = Table("check", "state", Column("s", justify="right"), "found", box=None, padding=(0, 2, 0, 0))
    for answer in answers:
        state = Text(answer.state, style=COLOURS[answer.state])
        table.add_row(answer.name, state, f"{answer.seconds:.1f}", Text(answer.found))
    console.print(table)
    for answer in answers:
        if answer.remedy is not None:
            console.print(Text.assemble(("\n" + answer.name, "bold"), f"  to do: {answer.remedy}"))
            for line in answer.output[-SHOWN:]:
                console.print(Text(f"  {line}"))
    counts = {state: sum(answer.state == state for answer in answers) for state in COLOURS}
    console.print("\n" + ", ".join(f"{count} {state}" for state, count in counts.items()))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", metavar="CHECK", help="one check by its name; nothing is kept")
    parser.add_argument("--rehearse", action="store_true", help="on the CPU, with less of everything")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the JSON file")
    parser.add_argument("--one", help=argparse.SUPPRESS)  # a check in its own process
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    return parser


if __name__ == "__main__":
    sys.exit(main())
