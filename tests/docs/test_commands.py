"""Every command on a page is run by a test or stands in docs/commands.md with what was run where.

A command is a line of a fenced block that begins with a program's name. Those in RUN are run here, as they are printed,
from a folder with what their pages speak of; those of docs/cli.md are run by test_cli.py.
"""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nas.cli import app
from nas.engine import Pool
from nas.plain_yaml import read_yaml

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
PROGRAM = re.compile(r"(\$ )?([A-Z_0-9]+=\S+ )*(nas|make|ray|sbatch|srun|python3?|pip|\.ci/run)\b.*")
SHELL = re.compile(r"(export|chmod|\.) .*")  # settings that prepare a command
TABLE = (ROOT / "docs" / "commands.md").read_text()
LISTED = set(re.findall(r"^\| `(.+?)` \|", TABLE, re.MULTILINE))

RUN = [
    'make search SPACE=lavit_split TRIALS=2 RUN=first SET="training.epochs=1"',
    "nas report first",
    "nas pick first",
    "nas pick my_run macs=900_000",
    "nas show results/my_run/winners/w1-0000.yaml",
    "nas data imagefolder:pets",
    "nas data imagefolder:pets --sheet sheet.png",
]
HERE = {"ray get-auth-token --generate", "make docs"}  # run by tests below and in test_site.py


def commands(page: Path) -> Iterator[str]:
    """Of the fenced blocks that are no script of their own, without comments, one line each."""
    for language, block in re.findall(r"^```(\w*)\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL):
        if language not in ("", "sh", "bash", "console") or block.startswith("#!"):
            continue
        for line in block.replace("\\\n", " ").splitlines():
            text = " ".join(re.sub(r"(^|\s)#\s.*", "", line).split())
            if PROGRAM.fullmatch(text):
                yield text.removeprefix("$ ")
            else:
                assert language != "sh" or not text or SHELL.fullmatch(text), f"{page.name}: no command: {text}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_is_run_by_a_test_or_was_run_somewhere(page: Path) -> None:
    known = {*RUN, *HERE, *LISTED}
    if page.name != "cli.md":
        assert [command for command in commands(page) if command not in known] == []


def test_what_is_listed_is_on_a_page() -> None:
    printed = {command for page in PAGES for command in commands(page)}
    assert {*RUN, *HERE, *LISTED} - printed == set()


def test_what_a_command_left_is_there_and_of_that_day() -> None:
    rows = re.findall(r"^\| `.+?` \| (\S+) \| .+? \| (\S+) \| `(\S+)` \|$", TABLE, re.MULTILINE)
    assert len(rows) >= 19
    for date, commit, left in rows:
        assert (ROOT / left).exists(), left
        record = ROOT / left / "run.yaml"
        if record.exists():
            found = read_yaml(record)
            assert (str(found["created"])[:10], str(found["commit"])) == (date, commit), left
    for left in re.findall(r"^\| `[^`]+` \| `(\S+)` \|$", TABLE, re.MULTILINE):
        assert (ROOT / left).exists(), left


def as_nas(command: str) -> list[str]:
    """The arguments of nas for a command; tests/cli/test_makefile.py holds make to them."""
    program, *rest = shlex.split(command)
    if program == "nas":
        return rest
    verb, *knobs = rest
    given = dict(knob.split("=", 1) for knob in knobs)
    return [verb, given.pop("SPACE"), *(word for name, value in given.items() for word in (f"--{name.lower()}", value))]


def test_the_commands_run(
    tmp_path: Path, pool: Pool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "140")
    shutil.copytree(ROOT / "tests/fixtures/v0_1/timed", tmp_path / "results/my_run")
    rng = np.random.default_rng(0)
    for kind in ("cat", "dog"):
        for number in range(12):
            file = tmp_path / "pets" / kind / f"{number}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(rng.integers(0, 256, (12, 12, 3), dtype=np.uint8)).save(file)
    for command in RUN:
        app(as_nas(command), standalone_mode=False)
        assert capsys.readouterr().out.count("\n") >= 1, command
    assert (tmp_path / "results/first/report.html").exists() and (tmp_path / "sheet.png").exists()


def test_ray_makes_a_token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    command = [sys.executable, "-m", "ray.scripts.scripts", "get-auth-token", "--generate"]
    subprocess.run(command, check=True, capture_output=True)
    assert len((tmp_path / ".ray" / "auth_token").read_text()) >= 32
