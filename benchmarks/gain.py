"""How true the estimated gain over random search is (nas/search/estimated_gain.py), on tables where the truth is known.

`SEEDS` searches with the default sampler on each table. The true gain: the share of the hypervolume that the search has
reached, over the mean share of `RANDOM` random searches of the same length.

    python -m benchmarks.gain
"""

from __future__ import annotations

import statistics

from benchmarks.samplers import VIEWS, table_of
from benchmarks.simulated import candidates, finished, scratch
from nas.engine import Ledger
from nas.search.budget import Budget
from nas.search.estimated_gain import estimated
from nas.search.gain import Gain
from nas.search.samplers import sampler_options

LENGTHS = {"replay": 24, "knobs": 40}
SEEDS, RANDOM = 10, 40


def searched(name: str, sampler: str, trials: int, seed: int) -> tuple[float, Gain | None]:
    """Share of the hypervolume that is reached, and the estimate of the gain."""
    table = table_of(name)
    objectives = VIEWS["hypervolume"]
    update = {"sampler": sampler_options(sampler), "objectives": objectives, "trials": trials, "seed": seed}
    spec = table.spec.model_copy(update=update)
    with scratch() as folder:
        ledger = Ledger(folder)
        source = candidates(spec, table.space, ledger, table.estimate)
        tried = [job.hash for job in finished(source, ledger, table.outcome)]
        gain = estimated(
            ledger, table.space, table.estimate, Budget(), list(objectives), epochs=spec.training.epochs, seed=seed
        )
    return table.share(tried), gain


def main() -> None:
    for name, trials in LENGTHS.items():
        chance = statistics.mean(searched(name, "random", trials, seed)[0] for seed in range(RANDOM))
        truths, gains = [], []
        for seed in range(SEEDS):
            share, gain = searched(name, "cost_aware", trials, seed)
            assert gain is not None and gain.low is not None and gain.high is not None
            truths.append(share / chance - 1)
            gains.append(gain)
        held = sum(gain.low <= truth <= gain.high for gain, truth in zip(gains, truths, strict=True))
        estimate = statistics.mean(gain.gain for gain in gains)
        true = f"true gain {statistics.mean(truths):.1%}"
        print(f"{name}, {trials} trials: {true}, estimated {estimate:.1%}; {held} of {SEEDS} intervals hold it")


if __name__ == "__main__":
    main()
