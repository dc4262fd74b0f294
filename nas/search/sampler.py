"""Samplers by name: which assignment to try next, given what became of the earlier ones.

Two kinds. *Plans* (random, qmc, grid) do not look at outcomes: suggestion number `draw` is a function of the seed.
*Adaptive* ones (tpe, nsga2, nsga3, gp) are Optuna's, through ask and tell on a study in memory; each ask gets a fresh
sampler whose seed is derived from `draw`. So a search continues after a resume as if nothing had happened: its trials
are adopted in order from the ledger, and the next suggestion is the one that would have come.

What Optuna is told (traps in Optuna 5 that this file walks around):
- A refused trial has never been trained. Its constraint value is positive, and it is COMPLETE with the mean of what is
  known in place of values it does not have, because nsga and gp look at COMPLETE trials alone; violations, not values,
  decide how they rank it. TPE sorts it behind all feasible ones.
- A failed trial is FAIL, a pruned one PRUNED: never COMPLETE with the accuracy of an early epoch.
- The genetic samplers keep the generation of a trial in its attributes, set when it is asked for. Adopting therefore
  asks as well, with the trial's own draw, and overrides the answer.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from itertools import islice
from random import Random
from typing import TYPE_CHECKING, Any, Protocol

from nas.engine import Outcome
from nas.metrics import METRICS
from nas.search.parameter import Parameter, Value, label
from nas.search.space import Assignment, SearchSpace
from nas.search.spec import SamplerSpec
from nas.seeds import derive

if TYPE_CHECKING:
    import optuna


class Sampler(Protocol):
    """`ask`, then either `accept` (it is trial `number` now) or nothing; later `tell` what became of it.

    margin: the largest relative budget violation, known when a trial is accepted; positive for a refused one.
    """

    adaptive: bool
    ends: bool  # whether `ask` goes through the space and answers None at the end

    def ask(self, draw: int) -> Assignment | None: ...

    def accept(self, number: int, assignment: Assignment, draw: int, margin: float) -> None: ...

    def tell(self, number: int, outcome: Outcome) -> None: ...


def make_sampler(spec: SamplerSpec, space: SearchSpace, objectives: list[str], *, seed: int) -> Sampler:
    """The sampler that a space names."""
    if spec.name in ("random", "qmc", "grid"):
        return Plan(spec.name, space, seed=seed)
    return Adaptive(spec, space, objectives, seed=seed)


class Plan:
    """Suggestions that do not depend on outcomes.

    random: independent draws. qmc: a scrambled Sobol sequence, one dimension a parameter, which fills the space more
    evenly. grid: every assignment once, in order; `ask` answers None when there is none left.
    """

    adaptive = False

    def __init__(self, name: str, space: SearchSpace, *, seed: int):
        self.name, self.space, self.seed = name, space, seed
        self.ends = name == "grid"
        self._grid: Iterator[Assignment] = space.every()
        self._position = 0  # of the grid's iterator, or of the Sobol engine
        if name == "qmc":
            from scipy.stats.qmc import Sobol

            self._sobol = Sobol(len(space.parameters), rng=derive(seed, "qmc"))

    def ask(self, draw: int) -> Assignment | None:
        if self.name == "random":
            return self.space.draw(Random(derive(self.seed, "suggest", draw)))
        skip, self._position = draw - self._position, draw + 1
        if self.name == "grid":
            return next(islice(self._grid, skip, None), None)
        if skip:
            self._sobol.fast_forward(skip)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Sobol prefers powers of two; a search takes one point at a time
            point = self._sobol.random(1)[0]
        numbers = dict(zip((p.path for p in self.space.parameters), point, strict=True))
        return self.space.assign(lambda parameter: parameter.at(numbers[parameter.path]))

    def accept(self, number: int, assignment: Assignment, draw: int, margin: float) -> None:
        """A plan needs no memory."""

    def tell(self, number: int, outcome: Outcome) -> None:
        """Nor does it learn."""


class Adaptive:
    """Optuna's samplers. Suggestions depend on what was told, and on nothing else but the seed."""

    adaptive = True
    ends = False

    def __init__(self, spec: SamplerSpec, space: SearchSpace, objectives: list[str], *, seed: int):
        import optuna

        from nas.search.generations import Memory

        self.spec, self.space, self.objectives, self.seed = spec, space, objectives, seed
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        unconditional = [parameter for parameter in space.parameters if not parameter.conditions]
        found = {parameter.path: _distribution(parameter) for parameter in sorted(unconditional, key=lambda p: p.path)}
        self._memory = Memory({path: distribution for path, distribution in found.items() if not distribution.single()})
        self.study = optuna.create_study(
            directions=["maximize" if METRICS[name].direction == "max" else "minimize" for name in objectives],
            sampler=self._sampler(0),
        )
        self._asked: optuna.Trial | None = None
        self._trials: dict[int, optuna.Trial] = {}
        self._sums, self._complete = dict.fromkeys(objectives, 0.0), 0

    @property
    def _genetic(self) -> bool:
        return self.spec.name in ("nsga2", "nsga3")

    def ask(self, draw: int) -> Assignment:
        self._forget()
        self.study.sampler = self._sampler(draw)
        self._asked = asked = self.study.ask()
        return self.space.assign(lambda parameter: _suggest(asked, parameter))

    def accept(self, number: int, assignment: Assignment, draw: int, margin: float) -> None:
        if self._asked is None or self._asked.params != _seen_all(self.space, assignment):
            self._adopt(assignment, draw)
        assert self._asked is not None
        self._asked.set_constraint("budget", margin)
        self._trials[number], self._asked = self._asked, None

    def tell(self, number: int, outcome: Outcome) -> None:
        import optuna

        trial = self._trials.pop(number)
        if outcome.state in ("failed", "pruned"):
            state = optuna.trial.TrialState.FAIL if outcome.state == "failed" else optuna.trial.TrialState.PRUNED
            self.study.tell(trial, state=state)
            return
        values: list[Any] = [outcome.value(name) for name in self.objectives]
        if outcome.state == "complete":
            self._complete += 1
            for name, value in zip(self.objectives, values, strict=True):
                self._sums[name] += value
        means = [self._sums[name] / max(1, self._complete) for name in self.objectives]
        told = [mean if value is None else value for mean, value in zip(means, values, strict=True)]
        ended = self.study.tell(trial, told)
        if self._genetic:
            self._memory.add(ended)

    def _adopt(self, assignment: Assignment, draw: int) -> None:
        """Put an assignment into the study that did not come from `ask`, or came in an earlier process."""
        import optuna

        self._forget()
        self.study.enqueue_trial(_seen_all(self.space, assignment))
        self.study.sampler = self._sampler(draw) if self._genetic else optuna.samplers.RandomSampler(seed=0)
        self._asked = asked = self.study.ask()
        if self._genetic:
            _ = asked.relative_params  # computed on first sight, and with it the trial's generation
        self.space.assign(lambda parameter: _suggest(asked, parameter))

    def _forget(self) -> None:
        """What was asked for and not accepted leaves no trace: samplers do not look at FAIL trials."""
        import optuna

        if self._asked is not None:
            self.study.tell(self._asked, state=optuna.trial.TrialState.FAIL)
            self._asked = None

    def _sampler(self, draw: int) -> optuna.samplers.BaseSampler:
        from optuna import samplers

        from nas.search.generations import genetic

        seed, spec = derive(self.seed, "suggest", draw), self.spec
        if spec.name == "tpe":
            return samplers.TPESampler(seed=seed, n_startup_trials=spec.startup)
        if spec.name == "gp":
            return samplers.GPSampler(seed=seed, n_startup_trials=spec.startup, warn_independent_sampling=False)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # NSGA-III calls itself experimental
            return genetic(spec.name, self._memory, population=spec.population or 50, seed=seed)


def _distribution(parameter: Parameter) -> Any:
    """A parameter as Optuna knows it: choices by their text (they may be mappings), stepped numbers by their place."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if parameter.values is None:
        return FloatDistribution(parameter.low, parameter.high, log=parameter.log)
    if not parameter.numeric:
        return CategoricalDistribution([label(value) for value in parameter.values])
    if parameter.log:
        return IntDistribution(int(parameter.low), int(parameter.high), log=True)
    return IntDistribution(0, len(parameter.values) - 1)


def _suggest(trial: optuna.Trial, parameter: Parameter) -> Value:
    """Optuna's value of a parameter, as a value of ours."""
    distribution = _distribution(parameter)
    seen: Any
    if parameter.values is None:
        return trial.suggest_float(parameter.path, distribution.low, distribution.high, log=distribution.log)
    if not parameter.numeric:
        seen = trial.suggest_categorical(parameter.path, distribution.choices)
    else:
        seen = trial.suggest_int(parameter.path, distribution.low, distribution.high, log=distribution.log)
    return next(value for value in parameter.values if _seen(parameter, value) == seen)


def _seen(parameter: Parameter, value: Value) -> Any:
    """A value of ours, as Optuna's."""
    if parameter.values is None or (parameter.numeric and parameter.log):
        return value
    return parameter.values.index(value) if parameter.numeric else label(value)


def _seen_all(space: SearchSpace, assignment: Assignment) -> dict[str, Any]:
    return {p.path: _seen(p, assignment[p.path]) for p in space.parameters if p.path in assignment}
