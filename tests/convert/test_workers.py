"""Conversions whose workers die, hang and leave."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from benchmarks.convert_kill import differences
from nas.convert.run import ConversionResult, convert
from nas.convert.spec import ConversionSpec
from nas.convert.workers import Crew
from nas.engine import Event, Limits, Pool, limits
from nas.errors import RunError, SpecError
from nas.plugins import load_plugins
from nas.registry import Registry
from tests.convert.small import spec
from tests.engine import works
from tests.engine.test_actors import alive, check_nothing_left
from tests.engine.test_limits import Hanging
from tests.test_plugins import MEAN

RESUMES = "; the same command resumes from what is there"
PLUGIN = MEAN.replace("Mean", "Odd").replace('"mean"', '"odd"')
HEAD = """
import os, sys, time
from pathlib import Path

FOLDER = Path({folder!r})
"""
BEHAVIOUR = """
        if os.getpid() != {driver} and (FOLDER / "leave").exists():
            sys.exit("bye")
        if os.getpid() != {driver} and (FOLDER / "hang").exists():
            (FOLDER / f"hanging-{{os.getpid()}}").write_text(str(os.getpid()))
            time.sleep(600)
"""
FORWARD = "    def forward(self, inputs):\n"


@pytest.mark.slow
def test_a_worker_that_dies_between_two_tasks_changes_nothing(
    whole: ConversionResult, parent: Path, pool: Pool, tmp_path: Path
) -> None:
    said = list[str]()

    def kill(event: Event) -> None:
        said.append(event.data.get("text", ""))
        if said[-1].startswith("comparing 12"):
            (worker,) = alive()
            os.kill(worker["Pid"], signal.SIGKILL)

    run = convert(spec(parent), tmp_path / "run", on_event=kill).directory
    assert not any("died" in text for text in said), "it was idle, and another one was hired"
    assert differences(run, whole.directory) == []


def test_a_worker_that_dies_in_each_attempt_ends_the_conversion_with_one_message(tmp_path: Path, pool: Pool) -> None:
    said, common = list[str](), tmp_path
    with Crew(common, pool, Limits(), said.append) as crew, pytest.raises(RunError) as ended:  # type: ignore[arg-type]
        crew.each("labelling images", works.called, [("die",)], [].append)
    assert said == ["labelling images: the worker process died; it is tried once more"]
    assert str(ended.value) == f"labelling images: the worker process died, in 2 attempts{RESUMES}"
    check_nothing_left()


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """Where the plug-in, which is loaded, looks for what to do in a worker."""
    plugin = tmp_path / "odd.py"
    behaviour = BEHAVIOUR.format(driver=os.getpid())
    plugin.write_text(HEAD.format(folder=str(tmp_path)) + PLUGIN.replace(FORWARD, FORWARD + behaviour))
    load_plugins(plugin)
    yield tmp_path
    Registry.forget(sys.modules.pop("nas_plugin_odd").__name__)


@pytest.mark.slow
def test_a_block_that_hangs_or_leaves_ends_the_conversion_which_goes_on_without_that(
    parent: Path, folder: Path, pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def converted(**keys: Any) -> ConversionResult:
        odd = {"odd": {"core": {"block": "odd"}}}
        small = {"library": {"rounds": 1, "images": 64}, "tried": 1, "points": 1, "compare": [], "candidates": odd}
        return convert(ConversionSpec.parse(spec(parent).model_dump() | small | keys), folder / "run")

    (folder / "hang").touch()
    with monkeypatch.context() as patch:
        patch.setattr(limits, "monotonic", Hanging(folder, 12))
        with pytest.raises(RunError) as ended:
            converted(limits={"stalled_seconds": 10})
    stalled = "stalled: no progress for 10 s, in 2 attempts"
    assert str(ended.value) == f"training pieces of the library: {stalled}{RESUMES}"

    (folder / "hang").rename(folder / "leave")
    with pytest.raises(SpecError) as left:
        converted()
    said = str(left.value)
    assert said.startswith(f"{folder / 'odd.py'}: the core block 'odd': line ")
    assert said.endswith(", in Odd.forward: SystemExit: bye")

    (folder / "leave").unlink()
    assert set(converted().trials["state"]) == {"complete"}
