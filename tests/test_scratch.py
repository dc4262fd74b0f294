from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from nas.scratch import QUIET, scratch

HOLD = """
import sys, time
from nas.scratch import scratch
with scratch("nas-kind-", sys.argv[1]) as folder:
    (folder / "checkpoint.pt").write_text("weights")
    print(folder, flush=True)
    time.sleep(600)
"""


def held(place: Path) -> tuple[subprocess.Popen[str], Path]:
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(place)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    return process, Path(process.stdout.readline().strip())


def age(folder: Path) -> None:
    then = folder.stat().st_mtime - QUIET - 1
    os.utime(folder, (then, then))


def test_what_a_kill_left_goes_with_the_next_one(tmp_path: Path) -> None:
    processes, folders = zip(*(held(tmp_path) for _ in range(3)), strict=True)
    killed, young, living = folders
    for process in processes[:2]:
        process.send_signal(signal.SIGKILL)
        process.wait()
    other = tmp_path / "nas-other-12345678"
    other.mkdir()
    for folder in (killed, living, other):
        age(folder)
    with scratch("nas-kind-", str(tmp_path)) as mine:
        assert {*tmp_path.iterdir()} == {mine, young, living, other}
        assert (living / "checkpoint.pt").exists()
    assert {*tmp_path.iterdir()} == {young, living, other}
    processes[2].kill()
    processes[2].wait()


def test_links_are_not_followed(tmp_path: Path) -> None:
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "file").touch()
    age(tmp_path / "precious")
    (tmp_path / "nas-kind-12345678").symlink_to(tmp_path / "precious")
    with scratch("nas-kind-", str(tmp_path)):
        pass
    assert (tmp_path / "precious" / "file").exists()


def test_an_error_within_removes_it_too(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="mine"), scratch("nas-kind-", str(tmp_path)):
        raise ValueError("mine")
    assert list(tmp_path.iterdir()) == []
