from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from ruamel.yaml import YAML

from nas.data import account_of, load
from nas.engine import Run, Workers
from nas.engine.record import identity, read_record, versions, write_record
from nas.engine.single import train_genome
from nas.engine.version import VERSION
from nas.errors import RunError, SpecError
from nas.files import write_text
from nas.hardware import hardware
from nas.plain_yaml import dump_yaml

SPEC: dict[str, Any] = {
    "data": "digits",
    "training": {"epochs": 2, "lr": 1e-05},
    "budget": {},
    "trials": 3,
    "sizes": [1, 2],
}


def check(tmp_path: Path, spec: dict[str, Any], kind: str = "search", data: dict[str, Any] | None = None) -> None:
    client = SimpleNamespace(workers=Workers(), storage=None)
    Run(tmp_path, kind, client, lambda record: record).check(spec, may_differ={"trials"}, data=data or {})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({}, ""),
        ({"images": {"train": 9, "validation": 2, "test": 2}}, "images was {.*}, now it is {'train': 9, .*}"),
        ({"classes": {"a": [5, 1, 1], "c": [5, 1, 1]}}, "classes was"),
        ({"images_sha256": "two"}, "images_sha256 was 'one', now it is 'two'; restore them, or choose another RUN"),
    ],
)
def test_images_that_have_changed_are_noticed(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    counts = {"train": 10, "validation": 2, "test": 2}
    account = {"images": counts, "classes": {"a": [5, 1, 1], "b": [5, 1, 1]}, "images_sha256": "one"}
    whole = account_of(load("digits")) | account
    write_record(tmp_path, id="0123456789abcdef", kind="search", seed=4, spec=SPEC, data=whole)
    if not change:
        check(tmp_path, SPEC, data=whole)
        return
    with pytest.raises(RunError, match=f"data: its images have changed since it was begun: {message}"):
        check(tmp_path, SPEC, data=whole | change)


def test_a_run_that_another_process_has_begun_meanwhile_is_left_as_it_is(tmp_path: Path) -> None:
    """Two commands at one directory: the second one has read it when nothing was there, and the first has ended."""
    client = SimpleNamespace(workers=Workers(), storage=None)
    run = Run(tmp_path, "search", client, lambda record: record)
    run.check(SPEC, may_differ={"trials"}, data={})
    write_record(tmp_path, id="0123456789abcdef", kind="search", seed=4, spec=SPEC | {"trials": 4}, data={})
    before = (tmp_path / "run.yaml").read_bytes()
    said = r"run\.yaml: another process has begun a run here meanwhile; the same command goes on"
    with pytest.raises(RunError, match=said), run.opened(lambda event: None):
        run.begin(SPEC, seed=4)
    assert (tmp_path / "run.yaml").read_bytes() == before


def test_an_account_of_an_earlier_version_is_held_to_what_it_has(tmp_path: Path) -> None:
    now = account_of(load("digits"))
    then = {key: value for key, value in now.items() if key != "images_sha256"}
    write_record(tmp_path, id="0123456789abcdef", kind="search", seed=4, spec=SPEC, data=then)
    check(tmp_path, SPEC, data=now)


def test_a_run_is_known_by_what_may_not_change_in_it() -> None:
    def known(spec: dict[str, Any], kind: str = "search", start: str | None = None) -> str:
        return identity(kind, spec, may_differ={"trials"}, start=start)

    assert known(SPEC) == known(dict(reversed(SPEC.items())) | {"trials": 300})
    others = [known(SPEC | {"seed": 5}), known(SPEC, "ablation"), known(SPEC, start="of other weights")]
    assert len({known(SPEC), *others}) == 4


def test_a_record_says_what_a_run_was(tmp_path: Path) -> None:
    assert read_record(tmp_path) is None
    write_record(tmp_path, id="0123456789abcdef", kind="search", seed=4, spec=SPEC)
    record = read_record(tmp_path)
    assert record is not None
    assert record["version"] == VERSION
    assert list(record)[1:] == [
        "id",
        "name",
        "kind",
        "seed",
        "spec",
        "plugins",
        "versions",
        "hardware",
        "created",
        "command",
        "commit",
    ]
    assert record["spec"] == SPEC
    assert record["name"] == tmp_path.name
    assert record["versions"] == versions()
    assert record["hardware"] == hardware()


@pytest.mark.parametrize("version", [(1, 1), (1, 2)])
def test_any_reader_reads_the_record(tmp_path: Path, version: tuple[int, int]) -> None:
    words = ["off", "on", "yes", "no", "y", "n", "Off", "NO", "null", "~", "1:30", "010", "2026-01-31", "1e-3", "0b11"]
    spec = SPEC | {"words": words, "variants": {word: {"choice": [word, 1.0]} for word in words}}
    write_record(tmp_path, id="0123456789abcdef", kind="search", seed=4, spec=spec)
    text = (tmp_path / "run.yaml").read_text()
    reader = YAML(typ="safe", pure=True)
    reader.version = version
    assert yaml.safe_load(text) == reader.load(text)
    assert read_record(tmp_path) == {key: value for key, value in reader.load(text).items() if key != "sha256"}
    assert yaml.safe_load(text)["spec"] == spec


@pytest.mark.parametrize(
    ("program", "typed"),
    [
        ("nas", "nas"),
        ("{here}/bin/nas", "nas"),  # found on PATH
        ("{here}/other/nas", "other/nas"),
        (".venv/bin/nas", ".venv/bin/nas"),
        ("/elsewhere/nas", "/elsewhere/nas"),
        ("{here}/lib/nas/__main__.py", "python -m nas"),
        ("study.py", "study.py"),
    ],
)
def test_the_command_is_recorded_as_it_was_typed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, program: str, typed: str
) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "nas").touch(mode=0o755)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setattr(sys, "argv", [program.format(here=tmp_path), "search", "my space", "--set", "a=[1, 2] b=$x"])
    write_record(tmp_path, id="0123456789abcdef", kind="search", seed=4, spec=SPEC)
    record = read_record(tmp_path)
    assert record is not None
    assert record["command"] == f"{typed} search 'my space' --set 'a=[1, 2] b=$x'"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"data": "cifar10"}, "spec.data: the run was begun with 'digits', now it is 'cifar10'; choose another RUN"),
        ({"training": {"epochs": 3, "lr": 1e-05}}, "spec.training.epochs: .* with 2, now it is 3"),
        ({"budget": {"macs": 7}}, "spec.budget.macs: .* with None, now it is 7"),
        ({"sizes": [1]}, "spec.sizes"),
        ({"more": 1}, "spec.more: the run was begun with None, now it is 1"),
    ],
)
def test_the_first_difference_is_named(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    write_record(tmp_path, id="0123456789abcdef", kind="search", seed=4, spec=SPEC)
    with pytest.raises(SpecError, match=rf"run.yaml: {message}"):
        check(tmp_path, SPEC | change)


def test_what_may_change_may_change(tmp_path: Path) -> None:
    write_record(tmp_path, id="0123456789abcdef", kind="search", seed=4, spec=SPEC)
    check(tmp_path, SPEC | {"trials": 300})


def test_null_and_nothing_are_the_same(tmp_path: Path) -> None:
    """Version 0.1 wrote limits that were not set."""
    write_record(
        tmp_path, id="0123456789abcdef", kind="search", seed=4, spec=SPEC | {"budget": {"macs": None, "params": None}}
    )
    check(tmp_path, SPEC)
    check(tmp_path, {key: value for key, value in SPEC.items() if key != "budget"})


def test_a_run_of_another_kind_is_left_alone(tmp_path: Path) -> None:
    write_record(tmp_path, id="0123456789abcdef", kind="ablation", seed=4, spec=SPEC)
    with pytest.raises(SpecError, match=r"another kind of run in it .ablation."):
        check(tmp_path, SPEC)


def test_a_run_and_a_single_training_keep_apart(tmp_path: Path) -> None:
    alone, run, trial = tmp_path / "alone", tmp_path / "run", tmp_path / "run" / "trials" / "0000"
    train_genome("lavit_digits", out=alone, settings={"training.epochs": 1, "training.limit": 100}, progress=False)
    with pytest.raises(SpecError, match=r"a single training is in it .* choose another RUN"):
        check(alone, SPEC)
    write_record(run, id="0123456789abcdef", kind="search", seed=4, spec=SPEC)
    trial.mkdir(parents=True)
    write_text(trial / "trial.json", "{}")
    for directory, what in ((run, "a run"), (trial, "a trial of a run")):
        with pytest.raises(SpecError, match=f"{what} is in it; choose another --out"):
            train_genome("lavit_digits", out=directory, progress=False)


@pytest.mark.parametrize("text", ["", "- 1", "spec: 3", "spec: {a: [1}"])
def test_a_damaged_record_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "run.yaml").write_text(text)
    with pytest.raises(SpecError, match=r"run\.yaml"):
        read_record(tmp_path)


def test_a_changed_record_is_named(tmp_path: Path) -> None:
    file = tmp_path / "run.yaml"
    write_record(tmp_path, id="0123456789abcdef", kind="search", seed=4, spec=SPEC, accuracy="top-1")
    written = yaml.safe_load(file.read_text())
    assert read_record(tmp_path) == {key: value for key, value in written.items() if key != "sha256"}
    for key in written.keys() - {"version", "sha256"}:
        value = {"kind": "ablation", "seed": 5, "spec": SPEC | {"more": 1}}.get(key)
        lost = {name: each for name, each in written.items() if name != key}
        for content in (lost, written | {key: value}) if written[key] is not None else (lost,):
            file.write_text(dump_yaml(content))
            with pytest.raises(RunError, match=r"run\.yaml: "):
                read_record(tmp_path)
    del written["sha256"]
    written["seed"] = 5
    file.write_text(dump_yaml(written))
    record = read_record(tmp_path)
    assert record is not None and record["seed"] == 5, "the user's own change, or a record of an earlier version"


@pytest.mark.parametrize("version", [VERSION + 1, 0, "2", None])
def test_a_record_of_a_later_version_is_refused(tmp_path: Path, version: object) -> None:
    write_record(tmp_path, id="0123456789abcdef", kind="search", seed=4, spec=SPEC)
    text = (tmp_path / "run.yaml").read_text()
    (tmp_path / "run.yaml").write_text(text.replace(f"version: {VERSION}", f"version: {json.dumps(version)}"))
    with pytest.raises(SpecError, match=r"run\.yaml: its format is version .*: use a newer nas"):
        read_record(tmp_path)


TEXT = st.text(st.characters(exclude_categories=["Cs", "Cc"]))
PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXT,
    lambda values: st.lists(values, max_size=4) | st.dictionaries(TEXT, values, max_size=4),
    max_leaves=12,
)


@given(spec=st.dictionaries(TEXT, PLAIN, max_size=5))
def test_no_record_is_taken_for_a_changed_one(tmp_path_factory: pytest.TempPathFactory, spec: dict[str, Any]) -> None:
    folder = tmp_path_factory.mktemp("run")
    write_record(folder, id="0123456789abcdef", kind="search", seed=4, spec=spec)
    record = read_record(folder)
    assert record is not None and record["spec"] == spec
