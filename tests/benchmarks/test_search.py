"""The benchmarks of searches: the table is whole, the replay is judged rightly, rows are complete. No timings."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from benchmarks import emulated, epochs, fidelity, large_run, overhead, pareto, replay, samplers, scale, table
from benchmarks.machine import Setting, described
from nas.engine import Job, Ledger, Outcome
from nas.search.pareto import non_dominated as pareto_of

TINY = Setting(threads=1)


@pytest.fixture(scope="module", params=["replay", "interacting"])
def kept(request: pytest.FixtureRequest) -> replay.Replay:
    return replay.Replay(request.param)


def test_the_table_holds_the_whole_space(kept: replay.Replay) -> None:
    assert {kept.space.genome(assignment).hash for assignment in kept.space.every()} == set(kept.hashes)
    assert replay.TABLE.stat().st_size < 100_000


def test_its_genomes_differ_more_than_its_seeds_do(kept: replay.Replay) -> None:
    assert kept.spread["genomes"] > kept.spread["seeds"]


def test_who_tried_everything_regrets_nothing(kept: replay.Replay) -> None:
    assert kept.regret(kept.hashes) == 0.0
    assert kept.share(kept.hashes) == pytest.approx(1.0)
    assert kept.regret(kept.hashes[:1]) >= 0.0
    assert 0.0 < kept.share(kept.hashes[:1]) < 1.0


@pytest.mark.parametrize(("name", "additive"), [("replay", True), ("interacting", False)])
def test_whether_effects_add_up(name: str, additive: bool) -> None:
    """R² of the model without interactions, of the means of three seeds."""
    table = pd.read_csv(replay.FOLDER / f"{name}.csv")
    values = pd.DataFrame([{k: json.dumps(v) for k, v in json.loads(text).items()} for text in table["parameters"]])
    features_ND = np.column_stack([np.ones(len(table)), pd.get_dummies(values).to_numpy(float)])
    mean_N = table[[f"accuracy_{seed}" for seed in replay.SEEDS]].to_numpy().mean(1)
    residual_N = mean_N - features_ND @ np.linalg.lstsq(features_ND, mean_N)[0]
    assert (1 - residual_N.var() / mean_N.var() > 0.8) == additive


@pytest.mark.parametrize("name", ["large", "knobs"])
def test_a_fitted_table_ranks_trials_that_it_has_not_seen(name: str) -> None:
    table = emulated.Emulated(name)
    assert table.tau > 0.2
    assignment = table.space.of_base()
    assert assignment is not None
    jobs = [Job(n, seed=n, hash=name, parameters=assignment, costs=table.estimate(table.space.base)) for n in range(40)]
    found = [table.outcome(job).accuracy or 0.0 for job in jobs]
    assert np.std(found) == pytest.approx(emulated.NOISE, rel=0.4)
    assert np.mean(found) == pytest.approx(float(table.accuracy([assignment])[0]), abs=0.01)
    assert table.regret([name]) > 0 and 0 < table.share([name]) < 1
    assert pareto_of(table._best_F2).all()


def test_a_search_gets_better_until_it_has_all() -> None:
    everything = len(replay.Replay().hashes)
    shares = samplers.searched("hypervolume", "random", (10, 30, everything), 0)
    assert shares == sorted(shares) and shares[-1] == pytest.approx(1.0)
    assert samplers.searched("regret", "random", (5, everything), 0)[-1] == 0.0


@pytest.mark.parametrize("sampler", ["tpe", "nsga2", "cost_aware", "qmc"])
def test_every_sampler_can_be_replayed(sampler: str) -> None:
    regrets = samplers.searched("regret", sampler, (4, 14), 0)
    assert regrets == sorted(regrets, reverse=True) and regrets[-1] >= 0.0


def test_a_search_is_decided_by_its_seed() -> None:
    first, again, other = (samplers.searched("hypervolume", "random", (8, 16), seed) for seed in (1, 1, 2))
    assert first == again != other


def test_claims_are_met_by_intervals() -> None:
    above = samplers.interval(np.array([1.0, 1.2, 0.9, 1.1]))
    assert above["value"] == pytest.approx(1.05)
    assert above["low"] < above["value"] < above["high"]
    assert samplers._row("tpe", False, above)["met"] and not samplers._row("tpe", True, above)["met"]


def test_epochs_end_with_what_the_table_has() -> None:
    table, ends = epochs.Epochs("interacting"), replay.Replay("interacting")
    assert table.accuracy_GSE.shape == (64, 3, 12)
    np.testing.assert_allclose(table.accuracy_GSE[:, :, -1].mean(1), ends._mean, atol=1e-6)
    assert table.tau(12) == 1.0 and table.tau(1) < table.tau(6) < table.tau(11) < 1.0
    assert table.share(ends.hashes) == pytest.approx(1.0)


@pytest.mark.parametrize("schedule", ["full", "4/3"])
def test_stopping_early_is_paid_by_the_epoch(schedule: str) -> None:
    shares = fidelity.searched("interacting", "random", schedule, 0)
    assert len(shares) == fidelity.MARKS[-1] and shares == sorted(shares) and shares[-1] <= 1.0
    if schedule == "full":
        assert shares[9] == samplers.searched("hypervolume", "random", (10,), 0, name="interacting")[0]


def test_epochs_that_are_needed_are_a_share() -> None:
    full = np.linspace(0, 39, 40)[None].repeat(5, 0)
    assert fidelity._epochs_needed(full, full) == 1.0
    assert fidelity._epochs_needed(full + 10, full) == 0.5
    assert fidelity._epochs_needed(full * 0, full) == 2.0, "never"


def test_every_claim_is_a_row() -> None:
    rng = np.random.default_rng(0)
    figures = {
        name: rng.normal(90 + 5 * (name == "cost_aware"), 1, (30, 4)) for name in ("random", "tpe", "cost_aware")
    }
    found = samplers.result("interacting", "hypervolume", figures, samplers.MARKS)
    assert [curve["what"] for curve in found["curves"]] == list(figures)
    rows = [(row["what"].split(",")[0], row["at"], row["met"]) for row in found["rows"]]
    assert rows[0][:2] == ("tpe less random", "interacting, 40 trials")
    claims = [
        (f"cost_aware less {other}", f"interacting, {mark} trials", True)
        for other in ("random", "tpe")
        for mark in (20, 40)
    ]
    assert rows[1:] == claims


def test_runs_are_joined_by_genome(tmp_path: Path) -> None:
    for seed, order in enumerate((["a", "b"], ["b", "a"], ["a", "b"])):
        ledger = Ledger(tmp_path / f"seed{seed}")
        for name in order:
            job = ledger.add(None, seed=0, hash=name, parameters={"x": name}, costs={"macs": 1, "params": 2})
            ledger.finish(job, Outcome.of(job, "complete", accuracy=0.1 * seed + 0.001 * ord(name)))
    runs = [tmp_path / f"seed{seed}" for seed in range(3)]
    replay.join(runs, tmp_path / "joined.csv")
    lines = (tmp_path / "joined.csv").read_text().splitlines()
    assert lines[0] == "hash,parameters,macs,params,accuracy_0,accuracy_1,accuracy_2"
    assert lines[2] == 'b,"{""x"": ""b""}",1,2,0.098000,0.198000,0.298000'
    Outcome("failed").write(runs[0] / "trials" / "0000")
    with pytest.raises(ValueError, match="seed1"):
        replay.join(runs, tmp_path / "joined.csv")


def test_slopes() -> None:
    quadratic = [{"trials": n, "seconds": 1e-3 * n**2} for n in (10, 100, 1000)]
    assert scale.slope(quadratic) == pytest.approx(2.0)


def test_starting_up_does_not_count() -> None:
    assert overhead.per_trial([104.0, 102.0, 103.0]) == pytest.approx(1.0)


def test_pages_show_curves(tmp_path: Path) -> None:
    points = scale.searched("nsga2", 12)
    assert [point["trials"] for point in points] == [12] and points[0]["seconds"] > points[0]["suggestion"] > 0
    results = [
        scale.result(
            {
                name: [{"trials": n, "suggestions": n, "seconds": n, "suggestion": 1, "bytes": n} for n in (100, 1000)]
                for name in ("random", "cost_aware")
            }
        )
    ]
    assert results[0]["rows"][0]["ratio"]["value"] == pytest.approx(1.0) and results[0]["rows"][0]["met"]
    assert results[0]["rows"][-1]["at"] == "1,000 trials" and results[0]["rows"][-1]["met"] is False, "a second is long"
    file = {"group": "search_scale", "setting": TINY.label, "machine": described(TINY), "results": results}
    (tmp_path / "cpu-float32-search_scale.json").write_text(json.dumps(file))
    table.write(tmp_path, tmp_path / "page.md")
    page = (tmp_path / "page.md").read_text()
    assert "| random, ms a suggestion |" in page and "| 100 trials |" in page


def test_every_step_of_a_large_run_is_measured(tmp_path: Path) -> None:
    run = tmp_path / "run"
    large_run.make(run, 12)
    large_run.study(run)
    large_run.resume(run)
    figures = large_run._in_python(large_run._REPORT, str(run))
    assert figures[0] > 0 and figures[1] > 1e6 and (run / "report.html").exists()
    rounds = {"report": [figures], "resume": [[9, 2e9, 1e6], [11, 2e9, 1e6], [9.5, 2e9, 1e6]]}
    rounds |= {"study": [[1, 2e8, 1e6]], "driver": [[9, 9e8, 6e8]]}
    rows = large_run.rows(rounds, 12)
    assert [row["what"] for row in rows[:3]] == ["report, CPU seconds", "report, MB", "resume, CPU seconds"]
    assert [row["met"] for row in rows[2:5]] == [True, False, True]  # the median counts
    assert [row["met"] for row in rows[-3:]] == [None, True, None]
    assert len(Ledger(run).trials) == 12  # and none that the resumed search issued


def test_a_job_of_the_replay_finds_what_was_found() -> None:
    kept = replay.Replay()
    job = Job(number=0, seed=5, hash=kept.hashes[0], parameters={})
    row = replay.TABLE.read_text().splitlines()[1].split(",")
    assert f"{kept.outcome(job).accuracy:.6f}" in row[-3:]


def test_pareto_arithmetic_is_compared_on_equal_answers() -> None:
    points_NM = np.random.default_rng(0).integers(0, 9, (40, 3)).astype(float)
    for ours, theirs in pareto._pairs(points_NM).values():
        np.testing.assert_allclose(ours(), theirs())
    assert pareto._updated(points_NM)() == pareto._anew(points_NM)()
    results = pareto.run(Setting(threads=1, seconds=0.01, least=2), sizes=((20, 4),), arriving=20)
    assert [len(result["rows"]) for result in results] == [3, 2]
    assert all(row["ratio"]["value"] > 0 for result in results for row in result["rows"])
