"""Base class of the samplers that wrap Optuna's: ask and tell on a study in memory.

Every ask uses a fresh Optuna sampler whose seed is derived from `draw`. The study's trials are thus the only state
between suggestions, and a resumed search rebuilds the study from its ledger.

How trials are reported to the study (partly dictated by Optuna 5):
- A refused trial was never trained, but NSGA and GP only use COMPLETE trials. It is therefore COMPLETE, with a positive
  constraint and the means of the known values in place of missing ones. NSGA and GP rank infeasible trials by the
  constraint, not by these values; TPE sorts them after all feasible ones.
- A failed trial is FAIL and a pruned one is PRUNED, never COMPLETE with the accuracy of an early epoch.
- A trial that the sampler did not suggest is added with its parameters (`_adopt`). NSGA stores a trial's generation in
  its attributes on `ask`, and therefore asks for these as well, with their own draw (nsga.py).
"""

from __future__ import annotations

import logging
import sys
from abc import abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from nas.engine import Outcome
from nas.metrics import METRICS
from nas.search.parameter import Parameter, Value, label
from nas.search.samplers.base import Sampler, SamplerOptions
from nas.search.space import Assignment, SearchSpace
from nas.seeds import derive

if TYPE_CHECKING:
    import optuna


@contextmanager
def verbosity_kept() -> Iterator[None]:
    """Optuna is as talkative as before at the end of the block, in which it may be imported and quietened."""
    loaded = sys.modules.get("optuna")
    before = loaded.logging.get_verbosity() if loaded else logging.INFO  # what it begins with
    try:
        yield
    finally:
        if "optuna" in sys.modules:
            sys.modules["optuna"].logging.set_verbosity(before)


class OptunaSampler(Sampler):
    """Wraps an Optuna sampler, which subclasses provide (`optuna_sampler`)."""

    adaptive = True

    def __init__(self, options: SamplerOptions, space: SearchSpace, objectives: list[str], *, seed: int):
        import optuna

        super().__init__(options, space, objectives, seed=seed)
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self._unused = optuna.samplers.RandomSampler(seed=0)  # Optuna wants one where nothing is drawn
        self.study = optuna.create_study(
            directions=["maximize" if METRICS[name].direction == "max" else "minimize" for name in objectives],
            sampler=self._unused,
        )
        self._distributions = {parameter.path: distribution(parameter) for parameter in space.parameters}
        self._asked: optuna.Trial | None = None  # suggested, not yet accepted
        self._trials: dict[int, optuna.Trial] = {}  # accepted, not yet told
        self._sums, self._complete = dict.fromkeys(objectives, 0.0), 0

    @abstractmethod
    def optuna_sampler(self, seed: int) -> optuna.samplers.BaseSampler:
        """Optuna's sampler for one suggestion."""

    def ask(self, draw: int) -> Assignment:
        self._forget()
        self._asked = asked = self._new_trial(draw)
        return self.space.assign(lambda parameter: self._suggest(asked, parameter))

    def accept(self, number: int, assignment: Assignment, draw: int, margin: float) -> None:
        if self._asked is None or self._asked.params != stored_all(self.space, assignment):
            self._forget()
            self._asked = self._adopt(assignment, draw)
        self._asked.set_constraint("budget", margin)
        self._trials[number], self._asked = self._asked, None

    def tell(self, number: int, outcome: Outcome) -> None:
        from optuna.trial import TrialState

        # Not by `study.tell`, which copies the whole trial several times: a resumed search tells all of them.
        storage, trial = self.study._storage, self._trials.pop(number)._trial_id
        if outcome.state in ("failed", "pruned"):
            storage.set_trial_state_values(trial, TrialState.FAIL if outcome.state == "failed" else TrialState.PRUNED)
            return
        values: list[Any] = [outcome.value(name) for name in self.objectives]
        if outcome.state == "complete":
            self._complete += 1
            for name, value in zip(self.objectives, values, strict=True):
                self._sums[name] += value
        means = [self._sums[name] / max(1, self._complete) for name in self.objectives]
        told = [mean if value is None else value for mean, value in zip(means, values, strict=True)]
        storage.set_trial_state_values(trial, TrialState.COMPLETE, [float(value) for value in told])
        self._ended(storage.get_trial(trial))

    def _new_trial(self, draw: int) -> optuna.Trial:
        self.study.sampler = self.optuna_sampler(derive(self.seed, "suggest", draw))
        return self.study.ask()

    def _adopt(self, assignment: Assignment, draw: int) -> optuna.Trial:
        """A trial with these parameters. Added as a whole: `ask` and a suggestion for each would take three times as
        long, and a resumed search adopts all its trials."""
        import optuna

        self.study.sampler = self._unused
        stored = stored_all(self.space, assignment)
        running = optuna.create_trial(
            state=optuna.trial.TrialState.RUNNING,
            params=stored,
            distributions={path: self._distributions[path] for path in stored},
        )
        made = self.study._storage.create_new_trial(self.study._study_id, template_trial=running)
        return optuna.Trial(self.study, made)

    def _suggest(self, trial: optuna.Trial, parameter: Parameter) -> Value:
        """The value of a parameter in an Optuna trial."""
        known = self._distributions[parameter.path]
        stored: Any
        if parameter.values is None:
            return trial.suggest_float(parameter.path, known.low, known.high, log=known.log)
        if not parameter.numeric:
            stored = trial.suggest_categorical(parameter.path, known.choices)
        else:
            stored = trial.suggest_int(parameter.path, known.low, known.high, log=known.log)
        return next(value for value in parameter.values if _stored(parameter, value) == stored)

    def _ended(self, trial: optuna.trial.FrozenTrial) -> None:
        """Called for every trial reported with values."""

    def _forget(self) -> None:
        """End a suggestion that was not accepted, as FAIL; samplers ignore such trials."""
        from optuna.trial import TrialState

        if self._asked is not None:
            self.study.tell(self._asked, state=TrialState.FAIL)
            self._asked = None


def distribution(parameter: Parameter) -> Any:
    """A parameter in Optuna's terms: choices by their label (a value may be a mapping), stepped numbers by index."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if parameter.values is None:
        return FloatDistribution(parameter.low, parameter.high, log=parameter.log)
    if not parameter.numeric:
        return CategoricalDistribution([label(value) for value in parameter.values])
    if parameter.log:
        return IntDistribution(int(parameter.low), int(parameter.high), log=True)
    return IntDistribution(0, len(parameter.values) - 1)


def _stored(parameter: Parameter, value: Value) -> Any:
    """A value as Optuna stores it."""
    if parameter.values is None or (parameter.numeric and parameter.log):
        return value
    return parameter.values.index(value) if parameter.numeric else label(value)


def stored_all(space: SearchSpace, assignment: Assignment) -> dict[str, Any]:
    """An assignment as Optuna stores it."""
    return {p.path: _stored(p, assignment[p.path]) for p in space.parameters if p.path in assignment}
