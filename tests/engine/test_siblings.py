"""`nas train --processes 2`, in processes of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest

from nas.engine.single import train_genome
from nas.errors import SpecError

COMMAND = [sys.executable, "-m", "nas", "train", "lavit_digits"]


def begin(out: Path) -> subprocess.Popen[str]:
    arguments = [
        "--processes",
        "2",
        "--device",
        "cpu",
        "--out",
        str(out),
        "--set",
        "training.epochs=60 training.limit=200",
    ]
    environment = os.environ | {"OMP_NUM_THREADS": "2"}
    return subprocess.Popen([*COMMAND, *arguments], stderr=subprocess.PIPE, text=True, env=environment)


def sibling_of(training: subprocess.Popen[str], metrics: Path, epochs: int) -> int:
    """The other process, once there are more epochs."""
    while not metrics.exists() or len(pd.read_csv(metrics)) <= epochs:
        assert training.poll() is None
        time.sleep(0.02)
    children = map(int, Path(f"/proc/{training.pid}/task/{training.pid}/children").read_text().split())
    (found,) = (child for child in children if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes())
    return found


def test_either_process_is_killed_and_the_same_command_goes_on(tmp_path: Path) -> None:
    metrics = tmp_path / "metrics.csv"
    training = begin(tmp_path)
    os.kill(sibling_of(training, metrics, 0), signal.SIGKILL)
    _, said = training.communicate()
    assert training.returncode == 2
    assert said == "nas: rank 1 ended by signal 9; the same command goes on from the last checkpoint\n"

    training = begin(tmp_path)
    sibling = sibling_of(training, metrics, len(pd.read_csv(metrics)))
    training.kill()
    training.wait()
    while Path(f"/proc/{sibling}").exists():  # the test's own limit ends it where the process stays
        time.sleep(0.05)


def test_a_batch_that_cannot_be_shared_is_refused(tmp_path: Path) -> None:
    expected = "64 images a batch cannot be shared equally between 3 processes; expected a multiple"
    with pytest.raises(SpecError, match=f"^training.batch_size: {expected}$"):
        train_genome("lavit_digits", out=tmp_path / "out", processes=3, device="cpu", progress=False)
    assert not (tmp_path / "out").exists()
