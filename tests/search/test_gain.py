"""The gain over random search: measured from a baseline, estimated where there is none, never without its label."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from benchmarks.replay import Replay
from benchmarks.simulated import candidates, finished
from nas.engine import Ledger
from nas.errors import RunError
from nas.metrics import estimator
from nas.search.budget import Budget
from nas.search.estimated_gain import estimated
from nas.search.gain import Gain, measured
from nas.search.samplers import sampler_options
from tests.search.simulation import Simulation
from tests.search.test_searcher import spec


def test_measured_it_is_the_ratio_of_the_last_hypervolumes() -> None:
    record = pd.DataFrame({"run": ["search"] * 2 + ["baseline"] * 3, "hypervolume": [0.3, 0.9, 0.1, 0.4, 0.6]})
    gain = measured(record)
    assert gain is not None and gain.gain == pytest.approx(0.5) and gain.trials == 3
    assert gain.sentence == "hypervolume: 50 % more than 3 random trials (measured: the baseline of this run)"
    assert measured(record[record["run"] == "search"]) is None


def test_estimated_it_holds_the_truth(tmp_path: Path) -> None:
    """On a table whose every genome was trained: searches against the mean of random ones."""
    replay = Replay()

    def searched(sampler: str, seed: int) -> tuple[float, Gain | None]:
        update = {"sampler": sampler_options(sampler), "trials": 24, "seed": seed}
        wanted = replay.spec.model_copy(update=update)
        ledger = Ledger(tmp_path / f"{sampler}-{seed}")
        source = candidates(wanted, replay.space, ledger, replay.estimate)
        tried = [job.hash for job in finished(source, ledger, replay.outcome)]
        found = estimated(ledger, replay.space, replay.estimate, Budget(), ["accuracy", "macs"], epochs=6, seed=seed)
        return replay.share(tried), found

    chance = np.mean([searched("random", seed)[0] for seed in range(8)])
    for seed in range(2):
        share, gain = searched("cost_aware", seed)
        assert gain is not None and gain.low is not None and gain.high is not None
        assert gain.low <= share / chance - 1 <= gain.high
        assert "an estimate" in gain.sentence and "24 random trials" in gain.sentence
    nothing = searched("random", 1)[1]
    assert nothing is not None and nothing.low is not None and nothing.high is not None
    assert nothing.low < 0 < nothing.high, "a random search gains nothing over random search"


def test_nothing_is_estimated_from_few_trials(tmp_path: Path) -> None:
    simulation = Simulation(spec(trials=5), tmp_path)
    ledger = simulation.run()
    assert estimated(ledger, simulation.space, estimator(), Budget(), ["accuracy", "macs"], epochs=3, seed=0) is None


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    Gain(0.1, -0.1, 0.2, "estimated", 24).write(tmp_path)
    assert Gain.read(tmp_path) == Gain(0.1, -0.1, 0.2, "estimated", 24)
    (tmp_path / "gain.json").write_text('{"gain": "much"}')
    with pytest.raises(RunError, match=r"gain.json: gain: damaged \(.*delete it"):
        Gain.read(tmp_path)
