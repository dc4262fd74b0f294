from __future__ import annotations

import sys
from collections.abc import Callable
from typing import NamedTuple

import pytest

from nas import cli


class Answer(NamedTuple):
    code: int
    out: str
    err: str


@pytest.fixture
def nas(monkeypatch, capsys, tmp_path) -> Callable[..., Answer]:
    """Run `nas` with arguments in an empty directory."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments: object) -> Answer:
        monkeypatch.setattr(sys, "argv", ["nas", *map(str, arguments)])
        with pytest.raises(SystemExit) as left:
            cli.main()
        captured = capsys.readouterr()
        return Answer(left.value.code or 0, captured.out, captured.err)

    return call
