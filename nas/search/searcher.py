"""Searcher: the engine's source of jobs for a search. It turns suggestions into jobs and reports outcomes back.

- A genome that is over budget or refused by its schema gets a trial directory (infeasible, with the reason) but is not
  trained. It does not count towards `trials`.
- With `repeat`, every genome is trained with that many seeds, and the mean is reported to the sampler.
- The scheduler (nas/search/schedulers) decides how long a trial is trained. A paused trial may be promoted later; a
  free worker takes a promotion before a new trial. When a pause looks final, PRUNED is reported to the sampler. If the
  trial is promoted after all, its end is reported to the sampler as a separate trial.
- The n-th decision (promotion or suggestion) depends only on the outcomes of all issued jobs except the `lag` most
  recent ones, in whatever order workers finish. Seeds are derived from trial numbers, so the search is determined by
  the root seed.
- The state is rebuilt from the ledger by replaying the decisions: a killed search continues with the same next job.
"""

from __future__ import annotations

from dataclasses import replace
from statistics import fmean

from nas.engine import Event, Job, Ledger, OnEvent, Outcome, Signal
from nas.errors import GenomeError
from nas.genome import Genome
from nas.genome.describe import describe
from nas.metrics import Estimate
from nas.search.budget import Budget
from nas.search.candidates import Candidate, Candidates
from nas.search.pareto import costs_of
from nas.search.samplers import Sampler
from nas.search.schedulers import Scheduler
from nas.search.space import SearchSpace
from nas.seeds import derive
from nas.train.checkpoint import TRANSIENT

REFUSALS = 2000  # infeasible trials in a row after which the search gives up


class Searcher:
    """A `JobSource` for the engine. `message` says why the search ended before `trials` were trained, if it did.

    `until` is the epoch up to which a trial was issued, or None for its end.
    """

    def __init__(
        self,
        space: SearchSpace,
        budget: Budget,
        estimate: Estimate,
        sampler: Sampler,
        scheduler: Scheduler,
        ledger: Ledger,
        *,
        objectives: list[str],
        trials: int,
        seed: int,
        lag: int,
        on_event: OnEvent,
        repeat: int = 1,
    ):
        self.space, self.budget, self.estimate, self.ledger = space, budget, estimate, ledger
        self.sampler, self.scheduler = sampler, scheduler
        self.objectives, self.trials, self.seed, self.lag = objectives, trials, seed, lag
        self.on_event, self.repeat = on_event, repeat
        self.message: str | None = None
        sampler.prepare(estimate, budget)
        self._candidates = Candidates(space, sampler, seed=seed)
        self._started = 0  # genomes issued
        self._jobs: dict[int, Job] = {}  # of every trial
        self._first: dict[str, int] = {}  # first trial of each genome, by hash
        self._repeats: dict[int, list[int]] = {}  # trials of a genome, by its first one (included)
        self._issued: list[tuple[int, int | None]] = []  # (trial, until), in order of issue
        self._processed = 0  # number of these processed
        self._outcomes: dict[tuple[int, int | None], Outcome] = {}  # of those that have ended or paused
        self._running: dict[int, tuple[int | None, Job]] = {}  # the others, by trial
        self._ended: dict[int, Outcome] = {}  # of trials whose end is processed
        self._reported: dict[int, bool] = {}  # trials accepted by the sampler: outcome reported?

    # ------------------------------------------------------------------------------------------------------------------
    # JobSource: called by the engine
    # ------------------------------------------------------------------------------------------------------------------
    def unfinished(self) -> list[Job]:
        """Replay the decisions of earlier sessions. Returns the jobs that were issued and have not ended.

        A trial whose directory was deleted is decided again, with the same result unless outcomes are missing too.
        """
        for number in range(self.ledger.next_number):
            while (known := self._catch_up()) and (promotion := self.scheduler.promote()):
                self._issue(self._jobs[promotion[0]], promotion[1])
            if number not in self.ledger:
                if known:
                    self._new_trial(number)
                continue
            trial = self.ledger.trial(number)
            refusal = self._refusal(trial.job) if trial.outcome is None else None
            if refusal is not None:  # its result.json is gone
                self.ledger.finish(trial.job, refusal)
                self._register_ended(trial.job, refusal)
            elif trial.outcome is not None and (trial.outcome.state == "infeasible" or "from" in trial.job.note):
                self._register_ended(trial.job, trial.outcome)
            else:
                self._start(trial.job)
        return [job for _, job in self._running.values()]

    def next(self) -> Job | Signal:
        refused = 0
        while refused < REFUSALS:
            exhausted = self._started >= self.trials and self._incomplete() is None
            if exhausted and not self.scheduler.adaptive:
                return Signal.DONE
            if not self._catch_up():
                return Signal.WAIT
            promotion = self.scheduler.promote()
            if promotion is not None:
                job = self._issue(self._jobs[promotion[0]], promotion[1])
            elif not exhausted:
                started = self._started
                job = self._new_trial()
                refused += job is None and self._started == started
            elif self._processed < len(self._issued):  # a trial that is still running may be promoted
                if not self._process_next():
                    return Signal.WAIT
                continue
            else:
                self._prune_paused()
                return Signal.DONE
            if job is not None:
                return job
        self.message = f"{REFUSALS} candidates in a row were refused: the search ends after {self._started} trials"
        return Signal.DONE

    def tell(self, job: Job, outcome: Outcome) -> None:
        until, _ = self._running.pop(job.number)
        self._outcomes[job.number, until] = outcome

    # ------------------------------------------------------------------------------------------------------------------
    # Issuing trials
    # ------------------------------------------------------------------------------------------------------------------
    def _incomplete(self) -> int | None:
        """The first trial of the latest genome, if some of its repeats have not been started."""
        if not self._issued:
            return None
        first = self._first[self._jobs[self._issued[-1][0]].hash]
        return first if len(self._repeats[first]) < self.repeat else None

    def _new_trial(self, number: int | None = None) -> Job | None:
        """A further seed of the latest genome, or an untried genome. None if it is refused or none is left.

        number: of the trial; by default the next one.
        """
        first = self._incomplete()
        if first is not None:
            draft = self._jobs[first]
            note = draft.note | {"repeat": len(self._repeats[first])}
            return self._start(self._add(draft.genome, replace(draft, note=note), number))
        candidate = self._candidates.next()
        if candidate is None:
            self.trials = self._started
            self.message = f"every genome of the space is tried: the search ends after {self._started} trials"
            return None
        job, refusal = self._add_candidate(candidate, number)
        if refusal is None:
            return self._start(job)
        self._register_ended(job, refusal)
        self.on_event(Event("refused", job.id, refusal.as_dict()))
        return None

    def _refusal(self, job: Job) -> Outcome | None:
        """The outcome of a trial that cannot be trained: over the budget, or a genome that cannot be built."""
        reason = None
        if job.hash and job.costs.keys() >= self.budget.limits.keys():
            reason = self.budget.refusal(job.costs)
        elif not job.hash:
            try:
                self.space.genome(job.parameters)
            except GenomeError as error:
                reason = str(error)
        return Outcome.of(job, "infeasible", reason=reason) if reason is not None else None

    def _add_candidate(self, candidate: Candidate, number: int | None) -> tuple[Job, Outcome | None]:
        """A trial directory for a candidate, and its outcome if it is infeasible."""
        genome, estimate, reason = candidate.genome, None, candidate.refusal
        if genome is not None:
            estimate = self.estimate(genome)
            reason = self.budget.refusal(estimate)
        margin = max(self.budget.violations(estimate).values(), default=-1.0) if estimate else 1.0
        draft = Job(
            number=0,
            seed=0,
            hash=genome.hash if genome else "",
            parameters=candidate.assignment,
            costs=estimate or {},
            note={"draw": candidate.draw, "margin": margin} | ({"layers": describe(genome)} if genome else {}),
        )
        outcome = Outcome.of(draft, "infeasible", reason=reason) if reason is not None else None
        return self._add(genome, draft, number, outcome), outcome

    def _add(self, genome: Genome | None, draft: Job, number: int | None, outcome: Outcome | None = None) -> Job:
        """A trial directory like the draft, with its own number and seed."""
        number = self.ledger.next_number if number is None else number
        kept = {name: getattr(draft, name) for name in ("hash", "parameters", "costs", "note")}
        seed = derive(self.seed, "trial", number)
        return self.ledger.add(genome, number=number, seed=seed, outcome=outcome, **kept)

    def _start(self, job: Job) -> Job | None:
        self._register(job)
        return self._issue(job, self.scheduler.start())

    def _issue(self, job: Job, until: int | None) -> Job | None:
        """Issue a trial. None if an earlier session has trained it that far."""
        self._issued.append((job.number, until))
        outcome = self._recorded(job, until)
        if outcome is not None:
            self._outcomes[job.number, until] = outcome
            return None
        job = replace(job, until=until)
        self._running[job.number] = until, job
        return job

    def _recorded(self, job: Job, until: int | None) -> Outcome | None:
        trial = self.ledger.trial(job.number)
        pause = trial.rungs.get(until) if until is not None else None
        return pause or (trial.outcome if trial.outcome and trial.outcome.state != "pruned" else None)

    def _prune_paused(self) -> None:
        """End all paused trials as pruned, at the end of the search."""
        latest = {number: self._outcomes[number, until] for number, until in self._issued}
        for job in [trial.job for trial in self.ledger.trials if trial.outcome is None]:
            pause = latest[job.number]
            outcome = replace(pause, state="pruned", reason=self.scheduler.reason(pause.epochs))
            self.ledger.finish(job, outcome)
            for name in TRANSIENT:
                self.ledger.remove(job, name)
            if not self._reported.get(job.number, True):
                self._report(job.number, outcome)
            self.on_event(Event("ended", job.id, outcome.as_dict()))

    # ------------------------------------------------------------------------------------------------------------------
    # Reporting outcomes to the sampler and the scheduler
    # ------------------------------------------------------------------------------------------------------------------
    def _register(self, job: Job) -> None:
        """Add an issued trial. The sampler accepts the first one of each genome."""
        self._candidates.add(job)
        self._jobs[job.number] = job
        first = self._first.setdefault(job.hash, job.number)
        self._repeats.setdefault(first, []).append(job.number)
        if first == job.number:
            self._started += 1
            self._accept(job)

    def _register_ended(self, job: Job, outcome: Outcome) -> None:
        """Add a trial that is never issued: refused, or taken over from an earlier run."""
        self._candidates.add(job)
        self._jobs[job.number] = job
        self._accept(job)
        self._report(job.number, outcome)

    def _accept(self, job: Job) -> None:
        """Have the sampler accept a trial, unless it is outside the space (as a base genome may be)."""
        unconditional = (parameter.path for parameter in self.space.parameters if not parameter.conditions)
        if all(path in job.parameters for path in unconditional):
            self.sampler.accept(job.number, job.parameters, job.note["draw"], job.note["margin"])
            self._reported[job.number] = False

    def _report(self, number: int, outcome: Outcome) -> None:
        """Report an outcome to the sampler, if it has accepted the trial."""
        if number not in self._reported:
            return
        if self._reported[number]:  # reported as pruned when it paused
            self._accept(self._jobs[number])
        self.sampler.tell(number, outcome)
        self._reported[number] = True

    def _catch_up(self) -> bool:
        """Process the outcomes of all jobs but the `lag` most recent. False if one of them is still running."""
        while (self.sampler.adaptive or self.scheduler.adaptive) and self._processed < len(self._issued) - self.lag:
            if not self._process_next():
                return False
        return True

    def _process_next(self) -> bool:
        """Process the outcome of the next job in order of issue. False if it is running."""
        number, until = self._issued[self._processed]
        outcome = self._outcomes.get((number, until))
        if outcome is None:
            return False
        self._processed += 1
        if outcome.state == "paused":
            assert until is not None
            self._process_pause(number, until, outcome)
            return True
        self._ended[number] = outcome
        first = self._first[self._jobs[number].hash]
        ended = [self._ended[repeat] for repeat in self._repeats[first] if repeat in self._ended]
        if len(ended) == self.repeat:
            self._report(first, _mean(ended))
        return True

    def _process_pause(self, number: int, until: int, outcome: Outcome) -> None:
        self.scheduler.pause(number, until, costs_of(outcome, self.objectives))
        ended = self.ledger.trial(number).outcome
        if ended is not None and (ended.state, ended.epochs) == ("pruned", outcome.epochs):  # by an earlier session
            self.scheduler.withdraw(number)
        if self.scheduler.looks_final(number, until) and not self._reported.get(number, True):
            self._report(number, replace(outcome, state="pruned"))


def _mean(outcomes: list[Outcome]) -> Outcome:
    """One outcome for the repeats of a genome: the mean of the complete ones, or the first if there are none."""
    complete = [outcome for outcome in outcomes if outcome.state == "complete"]
    if not complete:
        return outcomes[0]
    return replace(
        complete[0], accuracy=fmean(outcome.accuracy for outcome in complete if outcome.accuracy is not None)
    )
