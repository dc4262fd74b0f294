"""Weight retention: only genomes on or near the front keep their weights. A trial's other files are all kept.

A search of ten thousand trials would fill a disk with weights that nobody loads. A genome's weights are removed once it
is no longer on one of the first fronts (`near_front`, pareto.py). It could return to the front only if all genomes
ahead of it left, and a genome leaves the front only if its measured throughput misses the budget. `keep: all` in a
space keeps all weights.
"""

from __future__ import annotations

import numpy as np

from nas.engine import Event, Ledger
from nas.search.pareto import costs_of, near_front


class WeightRetention:
    """An `on_event` that removes weights as trials end, and first those left by an earlier session.

    repeat: trainings per genome. Genomes are ranked by the mean; the weights of the first training are kept.
    """

    def __init__(self, ledger: Ledger, objectives: list[str], *, repeat: int):
        self.ledger, self.objectives, self.repeat = ledger, objectives, repeat
        self._first: dict[str, int] = {}  # first complete trial of each genome
        self._costs: dict[str, list[np.ndarray]] = {}  # of each genome with fewer than `repeat` trainings
        self._near: dict[str, np.ndarray] = {}  # mean costs of the genomes near the front
        for trial in ledger.trials:
            self._add(trial.job.number)

    def __call__(self, event: Event) -> None:
        if event.kind == "ended":
            self._add(int(event.trial))

    def _add(self, number: int) -> None:
        trial = self.ledger.trial(number)
        if trial.outcome is None or trial.outcome.state != "complete":
            return
        genome = trial.job.hash
        if genome in self._first:
            self._remove(max(number, self._first[genome]))
        self._first[genome] = min(number, self._first.get(genome, number))
        trainings = self._costs.setdefault(genome, [])
        trainings.append(costs_of(trial.outcome, self.objectives))
        if len(trainings) < self.repeat:
            return
        self._near[genome] = np.mean(self._costs.pop(genome), axis=0)
        near_N = near_front(np.stack(list(self._near.values())))
        for name in [name for name, near in zip(self._near, near_N, strict=True) if not near]:
            del self._near[name]
            self._remove(self._first[name])

    def _remove(self, number: int) -> None:
        self.ledger.remove(self.ledger.trial(number).job, "weights.safetensors")
