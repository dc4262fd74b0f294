"""Whatever has become of a file of a run: its report is written, or the file is named."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nas.ablation.retrain import retraining
from nas.engine import Ledger, Outcome, Run
from nas.engine.digests import check_weights, weights_digest
from nas.engine.evaluation import read_test
from nas.engine.record import read_record, write_record
from nas.errors import RunError, SpecError
from nas.files import write_json, write_sealed
from nas.model import build
from nas.report.ablation import write_table
from nas.report.converted import read_assemblies, read_sensitivity
from nas.report.page import page
from nas.report.payload import stacks_of
from nas.report.pick import best_winner
from nas.report.run import read_run
from nas.row_seals import ROW_SEAL
from nas.search.gain import Gain, worked_out_from
from nas.search.winners import write_front
from nas.serve import load
from tests.report.damaged import REPLACED, SPEC, as_earlier_versions_wrote, write_front_of, write_searched

WORDS = ["null", "-1", "7.0", "NaN", "inf", "[]", "{}", "x", '"a"', "1e999", "true", ""]


PUBLISHED = Path(__file__).parents[2] / "results" / "published"


@pytest.fixture(scope="module", params=["with its trials", "published"])
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = write_searched(tmp_path_factory.mktemp("runs") / "run")
    if request.param == "published":
        shutil.rmtree(directory / "trials")
    return directory


@pytest.fixture(scope="module", params=["cifar10-castling_mask", "cifar10-linear_cores"])
def ablation(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(shutil.copytree(PUBLISHED / request.param, tmp_path_factory.mktemp("runs") / "run"))


@st.composite
def damages(draw: st.DrawFn, content: bytes) -> bytes:
    """Another file, a part of the file, a byte that is another one, a word that is another one."""
    kind = draw(st.sampled_from(["replaced", "cut", "byte", "word"]))
    if kind == "replaced":
        return draw(st.sampled_from(list(REPLACED.values())))
    if kind == "word":
        text = content.decode()
        word = draw(st.sampled_from(list(re.finditer(r"[\w.\-]+", text))))
        return (text[: word.start()] + draw(st.sampled_from(WORDS)) + text[word.end() :]).encode()
    place = draw(st.integers(0, len(content) - 1))
    return content[:place] + (b"" if kind == "cut" else draw(st.binary(min_size=1, max_size=1)) + content[place + 1 :])


def _swap(one: Path, other: Path) -> None:
    content = one.read_bytes()
    one.write_bytes(other.read_bytes())
    other.write_bytes(content)


def _edit(file: Path, old: str, new: str) -> None:
    before = os.stat(file)
    assert old in file.read_text()
    file.write_text(file.read_text().replace(old, new, 1))
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))


MIXED_UP = {  # each file is whole, and is not what it was
    "an accuracy of the front": (lambda run: _edit(run / "front.csv", ",0.9,", ",0.99,"), "front.csv"),
    "a hash of the front": (lambda run: _edit(run / "front.csv", _hash(run), "0123456789ab"), "front.csv"),
    "MACs of the front": (
        lambda run: _edit(run / "front.csv", (macs := f",{_macs(run)},"), f"{macs[:-1]}0,"),
        "row 1 ",
    ),
    "a searched parameter": (
        lambda run: _edit(run / "front.csv", _hash(run) + ",4.0,,1,", _hash(run) + ",4.0,,2,"),
        "row 1 ",
    ),
    "a measured value": (lambda run: _edit(run / "front.csv", ",100.0,", ",120.0,"), "w1-0000.json has"),
    "a tested value": (lambda run: _edit(run / "front.csv", "0.875", "0.925"), "w1-0000.json has"),
    "another name of a winner": (
        lambda run: _edit(run / "front.csv", "w1-0000", "w01-0000"),
        "front.csv: damaged (row 1 ",
    ),
    "the name of a winner": (lambda run: _edit(run / "front.csv", "w1-0000", "w2-0001"), "front.csv: damaged (row 1 "),
    "a row that is gone": (
        lambda run: _edit(run / "front.csv", _row(run), ""),
        "front.csv: damaged (no row is winners/w1-0000.json's)",
    ),
    "a row twice": (lambda run: _edit(run / "front.csv", (row := _row(run)), row + row), "front.csv"),
    "a winner": (lambda run: _edit(run / "winners/w1-0000.json", '"0000"', '"0001"'), "w1-0000.json"),
    "costs": (lambda run: _edit(_unsealed(run), '"macs": ', '"macs": 1'), "result.json: macs"),
    "no accuracy": (lambda run: _edit(_unsealed(run), ": 0.9,", ": null,"), "result.json: accuracy"),
    "an accuracy": (lambda run: _edit(run / "trials/0001/result.json", ": 0.8,", ": 0.85,"), "0001/result.json"),
    "a state": (lambda run: _edit(run / "trials/0001/result.json", "complete", "pruned"), "0001/result.json"),
    "a seed": (lambda run: _edit(run / "trials/0001/trial.json", '"seed": 1', '"seed": 3'), "0001/trial.json"),
    "a winner's figure": (lambda run: _edit(run / "winners/w1-0000.json", "0.875", "0.925"), "w1-0000.json"),
    "a number": (
        lambda run: _edit(run / "trials/0000/trial.json", '"seed": 0', f'"seed": {10**30}'),
        "trial.json: seed",
    ),
    "half a letter": (lambda run: _edit(run / "trials/0000/trial.json", '"softmax"', '"\\ud800"'), "trial.json"),
    "another gain": (lambda run: _edit(run / "gain.json", '"gain": 0.1', '"gain": 0.2'), "gain.json"),
    "a gain": (lambda run: _edit(run / "gain.json", "0.3", "NaN"), "gain.json: high"),
}


def _unsealed(run: Path) -> Path:
    """The result of trial 0 as an earlier version wrote it."""
    file = run / "trials/0000/result.json"
    content = json.loads(file.read_text())
    _exchange(file, json.dumps({key: content[key] for key in content if key != "sha256"}, indent=1).encode())
    return file


def _macs(run: Path) -> int:
    return int(json.loads((run / "trials/0000/trial.json").read_text())["macs"])


def _row(run: Path) -> str:
    return (run / "front.csv").read_text().splitlines(keepends=True)[1]


def _hash(run: Path) -> str:
    return str(json.loads((run / "trials/0000/trial.json").read_text())["hash"])


@pytest.mark.parametrize("kind", MIXED_UP)
@pytest.mark.parametrize("sealed", [True, False])
def test_what_is_no_longer_of_the_trials_is_named(tmp_path: Path, kind: str, sealed: bool) -> None:
    run = write_searched(tmp_path / "run")
    if not sealed:
        as_earlier_versions_wrote(run)
    page(read_run(run))
    mix, said = MIXED_UP[kind]
    front = (run / "front.csv").read_bytes()
    mix(run)
    changed = front != (run / "front.csv").read_bytes()
    expected = r"front\.csv: damaged \((row 1 has|it has|no row is)" if sealed and changed else re.escape(said)
    with pytest.raises(SpecError, match=expected):
        page(read_run(run))


@pytest.mark.parametrize("state", ["pruned", "failed"])
def test_a_curve_that_is_drawn_is_what_its_trial_ended_with(tmp_path: Path, state: str) -> None:
    """The run goes on without it, since it decides by results."""
    run = write_searched(tmp_path / "run")
    ledger = Ledger(run)
    job = ledger.trial(2).job
    (job.directory / "result.json").unlink()
    ledger.finish(job, Outcome.of(job, state, accuracy=0.7, epochs=2, reason="so"))  # type: ignore[arg-type]
    assert 2 in read_run(run).curves
    _edit(job.directory / "metrics.csv", "1.5,0.7", "1.5,0.75")
    assert len(Ledger(run).trials) == 3
    with pytest.raises(SpecError, match=r"0002/metrics\.csv: damaged \(it is not what the trial ended with"):
        page(read_run(run))
    (job.directory / "metrics.csv").unlink()
    with pytest.raises(SpecError, match=r"0002/metrics\.csv: gone, of a trial that has ended: restore it"):
        page(read_run(run))


CONVERTED = {  # a number in a table of a conversion that is not what its scores and trials have
    "KL of a layer": ("sensitivity.csv", "kl", "row 1 is not what scores.csv has: kl"),
    "KL of an assembly": ("assemblies.csv", "kl", "row 1 is not what scores.csv has: kl"),
    "change before": ("assemblies.csv", "delta_accuracy_before", "row 1 is not what scores.csv has: delta_accuracy"),
    "change after": ("assemblies.csv", "delta_accuracy", "row 1 is not what trial 0001 has: delta_accuracy"),
    "accuracy": ("assemblies.csv", "accuracy", "row 1 is not what trial 0001 has: accuracy"),
    "MACs": ("assemblies.csv", "macs", "row 1 is not what trial 0001 has: macs"),
}


@pytest.mark.parametrize("kind", CONVERTED)
def test_a_number_of_a_conversion_that_has_changed_is_named(tmp_path: Path, kind: str) -> None:
    run = Path(shutil.copytree(PUBLISHED / "cifar10-repaired", tmp_path / "run"))
    page(read_run(run))
    name, column, said = CONVERTED[kind]
    table = pd.read_csv(run / name, dtype=str)
    table.loc[0, column] = str(0.9 * float(table[column][0]))
    table.to_csv(run / name, index=False)
    with pytest.raises(SpecError, match=re.escape(f"{name}: damaged ({said}")):
        page(read_run(run))


def test_a_divergence_that_rounding_left_below_zero_is_read(tmp_path: Path) -> None:
    """Conversions of 0.1 have it in all three tables."""
    run = Path(shutil.copytree(PUBLISHED / "cifar10-repaired", tmp_path / "run"))
    table = pd.read_csv(run / "assemblies.csv").assign(kl=-2.4e-09)
    table.to_csv(run / "assemblies.csv", index=False)
    (run / "scores.csv").unlink()
    assert read_run(run).assemblies is not None


@pytest.mark.parametrize("name", ["sensitivity.csv", "scores.csv"])
@pytest.mark.parametrize("cell", ["x", "0.1x"])
def test_text_in_a_column_of_numbers_is_named(tmp_path: Path, name: str, cell: str) -> None:
    run = Path(shutil.copytree(PUBLISHED / "cifar10-repaired", tmp_path / "run"))
    table = pd.read_csv(run / name, dtype=str)
    table.loc[1, "kl"] = cell
    table.to_csv(run / name, index=False)
    with pytest.raises(SpecError, match=rf"{name}: damaged \(not all in column kl are numbers"):
        page(read_run(run))


@pytest.mark.parametrize("name", ["sensitivity.csv", "assemblies.csv"])
@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda table: table[:0], "it has no rows"),
        (lambda table: pd.concat([table, table]), "row {again} has no {first} and {second} of its own"),
        (lambda table: table.assign(**{table.columns[0]: None}), "row 1 has no {first} and {second} of its own"),
    ],
    ids=["cut to the head", "twice", "no name"],
)
def test_rows_of_a_conversion_that_cannot_be_are_named(tmp_path: Path, name: str, damage: Any, said: str) -> None:
    run = Path(shutil.copytree(PUBLISHED / "cifar10-repaired", tmp_path / "run"))
    table = pd.read_csv(run / name, dtype=str).drop(columns=ROW_SEAL, errors="ignore")
    damage(table).to_csv(run / name, index=False)
    first, second = ("layer", "candidate") if name == "sensitivity.csv" else ("arm", "trial")
    said = said.format(again=len(table) + 1, first=first, second=second)
    with pytest.raises(SpecError, match=re.escape(f"{name}: damaged ({said})")):
        page(read_run(run))


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda table: table.drop(index=1), 'it lacks {"LAYER": "CANDIDATE"}, which scores.csv has'),
        (
            lambda table: table.replace({"layer": {table["layer"][1]: "stages.9.layers.9"}}),
            "scores.csv does not have {",
        ),
        (lambda table: table.replace({"candidate": {table["candidate"][1]: "made_up"}}), "scores.csv does not have {"),
    ],
    ids=["a row gone", "no such layer", "no such candidate"],
)
def test_the_sensitivity_has_the_layers_and_candidates_of_the_scores(tmp_path: Path, damage: Any, said: str) -> None:
    run = Path(shutil.copytree(PUBLISHED / "cifar10-repaired", tmp_path / "run"))
    table = pd.read_csv(run / "sensitivity.csv", dtype=str).drop(columns=ROW_SEAL, errors="ignore")
    table.to_csv(run / "sensitivity.csv", index=False)
    page(read_run(run))
    damage(table).to_csv(run / "sensitivity.csv", index=False)
    said = said.replace("LAYER", table["layer"][1]).replace("CANDIDATE", table["candidate"][1])
    with pytest.raises(SpecError, match=re.escape(f"sensitivity.csv: damaged ({said}")):
        page(read_run(run))


def test_a_conversion_that_goes_on_is_not_held_to_new_scores(tmp_path: Path) -> None:
    """Its tables are written anew at its end."""
    run = Path(shutil.copytree(PUBLISHED / "cifar10-repaired", tmp_path / "run"))
    trials = read_run(run).trials
    scores = pd.read_csv(run / "scores.csv")
    scores.assign(kl=1.01 * scores["kl"]).to_csv(run / "scores.csv", index=False)
    assert read_sensitivity(run, False) is not None and read_assemblies(run, trials, False) is not None
    again = trials.assign(state=["complete", "running"], accuracy=[0.7, None])
    assert read_assemblies(run, again, False) is not None
    with pytest.raises(SpecError, match=r"sensitivity.csv: damaged \(row 1 is not what scores.csv has"):
        read_sensitivity(run, True)


def test_a_front_of_a_trial_that_is_trained_again_is_of_before(tmp_path: Path) -> None:
    run = write_searched(tmp_path / "run")
    (run / "trials/0000/result.json").unlink()
    assert read_run(run).front["trial"].tolist() == [1]


def test_a_front_that_is_of_before_is_held_to_its_winners(tmp_path: Path) -> None:
    run = write_searched(tmp_path / "run")
    as_earlier_versions_wrote(run)
    later = os.stat(run / "front.csv").st_mtime_ns + 10**9
    os.utime(run / "trials/0002/result.json", ns=(later, later))
    assert "throughput_measured" not in read_run(run).front
    assert best_winner(run, {}).metrics["throughput"] == 100
    _edit(run / "front.csv", ",100.0,", ",120.0,")
    with pytest.raises(SpecError, match=r"front\.csv: damaged \(row 1 is not what winners/w1-0000\.json has"):
        best_winner(run, {})


def test_what_was_not_tested_has_no_result_on_test(tmp_path: Path) -> None:
    run = write_searched(tmp_path / "run")
    write_front(Run(run, "search", SPEC, lambda record: record), None)
    as_earlier_versions_wrote(run)
    page(read_run(run))
    table = pd.read_csv(run / "front.csv", dtype=str).assign(accuracy_test="0.99")
    table.to_csv(run / "front.csv", index=False)
    with pytest.raises(SpecError, match=r"front\.csv: damaged \(row 1 is not what winners/w1-0000\.json has"):
        best_winner(run, {})


def test_assemblies_of_a_trial_that_is_trained_again_are_left_out(tmp_path: Path) -> None:
    run = Path(shutil.copytree(PUBLISHED / "cifar10-repaired", tmp_path / "run"))
    trials = (run / "trials.csv").read_text().splitlines(keepends=True)
    (run / "trials.csv").write_text("".join(trials[:2] + trials[3:]))
    assert read_run(run).assemblies is None


def test_a_kill_while_winners_are_written_leaves_no_front_of_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise it would stand beside winners that have other values."""
    run = write_searched(tmp_path / "run")

    def killed(*_: object) -> None:
        raise InterruptedError

    monkeypatch.setattr("nas.search.winners.write_sealed", killed)
    with pytest.raises(InterruptedError):
        write_front_of(run)
    page(read_run(run))
    with pytest.raises(SpecError, match=r"the run has no winners: front\.csv is written at its end"):
        best_winner(run, {})
    monkeypatch.undo()
    write_front_of(run)
    assert best_winner(run, {}).name == "w1-0000"


@pytest.mark.parametrize("trained_again", [False, True])
def test_a_copy_is_what_it_was_copied_from(tmp_path: Path, trained_again: bool) -> None:
    """`cp -r` writes the files in any order: their times say nothing."""
    run = write_searched(tmp_path / "run")
    for number, file in enumerate(sorted(run.rglob("*.*"), reverse=True)):
        os.utime(file, ns=(number * 10**9, number * 10**9))
    if trained_again:
        ledger = Ledger(run)
        ledger.add(None, seed=9, hash="", parameters={}, outcome=Outcome("failed", reason="no such model"))
    found = read_run(run)
    assert ("throughput_measured" in found.front) is found.current is not trained_again
    page(found)


@pytest.mark.parametrize("ending", ["json", "yaml"])
def test_what_is_gone_of_a_winner_is_missed(tmp_path: Path, ending: str) -> None:
    """Its figures on test would be those of front.csv alone, and its layers left out of the page."""
    run = write_searched(tmp_path / "run")
    page(read_run(run))
    (run / f"winners/w1-0000.{ending}").unlink()
    with pytest.raises(
        SpecError, match=rf"w1-0000\.{ending}: gone, of a winner in front\.csv; the same run, started again"
    ):
        page(read_run(run))
    shutil.rmtree(run / "winners")
    page(read_run(run))


def test_winners_that_are_being_written_are_no_front(tmp_path: Path) -> None:
    """A report may read a part of them before its driver has written the others."""
    run = write_searched(tmp_path / "run")
    content = json.loads((run / "winners/w1-0000.json").read_text())
    other = {"trial": "0001", "trials_sha256": "of others"}
    write_sealed(run / "winners/w2-0001.json", {key: content[key] for key in content if key != "sha256"} | other)
    found = read_run(run)
    assert not found.current and "throughput_measured" not in found.front
    page(found)


def test_a_front_that_goes_while_it_is_read_is_no_mistake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = write_searched(tmp_path / "run")

    def gone(*_: object) -> None:
        (run / "front.csv").unlink()
        raise RunError("not what its winner has")

    monkeypatch.setattr("nas.report.front.hold_to_winners", gone)
    page(read_run(run))


@contextmanager
def _watched(seconds: int = 60) -> Iterator[None]:
    """Ends what hangs."""

    def end(*_: object) -> None:
        raise AssertionError("it hangs")

    before = signal.signal(signal.SIGALRM, end)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def test_a_pipe_in_the_place_of_a_file_holds_nothing_up(tmp_path: Path) -> None:
    run = write_searched(tmp_path / "run")
    files = sorted(path.relative_to(run) for path in run.rglob("*") if path.is_file())
    assert len(files) > 15
    for file in files:
        damaged = Path(shutil.copytree(run, tmp_path / "damaged"))
        (damaged / file).unlink()
        os.mkfifo(damaged / file)
        for read in (_reported, _picked, _resumed):
            with _watched(), suppress(SpecError, OSError):
                read(damaged)
        shutil.rmtree(damaged)


def _reported(run: Path) -> None:
    page(read_run(run))


def _picked(run: Path) -> None:
    load(best_winner(run, {}).genome)


def _resumed(run: Path) -> None:
    ledger = Ledger(run)
    with ledger.locked():
        ledger.table()
        for trial in ledger.trials:
            read_test(trial.job.directory)
            build(trial.job.directory / "genome.yaml", weights=True)
            check_weights(trial.job.directory)


def test_winners_whose_genomes_were_exchanged_are_named(tmp_path: Path) -> None:
    run = write_searched(tmp_path / "run")
    genome = run / "winners/w1-0000.yaml"
    assert best_winner(run, {}).genome == genome
    shutil.copyfile(run / "trials/0001/genome.yaml", genome)
    with pytest.raises(SpecError, match=r"winners/w1-0000\.yaml: another genome than that of front\.csv"):
        best_winner(run, {})


def test_a_winner_of_a_plug_in_that_is_not_loaded_is_picked(tmp_path: Path) -> None:
    run = write_searched(tmp_path / "run")
    genome = run / "winners/w1-0000.yaml"
    genome.write_text(genome.read_text().replace("split: 1", "core: block_of_a_plug_in"))
    with pytest.raises(SpecError, match="block_of_a_plug_in"):
        load(genome)
    assert best_winner(run, {}).genome == genome


def test_a_base_that_does_not_exist_is_named_by_its_file(tmp_path: Path) -> None:
    run = write_searched(tmp_path / "run")
    shutil.rmtree(run / "trials")  # which would know it
    (run / "run.yaml").write_text(re.sub(r"base: \w+", "base: nowhere", (run / "run.yaml").read_text()))
    with pytest.raises(SpecError, match=r"run\.yaml: spec\.base: no genome file and no preset called 'nowhere'"):
        page(read_run(run))


def test_a_front_of_a_trial_that_is_gone_is_computed_anew(tmp_path: Path) -> None:
    run = write_searched(tmp_path / "run")
    shutil.rmtree(run / "trials/0000")
    assert 0 not in set(read_run(run).front["trial"])


def test_a_record_that_is_cut_off_is_never_believed(tmp_path: Path) -> None:
    write_record(tmp_path, kind="search", seed=0, spec={"base": "lavit_digits", "trials": 4}, id="0123456789abcdef")
    text = (tmp_path / "run.yaml").read_text()
    assert read_record(tmp_path) is not None
    for end in range(len(text) - 1):
        (tmp_path / "run.yaml").write_text(text[:end])
        with pytest.raises(SpecError, match=r"run\.yaml: "):
            read_record(tmp_path)


def test_what_was_gained_is_of_the_trials_that_are_there(tmp_path: Path) -> None:
    run = write_searched(tmp_path / "run")
    assert read_run(run).gain is not None
    gain = Gain(0.1, -0.1, 0.3, "estimated", 3, worked_out_from(Ledger(run)))
    gain.write(run)
    assert read_run(run).gain == gain.sentence
    replace(gain, trials_sha256="of another run").write(run)
    assert read_run(run).gain is None


@pytest.mark.parametrize("change", ["a value", "a row"])
def test_a_published_table_of_trials_that_has_changed_is_named(tmp_path: Path, change: str) -> None:
    """Nothing else is left to hold the trials beside the front to."""
    run = write_searched(tmp_path / "run")
    shutil.rmtree(run / "trials")
    page(read_run(run))
    lines = (run / "trials.csv").read_text().splitlines(keepends=True)
    if change == "a value":
        _edit(run / "trials.csv", lines[-1], lines[-1].replace(",0.7,", ",0.95,"))
    else:
        _edit(run / "trials.csv", lines[-1], "")
    with pytest.raises(SpecError, match=r"trials\.csv: damaged \((row 3|it) has changed since it was written"):
        read_run(run)


def test_winners_are_not_trained_again_by_the_record_of_another_run(tmp_path: Path) -> None:
    run = write_searched(tmp_path / "run")
    write_front_of(run)
    other = write_searched(tmp_path / "other", id="fedcba9876543210")
    shutil.copyfile(other / "run.yaml", run / "run.yaml")
    with pytest.raises(SpecError, match=r"run\.yaml: id: it is fedcba9876543210, and all trials have 0123456789abcdef"):
        retraining(run)


def test_a_published_table_that_is_gone_is_not_written_without_cells(tmp_path: Path) -> None:
    run = Path(shutil.copytree(PUBLISHED / "cifar10-linear_cores", tmp_path / "run"))
    (run / "table.csv").unlink()
    before = {file: file.read_bytes() for file in run.rglob("*.*")}
    with pytest.raises(SpecError, match=r"table\.csv: gone; restore it"):
        write_table(run)
    assert {file: file.read_bytes() for file in run.rglob("*.*")} == before


def test_weights_of_which_a_byte_has_changed_are_named(tmp_path: Path) -> None:
    run = write_searched(tmp_path / "run")
    weights = run / "trials/0000/weights.safetensors"
    content = bytearray(weights.read_bytes())
    content[len(content) // 2] ^= 1
    weights.write_bytes(content)
    with pytest.raises(SpecError, match=r"0000/weights\.safetensors: damaged"):
        write_front_of(run)


def test_results_on_test_of_another_trial_are_named(tmp_path: Path) -> None:
    run = write_searched(tmp_path / "run")
    _swap(run / "trials/0000/test.json", run / "trials/0001/test.json")
    with pytest.raises(SpecError, match=r"0000/test\.json: it is about another trial"):
        read_test(run / "trials/0000")
    file = run / "trials/0001/test.json"
    _swap(run / "trials/0000/test.json", file)
    write_json(file, json.loads(file.read_text()) | {"weights_sha256": weights_digest(file.parent)})
    assert read_test(run / "trials/0001")
    write_json(file, json.loads(file.read_text()) | {"weights_sha256": "of the same trial in another run"})
    with pytest.raises(SpecError, match=r"0001/test\.json: it is about other weights than the trial's"):
        read_test(run / "trials/0001")
    result = json.loads((file.parent / "result.json").read_text()) | {"weights_sha256": None}
    write_json(file.parent / "result.json", {key: result[key] for key in result if key != "sha256"})
    assert read_test(run / "trials/0001"), "of a cell that was taken over after its weights had been removed"


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_a_table_is_written_or_the_file_is_named(ablation: Path, data: st.DataObject) -> None:
    file = data.draw(st.sampled_from([ablation / name for name in ("run.yaml", "table.csv")]))
    whole, said = file.read_bytes(), ""
    file.write_bytes(data.draw(damages(whole)))
    try:
        write_table(ablation)
    except SpecError as error:
        said = str(error)
    finally:
        file.write_bytes(whole)
    assert not said or file.name in said
    assert "delete" not in said and len(said) < 1000


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_a_report_is_written_or_the_file_is_named(run: Path, data: st.DataObject) -> None:
    files = sorted(file for file in run.rglob("*") if file.suffix in (".json", ".csv", ".yaml"))
    file = data.draw(st.sampled_from(files))
    whole, said = file.read_bytes(), ""
    _exchange(file, data.draw(damages(whole)))
    try:
        page(read_run(run))
        best_winner(run, {})
    except SpecError as error:
        said = str(error)
    finally:
        _exchange(file, whole)
    # A trial's files are held to each other: the one that is named may be its neighbour.
    assert not said or file.name in said or (file.parent.parent.name == "trials" and file.parent.name in said)
    assert len(said) < 1000


def test_whole_files_make_a_report(run: Path) -> None:
    opened = read_run(run)
    assert "w1-0000" in page(opened)
    (stack,) = stacks_of(opened)
    assert stack["macs"] == opened.front["macs"].iloc[0] and stack["layers"][1]["what"]
    file = run / "winners" / "w1-0000.json"  # of an earlier version
    whole = file.read_text()
    file.write_text(json.dumps({k: value for k, value in json.loads(whole).items() if k not in ("layers", "sha256")}))
    assert stacks_of(read_run(run)) == [stack]
    file.write_text(whole)
    (run / "latency.json").write_text("{")
    assert stacks_of(read_run(run)) == [stack], "the winner's file has what it needs"
    (run / "latency.json").unlink()
    assert best_winner(run, {}).name == "w1-0000"


def _exchange(file: Path, content: bytes) -> None:
    """Without a new time, by which a front would count as older than a trial."""
    times = file.stat()
    file.write_bytes(content)
    os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))


def test_a_winner_whose_genome_is_gone_is_not_picked(tmp_path: Path) -> None:
    run = write_searched(tmp_path / "run")
    (run / "winners/w1-0000.yaml").unlink()
    with pytest.raises(SpecError, match=r"winners/w1-0000\.yaml: gone, of a winner"):
        best_winner(run, {})


def test_what_is_trained_again_are_the_winners_of_the_front(tmp_path: Path) -> None:
    run = write_searched(tmp_path / "run")
    winners, first = run / "winners", run / "winners/w1-0000.yaml"
    names = {path.stem for path in winners.glob("*.yaml")}
    (winners / "my-idea.yaml").write_text(first.read_text())
    assert set(retraining(run).arms) == names | {"base"}
    whole = first.read_text()
    first.write_text(whole.replace("split: 1", "split: 2"))
    with pytest.raises(SpecError, match=r"w1-0000\.yaml: another genome than that of front\.csv: its hash is"):
        retraining(run)
    first.unlink()
    with pytest.raises(SpecError, match=r"w1-0000\.yaml: gone, of a winner in front\.csv"):
        retraining(run)
