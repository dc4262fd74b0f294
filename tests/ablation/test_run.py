"""A small ablation for real: cells, resume, reuse across tables, and the table in its four formats."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import nas
from nas.ablation import ablate, cells_of, parse_ablation, timing
from nas.ablation.run import Cells
from nas.ablation.timing import SPEED, read_speed
from nas.data import load
from nas.engine import Job, Ledger, Outcome, Pool, Signal
from nas.engine.digests import TRIAL_SEAL, seal_of
from nas.errors import GenomeError, RunError
from nas.files import write_sealed
from nas.profiling import Throughput, deployed_graph
from nas.report.ablation import write_table
from nas.train import evaluate
from tests.report.described import undescribed, unsealed

SPEC: dict[str, Any] = {
    "name": "small",
    "claim": "Local convolutions help & cost little",
    "base": {
        "image": {"size": 8, "channels": 1},
        "classes": 10,
        "stages": [{"patch": 4, "width": 16, "heads": 2, "mlp_ratio": 1.0, "depth": 1}],
    },
    "factors": {"local": {"no": {}, "yes": {"stages.0.local": "depthwise"}}},
    "seeds": 2,
    "training": {"epochs": 1},
    "workers": {"count": 1},  # which takes longer to start than to train
}


def test_an_ablation_from_its_arms_to_its_table(pool: Pool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timing, "SECONDS_PER_GRAPH", 0.1)
    first = tmp_path / "first"
    cells = ablate(parse_ablation(SPEC), first)
    assert len(cells) == 4 and set(cells["state"]) == {"complete"}
    assert cells.groupby("arm")["seed"].apply(list).map(tuple).nunique() == 1  # the same seeds in every arm
    cell = cells.iloc[0]
    model = nas.build(first / "trials" / cell["trial"] / "genome.yaml", weights=True)
    assert evaluate(model, load("digits", size=8).test) == cell["accuracy"]
    assert cell["test_images"] == len(load("digits").test)

    # again: nothing is trained; an added seed trains its two cells alone
    before = {p: p.stat().st_mtime_ns for p in first.glob("trials/*/result.json")}
    again = ablate(parse_ablation(SPEC | {"seeds": 3}), first)
    assert len(again) == 6
    assert all(p.stat().st_mtime_ns == time for p, time in before.items())

    # another table with an equal cell takes it from the first
    other = parse_ablation(SPEC | {"name": "other", "factors": {}, "arms": {"plain": {}}})
    second = ablate(other, tmp_path / "second")
    plain = again[again["arm"] == "none"].set_index("seed")["accuracy"]
    assert second.set_index("seed")["accuracy"].to_dict() == plain.loc[list(second["seed"])].to_dict()
    job = json.loads((tmp_path / "second" / "trials" / "0000" / "trial.json").read_text())
    assert not (tmp_path / "second" / "trials" / "0000" / "checkpoint.pt").exists() and job["note"]["cell"]

    with pytest.raises(RunError, match=r"training\.epochs"):
        ablate(parse_ablation(SPEC | {"training": {"epochs": 2}}), first)

    csv, markdown, latex, html = (path.read_text() for path in write_table(first))
    assert len(csv.splitlines()) == 7
    assert undescribed(first) == unsealed(first) == []
    assert "3 planned" in markdown and markdown.count("(3)") == 2, "of the run as it is now, not as it began"
    assert "| arm | local | params" in markdown and "✓" in markdown and "baseline" in markdown
    assert "2.1" in markdown or "points" in markdown
    assert "\\toprule" in latex and "\\checkmark" in latex and "help \\& cost" in latex
    assert "help &amp; cost" in html and html.count("<tr>") == 3
    assert np.isclose(cells_of(first)["accuracy"].mean(), again["accuracy"].mean())


def test_a_speed_of_another_trial_is_named(tmp_path: Path) -> None:
    ledger, genome = Ledger(tmp_path), nas.load_genome("lavit_digits")
    jobs = [ledger.add(genome, seed=seed, hash=genome.hash, parameters={}, costs={}, note={}) for seed in (1, 2)]
    speed = Throughput(100.0, 0.6, 64, 9, "cpu", "float32", 1, False, 1.1).as_dict()
    for job in jobs:
        write_sealed(job.directory / SPEED, speed | {TRIAL_SEAL: seal_of(job.directory)})
    assert read_speed(jobs[0].directory)["images_per_second"] == 100
    shutil.copyfile(jobs[1].directory / SPEED, jobs[0].directory / SPEED)
    with pytest.raises(RunError, match=r"0000/speed\.json: it is of another trial; delete it"):
        read_speed(jobs[0].directory)


def test_equal_graphs_are_timed_once_and_a_disturbed_session_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sessions: list[int] = []

    def stopwatch(models: Any, **_: Any) -> list[Throughput]:
        sessions.append(len(list(models)))
        spread = 2.0 if len(sessions) == 1 else 1.1
        return [Throughput(100.0 + i, 0.6, 64, 9, "cpu", "float32", 1, False, spread) for i in range(sessions[-1])]

    monkeypatch.setattr(timing, "throughputs", stopwatch)
    plain = nas.load_genome("castling_digits").edit({"stages.*.auxiliary": None})
    masked, lossy = nas.load_genome("castling_digits"), plain.edit({"drop_path": 0.1})
    other = plain.edit({"stages.*.core": "softmax", "stages.*.local": None})
    assert deployed_graph(plain) == deployed_graph(masked) == deployed_graph(lossy) != deployed_graph(other)

    ledger = Ledger(tmp_path)
    arms = {"plain": plain, "masked": masked, "other": other, "lossy": lossy}
    for arm, genome in arms.items():
        job = ledger.add(genome, seed=1, hash=genome.hash, parameters={"arm": arm}, costs={}, note={"arm": arm})
        (job.directory / "metrics.csv").write_text("epoch,accuracy\n1,0.5\n")
        ledger.finish(job, Outcome.of(job, "complete", accuracy=0.5, epochs=1))
    done = [trial.job for trial in ledger.trials]
    told: list[str] = []
    for _ in range(3):
        timing.time_arms(ledger, done, "cpu", lambda event: told.append(event.data["text"]))
    assert sessions == [2, 2], "again after the disturbed session, and then no more"
    assert "2 deployed graphs of 4 arms" in told[0] and "the table leaves them out" in told[1] and len(told) == 3
    assert cells_of(tmp_path)["images_per_second"].tolist() == [100.0, 100.0, 101.0, 100.0]


def test_a_teacher_that_does_not_fit_ends_it_before_anything_is_written(tmp_path: Path) -> None:
    teacher = {"genome": "lavit_digits", "weights": str(tmp_path / "nowhere.safetensors")}
    with pytest.raises(GenomeError, match=r"training\.teacher: weights cannot be read"):
        ablate(parse_ablation(SPEC | {"training": {"epochs": 1, "teacher": teacher}}), tmp_path / "run")
    assert list(tmp_path.iterdir()) == []


def test_a_run_of_something_else_has_no_table(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="not the run of an ablation"):
        write_table(tmp_path)


@pytest.mark.parametrize("name", ["nothing", "weights.safetensors", "test.json"])
def test_a_cell_of_which_a_file_has_changed_is_not_taken(tmp_path: Path, name: str) -> None:
    table = parse_ablation(SPEC | {"seeds": 1, "factors": {}, "arms": {"plain": {}}})
    arms = table.arms_of(table.genome())
    first = Ledger(tmp_path / "first")
    job = Cells(table, arms, first, "images", None).next()
    assert isinstance(job, Job)
    (job.directory / "weights.safetensors").write_bytes(b"weights")
    write_sealed(job.directory / "test.json", {"accuracy": 0.5, "test_images": 8})
    first.finish(job, Outcome.of(job, "complete", accuracy=0.5, epochs=1))
    if name != "nothing":
        file = job.directory / name
        file.write_bytes(file.read_bytes().replace(b"weights", b"others").replace(b"8", b"9"))
    taken = Cells(table, arms, Ledger(tmp_path / "second"), "images", None).next() is Signal.DONE
    assert taken == (name == "nothing")
    assert isinstance(Cells(table, arms, Ledger(tmp_path / "third"), "others", None).next(), Job)


def test_a_cell_whose_directory_was_deleted_comes_back_in_its_place(tmp_path: Path) -> None:
    table = parse_ablation(SPEC)
    arms = table.arms_of(table.genome())
    ledger = Ledger(tmp_path)
    cells = Cells(table, arms, ledger, "images", None)
    jobs = [cells.next() for _ in range(4)]
    assert cells.next() is Signal.DONE
    for number in (1, 2):
        shutil.rmtree(tmp_path / "trials" / f"{number:04d}")
    again = Cells(table, arms, Ledger(tmp_path), "images", None)
    made = [again.next() for _ in range(2)]
    assert again.next() is Signal.DONE
    assert [(job.id, job.seed, job.note) for job in made] == [(job.id, job.seed, job.note) for job in jobs[1:3]]
