"""A search without Ray: workers that finish in a seeded random order, and a driver that can be killed at any moment."""

from __future__ import annotations

from pathlib import Path
from random import Random
from typing import Any

from nas.engine import Event, Job, Ledger, Outcome, Signal
from nas.metrics import estimator
from nas.search import SearchSpec
from nas.search.samplers import make_sampler
from nas.search.schedulers import make_scheduler
from nas.search.searcher import Searcher
from nas.search.space import SearchSpace

LAVIT = """
base: lavit_digits
parameters:
  stages.0.split: {int: [1, 3]}
  stages.1.split: {int: [1, 4]}
  loss.diagonal.variant: {choice: [off, hinge, flipped]}
  loss.diagonal.weight: {float: [1.0e-4, 1.0e-1], log: true, when: {loss.diagonal.variant: [hinge, flipped]}}
"""


estimate = estimator()


def accuracy(job: Job) -> float:
    """A smooth objective with some noise that depends on the trial's seed alone."""
    genome = job.genome
    depth = sum(stage.split or 0 for stage in genome.stages)
    return 0.9 - 0.02 * (depth - 4) ** 2 + Random(job.seed).random() / 50


class Killed(Exception):  # noqa: N818
    """The driver is gone."""


class Simulation:
    """`run` searches until the end, or until `kill_after` steps; a new simulation in the same directory resumes."""

    def __init__(
        self, spec: SearchSpec, directory: Path, *, workers: int = 2, order: int = 0, fail: Any = (), lag: int = 4
    ):
        self.spec, self.workers, self.rng, self.fail = spec, workers, Random(order), fail
        self.ledger = Ledger(directory)
        self.events: list[Event] = []
        base = spec.genome()
        self.space = SearchSpace(base, spec.expanded())
        few = {key: 4 for key in ("population", "startup") if hasattr(spec.sampler, key)}
        sampler = spec.sampler.model_copy(update=few)
        self.candidates = Searcher(
            self.space,
            spec.budget,
            estimator(spec.costs),
            make_sampler(sampler, self.space, list(spec.objectives), seed=spec.seed),
            make_scheduler(spec.scheduler, spec.training.epochs),
            self.ledger,
            objectives=list(spec.objectives),
            trials=spec.trials,
            seed=spec.seed,
            lag=lag,
            on_event=self.events.append,
            repeat=spec.repeat,
        )

    def run(self, kill_after: int | None = None) -> Ledger:
        waiting = self.candidates.unfinished()
        live: list[Job] = []
        steps, done = 0, False
        while not done or live:
            while not done and len(live) < self.workers:
                answer = waiting.pop(0) if waiting else self.candidates.next()
                if isinstance(answer, Job):
                    live.append(answer)
                    continue
                done = answer is Signal.DONE
                break
            steps += 1
            if kill_after is not None and steps > kill_after:
                raise Killed
            if live:
                self._end(live.pop(self.rng.randrange(len(live))))
        return self.ledger

    def _end(self, job: Job) -> None:
        if job.number in self.fail:
            outcome = Outcome.of(job, "failed", reason="told to")
        elif job.until is not None:
            outcome = Outcome.of(job, "paused", accuracy=accuracy(job) * (1 - 0.5**job.until), epochs=job.until)
            outcome.write(job.directory)
        else:
            outcome = Outcome.of(job, "complete", accuracy=accuracy(job), epochs=self.spec.training.epochs)
        if outcome.state != "paused":
            self.ledger.finish(job, outcome)
        self.candidates.tell(job, outcome)


def killed_and_resumed(spec: SearchSpec, directory: Path, *, steps: int) -> tuple[Ledger, int]:
    """A search whose driver is killed within `steps` steps, again and again until it is done; and how many times."""
    rng = Random(0)
    for kills in range(100):
        try:
            return Simulation(spec, directory, order=kills, fail={3}).run(kill_after=rng.randrange(steps)), kills
        except Killed:
            continue
    raise AssertionError("the search makes no progress")


def sequence(ledger: Ledger) -> list[tuple[Any, ...]]:
    """What a search did, without when it did it."""
    found = []
    for job, outcome in ((trial.job, trial.outcome) for trial in ledger.trials):
        assert outcome is not None
        found.append((job.hash, job.seed, job.parameters, job.note, outcome.state, outcome.accuracy, outcome.reason))
    return found
