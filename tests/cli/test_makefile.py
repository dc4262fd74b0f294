"""The Makefile's own decisions, with stand-ins for Python and nas: nothing is installed."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def make(tmp_path):
    """A fresh clone's Makefile with a venv whose programs print what they are called with."""
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, tmp_path)
    program(tmp_path / ".venv/bin/python", 'echo "python $*"')
    program(tmp_path / ".venv/bin/nas", 'printf "<%s>" "$@"; echo " ray=${RAY_ADDRESS-unset}"')

    def call(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(["make", *arguments], cwd=tmp_path, capture_output=True, text=True, check=False)

    return call


def program(path: Path, body: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/bash\n{body}\n")
    path.chmod(0o755)


def test_knobs_reach_the_command_untouched(make):
    knobs = ["SPACE=mixed", "DATA=parquet:../a b", "TRIALS=4", "RUN=r", "SET=a=[1, 2] b=\"'", "RAY_ADDRESS=h:1"]
    wanted = "<search><mixed><--data><parquet:../a b><--trials><4><--run><r><--set><a=[1, 2] b=\"'> ray=h:1\n"
    assert make("search", *knobs).stdout.endswith(wanted)


@pytest.mark.parametrize("place", ["argument", "environment"])
@pytest.mark.parametrize(
    "text", ["$(shell touch made)", "$(touch made)", "`touch made`", "a.$x=1", "$$", "${SPACE}#\\"]
)
def test_knobs_are_text_and_nothing_else(make, tmp_path, monkeypatch, text, place):
    knobs = dict.fromkeys(("SPACE", "DATA", "TRIALS", "RUN", "SET", "RAY_ADDRESS"), text)
    if place == "environment":
        for name, value in knobs.items():
            monkeypatch.setenv(name, value)
        knobs = {}
    called = make("search", *(f"{name}={value}" for name, value in knobs.items())).stdout.splitlines()[-1]
    options = "".join(f"<--{name}><{text}>" for name in ("data", "trials", "run", "set"))
    assert called == f"<search><{text}>{options} ray={text}"
    monkeypatch.setenv("RUN", text)
    assert make("report").stdout.splitlines()[-1] == f"<report><{text}> ray={os.environ.get('RAY_ADDRESS', 'unset')}"
    assert not (tmp_path / "made").exists()


def test_each_word_of_plugin_is_a_file_as_it_is_written(make):
    called = make("search", "SPACE=*", "PLUGIN=* my_?etric.py $(x)").stdout.splitlines()[-1]
    assert called == "<search><*><--plugin><*><--plugin><my_?etric.py><--plugin><$(x)> ray=unset"


def test_defaults(make):
    assert make("search").stdout.endswith("<search><lavit_split> ray=unset\n")
    assert make("search", "RAY_ADDRESS=").stdout.endswith("<search><lavit_split> ray=unset\n")


def test_the_second_call_installs_nothing(make, tmp_path):
    assert "pip install" in make("search").stdout
    assert "pip install" not in make("search").stdout
    pyproject = tmp_path / "pyproject.toml"
    pyproject.touch()
    assert "pip install" in make("search").stdout


def test_a_failing_verb_shows_its_code(make, tmp_path):
    program(tmp_path / ".venv/bin/nas", "exit 130")
    made = make("search")
    assert made.returncode == 2
    assert "Error 130" in made.stderr


def test_an_old_python_is_refused_before_anything_is_made(make, tmp_path):
    shutil.rmtree(tmp_path / ".venv")
    program(tmp_path / "old", 'exec python3 -c "$(echo "$2" | sed "s/sys.version_info/(3, 9, 2)/")"')
    made = make("search", f"PYTHON={tmp_path}/old")
    assert made.returncode == 2
    assert "Python 3.11 or newer is needed" in made.stderr
    assert "3.9" in made.stderr
    assert not (tmp_path / ".venv").exists()


def test_no_python_at_all(make, tmp_path):
    shutil.rmtree(tmp_path / ".venv")
    made = make("search", "PYTHON=")
    assert made.returncode == 2
    assert "none was found on PATH" in made.stderr


def test_missing_knob(make):
    made = make("report")
    assert made.returncode == 2
    assert "RUN= is missing" in made.stderr


def test_help_lists_every_target(make):
    text = make().stdout
    for target in ("search", "ablate", "retrain", "report", "docs", "test", "fuzz", "lint"):
        assert f"make {target}" in text
