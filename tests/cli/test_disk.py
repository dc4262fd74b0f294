"""A disk that is full, a folder that cannot be written: one message that says so, and nothing half written."""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from safetensors.torch import save_file

from nas.files import write_atomically, write_text
from nas.genome import load_genome
from nas.model import build
from tests.report.synthetic import write_run

QUICK = "training.epochs=1 training.limit=200"


@pytest.fixture
def small_disk() -> Iterator[Path]:
    """A file system of half a megabyte."""
    place = Path(tempfile.mkdtemp(prefix="d-", dir="/tmp"))
    command = ["mount", "-t", "tmpfs", "-o", "size=512k", "tmpfs", place]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        place.rmdir()
        pytest.skip("no file system can be mounted here")
    yield place
    subprocess.run(["umount", "--lazy", place], check=True)
    place.rmdir()


def fill(disk: Path) -> None:
    with pytest.raises(OSError, match="No space"):
        (disk / "full").write_bytes(bytes(2**20))


def full(answer, disk: Path) -> None:
    assert answer.code == 2, answer
    assert answer.err.startswith(f"nas: {disk}") and "the disk is full: the file was" in answer.err
    assert answer.err.count("\n") == 1
    assert not list(disk.rglob("*.tmp"))


def test_training(nas, small_disk: Path) -> None:
    full(nas("train", "lavit_digits", "--out", small_disk / "t", "--device", "cpu", "--set", QUICK), small_disk)


def test_a_file_that_is_there_stays(small_disk: Path) -> None:
    write_text(small_disk / "f", "old")
    with pytest.raises(
        OSError, match=r"the disk is full: the file was 0\.5 MB so far, before it had 0\.0 MB; 0\.0 MB are"
    ):
        write_text(small_disk / "f", "new" * 2**20)
    assert (small_disk / "f").read_text() == "old"


def test_files_that_may_not_grow(nas, tmp_path: Path) -> None:
    """`ulimit -f 2`: torch and safetensors say it in their own words, or not at all."""
    with (tmp_path / "g.yaml").open("w") as file:
        file.write(load_genome("lavit_digits").to_yaml() + "preprocess: {mean: [0.3], std: [0.3]}\n")
    save_file(build(tmp_path / "g.yaml").state_dict(), tmp_path / "g.safetensors")
    for out in ("g.pt2", "g.onnx", "folder/"):
        command = f"ulimit -f 2; exec {sys.executable} -m nas export g.yaml --to {out}"
        answer = subprocess.run(["bash", "-c", command], cwd=tmp_path, capture_output=True, text=True)
        assert answer.returncode == 2
        assert answer.stderr.startswith(f"nas: {out.strip('/')}: File too large"), answer.stderr
        assert "ulimit -f" in answer.stderr and answer.stderr.count("\n") == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["g.safetensors", "g.yaml"]


def test_an_error_of_another_kind_is_not_the_disks(tmp_path: Path) -> None:
    def write(path: Path) -> None:
        raise ValueError("no number")

    with pytest.raises(ValueError, match="no number"):
        write_atomically(tmp_path / "f", write)


def test_a_report(nas, small_disk: Path) -> None:
    write_run(small_disk / "r", trials=8)
    fill(small_disk)
    full(nas("report", small_disk / "r"), small_disk)


def test_an_export(nas, tmp_path: Path, small_disk: Path) -> None:
    write_text(tmp_path / "g.yaml", load_genome("lavit_digits").to_yaml())
    save_file(build("lavit_digits").state_dict(), tmp_path / "g.safetensors")
    full(nas("export", "g.yaml", "--to", small_disk / "m.pt2"), small_disk)


def test_a_folder_that_cannot_be_written(nas, small_disk: Path) -> None:
    write_run(small_disk / "r", trials=8)
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    for arguments in (
        ["report", small_disk / "r"],
        ["train", "lavit_digits", "--out", small_disk / "t", "--set", QUICK],
    ):
        answer = nas(*arguments)
        assert answer.code == 2
        assert answer.err.startswith(f"nas: {small_disk}") and "Read-only file system" in answer.err
        assert answer.err.count("\n") == 1


def test_ray_without_room_for_its_files(small_disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(small_disk)
    monkeypatch.setenv("RAY_TMPDIR", str(small_disk))
    code = "from nas.engine import Workers, session\nwith session(Workers()): pass"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    (message,) = re.findall(r"RunError: (.*)", ended.stderr)  # what Ray gives as its reason depends on who is first
    assert message.startswith(f"{small_disk}: Ray cannot be started here (")
    assert message.endswith("); 0.0 MB are free; TMPDIR names another folder")
    assert [path.name for path in small_disk.iterdir()] == ["full"]
