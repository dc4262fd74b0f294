"""A session in a process of its own: what it leaves of the user's environment, hooks, loggers and signals."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
import logging, os, signal, sys
import nas, optuna, ray  # whose import sets what is read below, once
from nas.engine import Job, Ledger, Outcome, Signal, Workers, run
from nas.engine.pool import session
from pathlib import Path

os.environ["TUNE_WARN_THRESHOLD_S"] = "7"
heard = []
for number in (signal.SIGTERM, signal.SIGUSR1):
    signal.signal(number, lambda number, frame: heard.append(number))

class Nothing:
    def unfinished(self):
        return []
    def next(self):
        return Signal.DONE
    def tell(self, job, outcome):
        pass

def state():
    loggers = {name: logging.getLogger(name).level for name in ("ray.tune", "optuna", "")}
    return dict(os.environ), sys.excepthook, loggers, os.getcwd(), sys.breakpointhook

before = state()
ledger = Ledger(Path(sys.argv[1]))
with ledger.locked(), session(Workers(gpu=0)) as pool:
    run(Nothing(), ledger, work=print, pool=pool)
for now, then in zip(state(), before):
    assert now == then, (now, then)
for number in (signal.SIGTERM, signal.SIGUSR1):  # ended, if the handler in the kernel is not Python's
    os.kill(os.getpid(), number)
assert heard == [signal.SIGTERM, signal.SIGUSR1], heard
print("as before")
"""


@pytest.mark.slow
@pytest.mark.usefixtures("signals_heeded")
def test_a_session_leaves_all_as_it_was(tmp_path: Path) -> None:
    command = [sys.executable, "-c", PROGRAM, str(tmp_path / "run")]
    found = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert (found.returncode, found.stdout) == (0, "as before\n"), found.stderr
