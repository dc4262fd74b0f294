"""One check in a process of its own: whatever becomes of that process, there is an answer.

    passed     it found nothing wrong
    failed     it found something wrong, raised, crashed, or was still running at its time limit
    skipped    it cannot be made on this machine

The process writes found.json into its folder, and everything that it prints goes to output.txt there. Its cache is in
that folder too, so that no timings of other conditions are read or left; it has no Ray cluster and, unless the check
wants all GPUs, sees the first one alone.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import traceback
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.gpu.check import Check, Place, Skipped
from nas.files import write_json

ROOT = Path(__file__).parents[2]
PROGRAM = (sys.executable, "-m", "benchmarks.gpu")
GRACE = 20.0  # seconds in which a process that is told to end may end Ray
LINES = 40  # of the output of a check that failed


@dataclass(frozen=True)
class Answer:
    """What is kept of a check. output: the end of what it printed, if it failed."""

    name: str
    state: str
    seconds: float
    found: str
    figures: dict[str, Any] = field(default_factory=dict)
    remedy: str | None = None
    output: list[str] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def answer_of(check: Check, place: Place) -> Answer:
    """Run the check in a process of its own, and wait for it.

    >>> answer_of(CHECKS[0], Place(Path("/tmp/check"), rehearsal=True)).state
    'passed'
    """
    place.folder.mkdir(parents=True, exist_ok=True)
    file = place.folder / "output.txt"
    command = [*PROGRAM, "--one", check.name, "--folder", str(place.folder)]
    command += ["--rehearse"] if place.rehearsal else []
    begin = time.monotonic()
    with file.open("wb") as output:
        process = subprocess.Popen(
            command, stdout=output, stderr=output, cwd=ROOT, env=_environment(check, place), start_new_session=True
        )
        try:
            process.wait(timeout=check.limit)
        except subprocess.TimeoutExpired:
            reason = f"was ended after {check.limit:.0f} s, its time limit"
        else:
            reason = _end(process.returncode)
        finally:
            _stop(process)
    seconds = time.monotonic() - begin
    written = place.folder / "found.json"
    found = json.loads(written.read_text()) if written.exists() else {"state": "failed", "found": reason}
    if found["state"] == "failed":
        lines = file.read_text(errors="replace").splitlines()
        found |= {"remedy": check.remedy, "output": [line.rstrip() for line in lines if line.strip()][-LINES:]}
    return Answer(check.name, seconds=seconds, **found)


def run_here(check: Check, place: Place) -> None:
    """The part of the check's own process: run it, and write found.json."""
    try:
        found = check.run(place)
        text = "; ".join(found.wrong) or found.text
        content = {"state": "failed" if found.wrong else "passed", "found": text, "figures": found.figures}
    except Skipped as reason:
        content = {"state": "skipped", "found": str(reason)}
    except Exception as error:
        traceback.print_exc()
        first = (str(error).strip().splitlines() or ["no message"])[0]
        content = {"state": "failed", "found": f"{type(error).__name__}: {first[:300]}"}
    write_json(place.folder / "found.json", content)


def _environment(check: Check, place: Place) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "TUNE_"))}
    path = os.pathsep.join(filter(None, [str(ROOT), kept.get("PYTHONPATH")]))
    kept |= {"PYTHONPATH": path, "PYTHONUNBUFFERED": "1", "XDG_CACHE_HOME": str(place.folder / "cache")}
    if not check.all_gpus:
        kept["CUDA_VISIBLE_DEVICES"] = kept.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0]
    return kept


def _end(code: int) -> str:
    how = f"by signal {-code}" if code < 0 else f"with status {code}"
    return f"its process ended {how}, without an answer"


def _stop(process: subprocess.Popen[bytes]) -> None:
    """End the process and all that it started in its session. SIGTERM comes as Ctrl-C there, and Ray is shut down."""
    if process.poll() is None:
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(timeout=GRACE)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
