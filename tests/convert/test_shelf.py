from __future__ import annotations

import math
import os
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
import torch

from nas.convert.candidates import Place, key_of
from nas.convert.score import Score
from nas.convert.shelf import Shelf, packed
from nas.convert.workers import Content
from nas.engine.storage import Storage
from nas.errors import RunError

PLACE = ("stages.0.layers.1", "linear")
CONTENT = {"rounds": 2, "attention": {"weight": torch.ones(3)}}


def fits(content: Content, place: Place) -> None:
    """Every form will do. tests/convert/test_pieces.py has pieces of layers."""


def test_a_piece_of_another_model_is_trained_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    Shelf(tmp_path, "this").keep_piece(PLACE, CONTENT)
    found = Shelf(tmp_path, "this").piece(PLACE, fits)
    assert found is not None and found["rounds"] == 2 and found.keys() == CONTENT.keys()
    assert Shelf(tmp_path, "other").piece(PLACE, fits) is None
    assert "stages.0.layers.1-linear.pt belongs to another model" in caplog.text
    library = tmp_path / "library"
    (library / "stages.0.layers.1-linear.pt").rename(library / "stages.0.layers.2-linear.pt")
    assert Shelf(tmp_path, "this").piece(("stages.0.layers.2", "linear"), fits) is None, "of another layer"


def test_a_piece_of_before_that_does_not_say_is_taken(tmp_path: Path) -> None:
    (tmp_path / "library").mkdir()
    (tmp_path / "library" / "stages.0.layers.1-linear.pt").write_bytes(packed(CONTENT))
    assert Shelf(tmp_path, "this").piece(PLACE, fits) is not None


def test_a_storage_that_comes_later_gets_what_there_is(tmp_path: Path) -> None:
    storage = str(tmp_path / "storage")
    Shelf(tmp_path / "run", "this").keep_piece(PLACE, CONTENT)
    Shelf(tmp_path / "run", "this", Storage(storage, "run"))
    found = Shelf(tmp_path / "elsewhere", "this", Storage(storage, "run")).piece(PLACE, fits)
    assert found is not None and found["rounds"] == 2


def test_a_piece_with_a_flipped_bit_is_trained_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    Shelf(tmp_path, "this").keep_piece(PLACE, CONTENT)
    (file,) = tmp_path.rglob("*.pt")
    blob = bytearray(file.read_bytes())
    blob[blob.find(torch.ones(3).numpy().tobytes())] ^= 1
    file.write_bytes(blob)
    assert Shelf(tmp_path, "this").piece(PLACE, fits) is None
    assert "is damaged (wrong checksum of" in caplog.text


def test_scores_that_have_changed_or_are_of_another_model_are_taken_anew(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    scores = [Score(0.1, 0.9, -0.01, 0.005), Score(1 / 3, 0.8, -0.1, 0.02), Score(math.inf, 0.1, -0.5, 0.05)]
    assemblies = [{"stages.0.layers.1": name} for name in ("linear", "reuse", 'all,\n"wrong"')]
    keys = [key_of(assembly) for assembly in assemblies]
    Shelf(tmp_path, "this").keep_scores(assemblies, scores)
    assert Shelf(tmp_path, "this").scores == dict(zip(keys[:2], scores[:2], strict=True)), "to the last digit"
    assert not caplog.text
    assert not Shelf(tmp_path, "other").scores
    assert "rows that have changed, or are of another model or run: 2" in caplog.text
    file = tmp_path / "scores.csv"
    file.write_text(file.read_text().replace("0.1,0.9,", "0.01,0.9,"))
    assert list(Shelf(tmp_path, "this").scores) == [keys[1]]
    file.write_text(pd.read_csv(file).drop(columns="sha256").to_csv(index=False))
    assert not Shelf(tmp_path, "this").scores, "of a version that did not say"


@pytest.mark.parametrize(("put", "what"), [(os.mkfifo, "a pipe or a device"), (Path.mkdir, "Is a directory")])
def test_what_is_no_file_is_named_with_what_to_do(put: Callable[[Path], object], what: str, tmp_path: Path) -> None:
    put(tmp_path / "scores.csv")
    with pytest.raises(RunError, match=rf"scores\.csv: not readable \({what}.*delete it"):
        Shelf(tmp_path, "this")
    (kept := Shelf(tmp_path, "this", table="shared.csv")).keep_piece(PLACE, CONTENT)
    (file,) = tmp_path.rglob("*.pt")
    file.unlink()
    put(file)
    with pytest.raises(RunError, match=rf"linear\.pt: not readable \({what}.*delete it"):
        kept.piece(PLACE, fits)


DAMAGES: dict[str, Callable[[bytes, list[bytes]], bytes]] = {
    "cut": lambda whole, lines: whole[:-9],
    "cut to a part of its head": lambda whole, lines: whole[:9],
    "empty": lambda whole, lines: b"",
    "zeroed": lambda whole, lines: bytes(len(whole)),
    "garbage": lambda whole, lines: bytes(range(256)),
    "NaN": lambda whole, lines: whole.replace(b"0.9,", b"NaN,"),
    "sorted": lambda whole, lines: b"".join([lines[0], *reversed(lines[1:])]),
    "a row gone": lambda whole, lines: b"".join(lines[:-1]),
    "a row twice": lambda whole, lines: whole + lines[-1],
    "a column gone": lambda whole, lines: whole.replace(b",kl,", b",KL,"),
    "rows mixed": lambda whole, lines: whole.replace(b"0.1,", b"0.2,", 1),
}


@pytest.mark.parametrize("kind", DAMAGES)
def test_a_damaged_table_of_scores_has_no_score_that_is_not_its_own(kind: str, tmp_path: Path) -> None:
    scores = {"linear": Score(0.1, 0.9, -0.01, 0.005), "reuse": Score(0.2, 0.8, -0.1, 0.02)}
    own = {key_of({"stages.0.layers.1": name}): score for name, score in scores.items()}
    assemblies = [{"stages.0.layers.1": name} for name in scores]
    Shelf(tmp_path, "this", table="shared.csv").keep_scores(assemblies, [*scores.values()])
    file = tmp_path / "shared.csv"
    file.write_bytes(DAMAGES[kind](file.read_bytes(), file.read_bytes().splitlines(keepends=True)))
    found = Shelf(tmp_path, "this", table="shared.csv").scores
    assert found.items() <= own.items()
    assert len(found) == {"cut": 1, "NaN": 1, "sorted": 2, "a row gone": 1, "a row twice": 2, "rows mixed": 1}.get(
        kind, 0
    ), found
