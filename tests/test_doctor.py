"""`nas doctor` on this machine, and on machines that lack something."""

from __future__ import annotations

import json
import shutil
import socket
from collections import namedtuple
from pathlib import Path

import pytest
import torchvision

from nas import doctor
from nas.cli import main
from nas.doctor import Finding, examine

Usage = namedtuple("Usage", ["total", "used", "free"])


def named(what: str) -> Finding:
    (found,) = [finding for finding in examine() if finding.what == what]
    return found


def test_where_the_tests_run_a_run_can_begin(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.argv", ["nas", "doctor", "--json"])
    with pytest.raises(SystemExit) as left:
        main()
    findings = {found["what"]: found for found in json.loads(capsys.readouterr().out)}
    assert not left.value.code and not any(found["stops"] for found in findings.values())
    assert {"python", "torch", "ray", "extra onnx", "threads", "workers", "memory", "cache", "cluster"} <= set(findings)


def test_a_package_that_is_old_or_missing_stops_a_run(monkeypatch: pytest.MonkeyPatch) -> None:
    versions = {"ray": "2.9.0", "timm": None}
    known = doctor._version
    monkeypatch.setattr(doctor, "_version", lambda name: versions[name] if name in versions else known(name))
    assert named("ray") == Finding("ray", "2.9.0; >=2.52 is needed", "pip install 'ray>=2.52'", stops=True)
    assert named("timm") == Finding("timm", "not installed", "pip install 'timm>=1.0.20'", stops=True)


def test_torchvision_of_another_build(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(*_: object) -> None:
        raise RuntimeError("operator torchvision::nms does not exist")

    monkeypatch.setattr(torchvision.ops, "nms", absent)
    found = named("torch and torchvision")
    assert found.stops and found.found == "operator torchvision::nms does not exist"
    assert found.remedy == "pip install --force-reinstall torch torchvision"


def test_little_shared_memory_and_a_full_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(64e6, 1e6, 63e6))
    assert named("/dev/shm").remedy == "for a container: --shm-size=512m; else images are decoded in one process"
    found = named("this folder")
    assert "0.1 GB free" in found.found and found.remedy is not None and not found.stops


def test_folders_that_cannot_be_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file" / "cache"))
    monkeypatch.setenv("TMPDIR", str(tmp_path / "nowhere"))
    monkeypatch.delenv("RAY_TMPDIR", raising=False)
    assert named("cache").remedy is not None and not named("cache").stops
    assert named("temporary folder").stops == (len(str(tmp_path)) < 20)  # Ray's sockets go to /tmp if it is long


def test_a_cluster_that_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        monkeypatch.setenv("RAY_ADDRESS", f"127.0.0.1:{taken.getsockname()[1]}")
        found = named("cluster")
    assert found.stops and found.remedy is not None and "ray start --head" in found.remedy
    monkeypatch.setenv("RAY_ADDRESS", "no address")
    assert named("cluster").stops
