"""Names that a file or a caller gives: whatever they are, nothing is written outside results/."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from nas.errors import RunError
from nas.files import NAME, safe_name
from nas.run_names import default_run, run_directory
from nas.search import load_space

ANY = st.text(st.characters(exclude_categories=[]), max_size=300)


@given(ANY)
@example("")
@example("..")
@example("/../../../x")
@example("\udcff\0/")
@example("é" * 300)
def test_any_text_makes_the_name_of_one_file(text: str) -> None:
    name = safe_name(text)
    assert name not in ("", ".", "..") and not set(name) & {"/", "\0", "\n"}
    assert 0 < len(name.encode()) <= NAME
    assert Path("results") / name == Path("results", name) and (Path("results") / name).parent == Path("results")
    assert safe_name(name) == name


@pytest.mark.parametrize("name", ["lavit_split-digits", "my space", "ä+b=c", ".hidden", "w1-0012"])
def test_a_name_that_is_one_stays(name: str) -> None:
    assert safe_name(name) == name


def test_long_names_stay_different() -> None:
    assert safe_name("x" * 300) != safe_name("x" * 301)


@given(
    ANY, st.sampled_from(["digits", "imagefolder:..", "imagefolder:/", "parquet:a/../..", "imagefolder:" + "x" * 300])
)
def test_a_run_that_nobody_named_lies_in_results(name: str, data: str) -> None:
    spec = load_space("lavit_split").model_copy(update={"name": name, "data": data})
    assert run_directory(default_run(spec)).parent == Path("results")


@pytest.mark.parametrize(
    "run", ["..", ".", "", "a\0b", "a\udcff", "x" * 201, "./" + "x" * 201, "results/\0", "é" * 101]
)
def test_a_name_that_is_none_is_refused(run: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RunError, match=r"expected a name|cannot be in a path|at most 200 bytes"):
        run_directory(run)


@pytest.mark.parametrize("run", ["../elsewhere/r", "/tmp/r", "./r", "~/r", "results/r"])
def test_a_path_stays_a_path(run: str) -> None:
    found = run_directory(run)
    assert found.absolute() == Path(run).absolute()
    assert run_directory(found) == found, "commands and functions both ask"


SPACE = "name: {}\nbase: lavit_digits\nparameters: {{stages.0.split: {{int: [1, 2]}}}}\n"


@pytest.mark.parametrize("verb", [["search", "--dry-run"], ["report"], ["retrain"], ["train", "lavit_digits", "--out"]])
def test_names_that_no_file_can_have_are_one_message(nas, tmp_path: Path, verb: list[str]) -> None:
    answer = nas(*verb, "x" * 300)
    assert answer.code == 2
    assert answer.err.startswith("nas: ") and answer.err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []
