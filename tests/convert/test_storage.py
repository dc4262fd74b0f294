"""The machine of a conversion is lost, and with it the run directory: pieces and scores are in the storage."""

from __future__ import annotations

import shutil
from pathlib import Path

import pandas as pd
import pytest

from nas.convert.run import ConversionResult, convert
from nas.engine import Pool
from nas.engine.events import Event
from tests.convert.small import spec


def test_a_conversion_goes_on_from_its_storage_and_makes_nothing_again(
    whole: ConversionResult, parent: Path, pool: Pool, tmp_path: Path
) -> None:
    storage, lost, said = tmp_path / "storage", tmp_path / "lost", list[str]()

    def lose(event: Event) -> None:
        if event.data.get("text", "").startswith("repairing"):
            shutil.copytree(storage, lost)  # before the driver, in its end, can save anything
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        convert(spec(parent, storage=str(storage)), tmp_path / "here" / "run", on_event=lose)
    pieces = {path.name: path.read_bytes() for path in (lost / "run" / "library").iterdir()}
    assert pieces == {path.name: path.read_bytes() for path in (whole.directory / "library").iterdir()}

    there = tmp_path / "there" / "run"

    def listen(event: Event) -> None:
        said.append(event.data.get("text", ""))
        if said[-1].startswith("repairing"):
            (there / "start.yaml").unlink()  # workers of other machines cannot see it

    again = convert(spec(parent, storage=str(lost)), there, on_event=listen)
    assert not [text for text in said if text.startswith(("library", "comparing"))]
    assert {path.name: path.read_bytes() for path in (there / "library").iterdir()} == pieces
    timed = ["delta_ms"]  # each run has its own timings
    pd.testing.assert_frame_equal(again.sensitivity.drop(columns=timed), whole.sensitivity.drop(columns=timed))
    columns = ["trial", "hash", "accuracy", "seed"]
    pd.testing.assert_frame_equal(again.trials[columns], whole.trials[columns])
