"""docs/cli.md: its commands run as they are printed, in the order of the page, from an empty folder."""

from __future__ import annotations

import shlex
import shutil
from pathlib import Path

import pytest

from nas.cli import app
from tests.docs.test_commands import commands

ROOT = Path(__file__).parents[2]
COMMANDS = [command.removeprefix("nas ") for command in commands(ROOT / "docs" / "cli.md")]


def test_the_commands_of_the_page_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "140")
    shutil.copytree(ROOT / "tests/fixtures/v0_1/timed", tmp_path / "results/my_run")
    assert len(COMMANDS) == 13
    for command in COMMANDS:
        app(shlex.split(command), standalone_mode=False)
        assert capsys.readouterr().out.count("\n") > 1, command
