from __future__ import annotations

import json
import math
from pathlib import Path

import pandas as pd
import pytest
from safetensors.torch import save_file

from nas.data import load
from nas.engine import Ledger, Outcome, Run
from nas.errors import DataError, RunError
from nas.files import write_json
from nas.model import build
from nas.plain_yaml import parse_yaml
from nas.row_seals import ROW_SEAL
from nas.search import SearchSpec
from nas.search.winners import TEST, write_front
from tests.search.simulation import LAVIT, estimate


class Told:
    """An examiner whose results are given."""

    def __init__(self, **speeds: float):
        """speeds: images per second in batches of 64; a single image takes as long as it would in one."""
        self.speeds, self.tested, self.asked = speeds, [], []

    def seconds(self, trials: list[str], batch_size: int) -> list[float]:
        self.asked += [(trial, batch_size) for trial in trials]
        return [batch_size / self.speeds[trial] for trial in trials]

    def on_test(self, trials: list[str]) -> tuple[list[tuple[float, float]], DataError | None]:
        self.tested += trials
        return [(0.25, 0.02)] * len(trials), None


class Unreadable(Told):
    def on_test(self, trials: list[str]) -> tuple[list[tuple[float, float]], DataError | None]:
        return [(0.25, 0.02), *[(math.nan, math.nan)] * (len(trials) - 1)], DataError("a damaged image")


SPLITS = [(3, 4), (1, 4), (1, 1), (2, 2)]
ACCURACY = [0.9, 0.8, 0.7, 0.6]  # the last one is dominated by the third


def run_in(directory: Path, budget: dict[str, float] | None = None, *more: str) -> Run[SearchSpec]:
    objectives = {"accuracy": "max", "macs": "min"} | dict.fromkeys(more, "min")
    spec = SearchSpec.parse(parse_yaml(LAVIT) | {"objectives": objectives, "budget": budget or {}})
    return Run(directory, "search", spec, lambda record: record)


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    ledger = Ledger(tmp_path)
    for (first, second), accuracy in zip(SPLITS, ACCURACY, strict=True):
        model = build(build("lavit_digits").genome.edit({"stages.0.split": first, "stages.1.split": second}))
        costs = estimate(model.genome)
        job = ledger.add(model.genome, seed=0, hash=model.genome.hash, parameters={}, costs=costs)
        save_file(model.state_dict(), job.directory / "weights.safetensors")
        ledger.finish(job, Outcome.of(job, "complete", accuracy=accuracy, epochs=1))
    return ledger


def test_the_front_is_copied_to_where_build_finds_it(ledger: Ledger) -> None:
    folder = ledger.directory / "winners"
    folder.mkdir()
    for suffix in (".yaml", ".json"):
        (folder / f"w9-0099{suffix}").write_text("of an earlier front")
    cells = [[0, 0, 3], [0, 8, 1], [9, 9, 4]]
    write_json(ledger.folder / "0001" / "test.json", {"accuracy": 0.875, "test_images": 8, "confusion": cells})
    write_json(ledger.folder / "0002" / "test.json", {"accuracy": 0.25, "test_images": 8})  # of an earlier version
    own = ["best.yaml", "notes.md", "w1.yaml", "w1-0000.onnx", "plots/front.png"]
    for name in own:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text("the user's own")
    examiner = Told(**{"0000": 7.5, "0001": 7.5, "0002": 7.5})
    front = write_front(run_in(ledger.directory), examiner)
    assert front["winner"].tolist() == ["w1-0000", "w2-0001", "w3-0002"]
    made = [f"{name}{suffix}" for name in front["winner"] for suffix in (".yaml", ".safetensors", ".json")]
    assert sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()) == sorted([*made, *own])
    model = build(folder / "w2-0001.yaml", weights=True)
    genome = ledger.trials[1].job.genome
    assert model.genome.hash == genome.hash and genome.preprocess is None
    images = load("digits", validation=0.2, seed=0)
    assert model.genome.preprocess == images.preprocess  # the weights, as of an earlier version, do not say it
    assert model.genome.class_names == images.classes

    results = {name: json.loads((folder / f"{name}.json").read_text()) for name in front["winner"]}
    assert [found["trial"] for found in results.values()] == ["0000", "0001", "0002"]
    assert [found["accuracy_test"] for found in results.values()] == [0.25] * 3
    assert ["confusion" in found for found in results.values()] == [False, True, False]
    assert results["w2-0001"]["confusion"] == cells
    assert results["w2-0001"]["classes"][0] == {"class": "0", "images": 4, "accuracy": 0.75}
    assert results["w2-0001"]["classes"][5] == {"class": "5", "images": 0, "accuracy": None}

    written = pd.read_csv(ledger.directory / "front.csv", dtype={"trial": str})
    assert list(written.columns) == [*ledger.table().columns, "winner", "throughput_measured", *TEST, ROW_SEAL]
    assert written["throughput_measured"].tolist() == [7.5] * 3
    assert written["accuracy_test"].tolist() == [0.25] * 3
    assert written["accuracy"].tolist() == ACCURACY[:3]


class Interrupted(Told):
    def on_test(self, trials: list[str]) -> tuple[list[tuple[float, float]], DataError | None]:
        raise KeyboardInterrupt


def test_an_interrupt_while_winners_are_examined_leaves_a_front(ledger: Ledger) -> None:
    """And one that was examined before is not replaced by one that was not."""
    speeds, file = dict.fromkeys(["0000", "0001", "0002"], 7.5), ledger.directory / "front.csv"
    with pytest.raises(KeyboardInterrupt):
        write_front(run_in(ledger.directory), Interrupted(**speeds))
    written = pd.read_csv(file)
    assert written["winner"].tolist() == ["w1-0000", "w2-0001", "w3-0002"] and written[TEST].isna().all(axis=None)
    write_front(run_in(ledger.directory), Told(**speeds))
    examined = file.read_bytes()
    with pytest.raises(KeyboardInterrupt):
        write_front(run_in(ledger.directory), Interrupted(**speeds))
    assert file.read_bytes() == examined
    ledger.finish(ledger.add(None, seed=1, hash="", parameters={}), Outcome(state="failed"))  # of more trials
    with pytest.raises(KeyboardInterrupt):
        write_front(run_in(ledger.directory), Interrupted(**speeds))
    assert pd.read_csv(file)[TEST].isna().all(axis=None)


def test_a_winner_that_misses_the_throughput_budget_leaves_the_front(ledger: Ledger) -> None:
    examiner = Told(**{"0000": 99.0, "0001": 101.0, "0002": 50.0, "0003": 120.0})
    front = write_front(run_in(ledger.directory, {"throughput": 100.0}), examiner)
    assert front["trial"].tolist() == ["0001", "0003"], "the one that the third had dominated moves up"
    assert sorted(examiner.asked) == [(f"000{number}", 64) for number in range(4)], "each once"
    assert examiner.tested == ["0001", "0003"], "the test split is read for winners alone"


def test_any_budget_of_time_is_hard_by_the_stopwatch(ledger: Ledger) -> None:
    examiner = Told(**{"0000": 99.0, "0001": 101.0, "0002": 50.0, "0003": 120.0})
    front = write_front(run_in(ledger.directory, {"latency": 10.0}), examiner)
    assert front["trial"].tolist() == ["0001", "0003"]
    assert front["latency_measured"].tolist() == pytest.approx([1000 / 101, 1000 / 120])
    assert list(front.columns)[-5:] == ["winner", "throughput_measured", "latency_measured", *TEST]
    assert sorted(examiner.asked) == [(f"000{number}", size) for number in range(4) for size in (1, 64)]


def test_an_interrupted_run_has_a_front_without_measurements(ledger: Ledger) -> None:
    front = write_front(run_in(ledger.directory, {"throughput": 100.0}), None)
    assert len(front) == 3
    assert front["throughput_measured"].isna().all()
    assert front["accuracy_test"].isna().all()


def test_a_run_without_a_winner_has_an_empty_front(tmp_path: Path) -> None:
    front = write_front(run_in(tmp_path, None, "peak_memory"), Told())
    assert len(front) == 0
    assert len(pd.read_csv(tmp_path / "front.csv")) == 0


def test_weights_of_the_front_that_are_gone_come_back_from_its_winners(
    ledger: Ledger, caplog: pytest.LogCaptureFixture
) -> None:
    run = run_in(ledger.directory)
    write_front(run, None)
    first = ledger.folder / "0000" / "weights.safetensors"
    content = first.read_bytes()
    first.unlink()
    assert write_front(run, None)["trial"].tolist() == ["0000", "0001", "0002"]
    assert first.read_bytes() == content and not caplog.records
    first.unlink()
    (ledger.directory / "winners" / "w1-0000.safetensors").write_bytes(content[:-1] + b"x")
    assert write_front(run, None)["trial"].tolist() == ["0001", "0002"]
    (said,) = caplog.messages
    assert "0000/weights.safetensors: gone, of a trial on the front" in said and not first.exists()


def test_a_test_split_that_cannot_be_read_costs_no_front(ledger: Ledger) -> None:
    with pytest.raises(DataError, match="a damaged image"):
        write_front(run_in(ledger.directory), Unreadable(**{"0000": 7.5, "0001": 7.5, "0002": 7.5}))
    front = pd.read_csv(ledger.directory / "front.csv", dtype={"trial": str})
    assert front["trial"].tolist() == ["0000", "0001", "0002"]
    assert (front["throughput_measured"] == 7.5).all()
    assert front["accuracy_test"].isna().tolist() == [False, True, True]
    assert len(list((ledger.directory / "winners").glob("*.safetensors"))) == 3


def test_a_damaged_result_of_the_test_split_leaves_the_front_as_it_was(ledger: Ledger) -> None:
    run = run_in(ledger.directory)
    write_front(run, Told(**{"0000": 7.5, "0001": 7.5, "0002": 7.5}))
    before = {path.name: path.read_bytes() for path in sorted((ledger.directory / "winners").iterdir())}
    before["front.csv"] = (ledger.directory / "front.csv").read_bytes()
    (ledger.folder / "0001" / "test.json").write_text("{")
    with pytest.raises(RunError, match=r"0001/test\.json: "):
        write_front(run, None)
    for name, content in before.items():
        folder = ledger.directory if name == "front.csv" else ledger.directory / "winners"
        assert (folder / name).read_bytes() == content


def test_winners_of_another_run_are_not_written_through_a_link(ledger: Ledger, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (ledger.directory / "winners").symlink_to(other)
    with pytest.raises(RunError, match="a link, where the run writes"):
        write_front(run_in(ledger.directory), None)
    assert list(other.iterdir()) == []
