"""Temporary folders of processes that were killed are removed; those of others are not."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from nas.scratch import ALIVE, MINUTE, scratch

HOLD = """
import sys
from pathlib import Path
from nas.scratch import scratch
with scratch("nas-", Path(sys.argv[1])) as folder:
    print(folder, flush=True)
    sys.stdin.read()
"""


def hold(place: Path) -> tuple[subprocess.Popen[str], Path]:
    """A process that has a folder, and the folder."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(place)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    return process, Path(process.stdout.readline().strip())


def age(folder: Path) -> None:
    past = (folder / ALIVE).stat().st_mtime - 2 * MINUTE
    os.utime(folder / ALIVE, (past, past))


def test_what_a_killed_process_left_is_removed_by_the_next(tmp_path: Path) -> None:
    (tmp_path / "nas-of-the-user").mkdir()
    living, kept = hold(tmp_path)
    dead, left = hold(tmp_path)
    dead.kill()
    dead.wait()
    (left / "checkpoint.pt").touch()
    with scratch("nas-", tmp_path):
        assert left.exists(), "it is new: its process may not have locked it yet"
    age(left)
    age(kept)
    with scratch("nas-", tmp_path) as own:
        assert {path.name for path in tmp_path.iterdir()} == {"nas-of-the-user", kept.name, own.name}
    assert not own.exists()
    living.communicate("")
    assert not kept.exists()


def test_a_place_without_locks_will_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError("no locks available")

    monkeypatch.setattr("fcntl.flock", refuse)
    for _ in range(2):
        with scratch("nas-", tmp_path) as folder:
            age(folder)
            with scratch("nas-", tmp_path):
                assert folder.exists()
    assert not list(tmp_path.iterdir())


def test_a_copy_of_a_folder_is_the_users(tmp_path: Path) -> None:
    dead, left = hold(tmp_path)
    dead.kill()
    dead.wait()
    shutil.copytree(left, tmp_path / "nas-rescued")
    (tmp_path / "nas-mine").mkdir()
    (tmp_path / "nas-mine" / ALIVE).touch()
    os.mkfifo(tmp_path / "nas-mine" / "pipe")
    for folder in tmp_path.iterdir():
        age(folder)
    with scratch("nas-", tmp_path):
        assert not left.exists()
        assert (tmp_path / "nas-rescued").exists() and (tmp_path / "nas-mine").exists()
