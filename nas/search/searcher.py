"""Searcher: the search as a client of the engine. From proposals to jobs, and from outcomes back to the sampler.

- A genome over a budget, or one that its schema refuses, gets a trial directory (infeasible, with the reason) and no
  worker. It does not count towards `trials`.
- With `repeat`, every genome is trained with so many seeds, and the sampler hears the mean.
- With halving, a trial is handed out rung by rung (nas/search/halving.py). A free worker gets the promotion that is
  due, else a new trial. The sampler hears of a pause that looks final as what it is, pruned; if the trial goes on after
  all, its end is told as a trial of its own.
- The n-th decision (what to promote, what to suggest) knows what came of all jobs handed out but the `lag` latest ones,
  and nothing else, whatever the order in which workers finish. With seeds derived by number, the seed alone determines
  the search.
- All of it is rebuilt from the ledger, by making the same decisions again: after a kill the next job is the one that
  would have come.
"""

from __future__ import annotations

from dataclasses import replace
from statistics import fmean

from nas.engine import Event, Job, Ledger, OnEvent, Outcome, Signal
from nas.genome import Genome
from nas.metrics.estimate import Estimate
from nas.search.budget import Budget
from nas.search.candidates import Candidate, Candidates
from nas.search.front import costs_of
from nas.search.halving import Ladder
from nas.search.sampler import Sampler
from nas.search.space import SearchSpace
from nas.seeds import derive

REFUSALS = 2000  # trials in a row without a feasible one, until the search gives up


class Searcher:
    """A `Source` for the engine. `message` says why the search ended before `trials` were trained, if it did.

    ladder: None trains every trial to its end.
    """

    def __init__(
        self,
        space: SearchSpace,
        budget: Budget,
        estimate: Estimate,
        sampler: Sampler,
        ledger: Ledger,
        *,
        objectives: list[str],
        trials: int,
        seed: int,
        lag: int,
        on_event: OnEvent,
        repeat: int = 1,
        ladder: Ladder | None = None,
    ):
        self.space, self.budget, self.estimate, self.sampler, self.ledger = space, budget, estimate, sampler, ledger
        self.objectives, self.trials, self.seed, self.lag = objectives, trials, seed, lag
        self.on_event, self.repeat, self.ladder = on_event, repeat, ladder
        self.message: str | None = None
        self._proposals = Candidates(space, sampler, seed=seed)
        self._begun = 0  # genomes that went to workers
        self._jobs: dict[int, Job] = {}
        self._leader: dict[str, int] = {}  # the first trial of each genome, by hash
        self._repeats: dict[int, list[int]] = {}  # of each leader, itself included
        self._issued: list[tuple[int, int]] = []  # (trial, rung) that went to workers, in order
        self._told = 0  # how many of them have been heard
        self._heard: set[int] = set()  # trials whose end has been heard
        self._level: dict[int, int] = {}  # the rung that each trial was last handed out for
        self._came: dict[tuple[int, int], Outcome] = {}
        self._out: dict[int, tuple[int, Job]] = {}  # rung and job of trials that are with workers
        self._known: dict[int, bool] = {}  # trials that the sampler accepted; whether it was told what came of them
        self._replay()

    # ------------------------------------------------------------------------------------------------------------------
    # The engine's side
    # ------------------------------------------------------------------------------------------------------------------
    def unfinished(self) -> list[Job]:
        return [job for _, job in self._out.values()]

    def next(self) -> Job | Signal:
        refused = 0
        while refused < REFUSALS:
            if self.ladder is None and self._begun >= self.trials and self._due() is None:
                return Signal.DONE
            if not self._catch_up():
                return Signal.WAIT
            promotion = self.ladder.promotion() if self.ladder else None
            if promotion is not None:
                job = self._issue(self._jobs[promotion[0]], promotion[1])
            elif self._due() is not None or self._begun < self.trials:
                begun = self._begun
                job = self._begin()
                refused += job is None and self._begun == begun
            elif self._told < len(self._issued):  # what is still out may yet be promoted
                if not self._hear_next():
                    return Signal.WAIT
                continue
            else:
                self._prune()
                return Signal.DONE
            if job is not None:
                return job
        self.message = f"{REFUSALS} candidates in a row were refused: the search ends after {self._begun} trials"
        return Signal.DONE

    def tell(self, job: Job, outcome: Outcome) -> None:
        self._came[job.number, self._out.pop(job.number)[0]] = outcome

    # ------------------------------------------------------------------------------------------------------------------
    # What goes out
    # ------------------------------------------------------------------------------------------------------------------
    def _due(self) -> int | None:
        """The leader whose repeats are not all begun."""
        leader = self._issued[-1][0] if self._issued else None
        leader = self._leader[self._jobs[leader].hash] if leader is not None else None
        return leader if leader is not None and len(self._repeats[leader]) < self.repeat else None

    def _begin(self) -> Job | None:
        """A new trial: another seed of the last genome, or a genome that nobody has tried. None if it is refused."""
        leader = self._due()
        if leader is not None:
            first = self._jobs[leader]
            job = self._add(first.genome, replace(first, note=first.note | {"repeat": len(self._repeats[leader])}))
            self._enter(job)
            return self._issue(job, 0)
        candidate = self._proposals.next()
        if candidate is None:
            self.trials = self._begun
            self.message = f"every genome of the space is tried: the search ends after {self._begun} trials"
            return None
        job, outcome = self._directory(candidate)
        if outcome is None:
            self._enter(job)
            return self._issue(job, 0)
        self._enter_ended(job, outcome)
        self.on_event(Event("refused", job.id, outcome.as_dict()))
        return None

    def _directory(self, candidate: Candidate) -> tuple[Job, Outcome | None]:
        """A trial directory for a candidate, which has ended already if it may not be trained."""
        genome, found, refusal = candidate.genome, None, candidate.refusal
        if genome is not None:
            found = self.estimate(genome)
            refusal = self.budget.refusal(found)
        margin = max(self.budget.violations(found).values(), default=-1.0) if found else 1.0
        draft = Job(
            number=0,
            seed=0,
            hash=genome.hash if genome else "",
            parameters=candidate.assignment,
            costs=found or {},
            note={"draw": candidate.draw, "margin": margin},
        )
        outcome = Outcome.of(draft, "infeasible", reason=refusal) if refusal is not None else None
        return self._add(genome, draft, outcome), outcome

    def _add(self, genome: Genome | None, draft: Job, outcome: Outcome | None = None) -> Job:
        """A trial directory like the draft, with a number and a seed of its own."""
        kept = {name: getattr(draft, name) for name in ("hash", "parameters", "costs", "note")}
        seed = derive(self.seed, "trial", self.ledger.next_number)
        return self.ledger.add(genome, seed=seed, outcome=outcome, **kept)

    def _issue(self, job: Job, level: int) -> Job | None:
        """Hand out a trial up to a rung. None if an earlier session has brought it there already."""
        self._issued.append((job.number, level))
        self._level[job.number] = level
        until = self.ladder.rungs[level] if self.ladder and level < len(self.ladder.rungs) - 1 else None
        outcome = self._on_record(job, until)
        if outcome is not None:
            self._came[job.number, level] = outcome
            return None
        job = replace(job, until=until)
        self._out[job.number] = level, job
        return job

    def _on_record(self, job: Job, until: int | None) -> Outcome | None:
        trial = self.ledger.trial(job.number)
        pause = trial.rungs.get(until) if until is not None else None
        return pause or (trial.outcome if trial.outcome and trial.outcome.state != "pruned" else None)

    def _prune(self) -> None:
        """The search is over: what is paused will not go on."""
        for job in [trial.job for trial in self.ledger.trials if trial.outcome is None]:
            last = self._came[job.number, self._level[job.number]]
            reason = f"paused after {last.epochs} epochs, and not among the 1 in {self.ladder.factor} that go on"  # type: ignore[union-attr]
            outcome = replace(last, state="pruned", reason=reason)
            self.ledger.finish(job, outcome)
            self.ledger.remove(job, "checkpoint.pt")
            if not self._known.get(job.number, True):
                self._tell(job.number, outcome)
            self.on_event(Event("ended", job.id, outcome.as_dict()))

    # ------------------------------------------------------------------------------------------------------------------
    # What the sampler knows
    # ------------------------------------------------------------------------------------------------------------------
    def _enter(self, job: Job) -> None:
        """Make a trial known; the first one of its genome to the sampler too, if that can have suggested such a one."""
        self._proposals.know(job)
        self._jobs[job.number] = job
        leader = self._leader.setdefault(job.hash, job.number)
        self._repeats.setdefault(leader, []).append(job.number)
        if leader == job.number:
            self._begun += 1
            self._accept(job)

    def _enter_ended(self, job: Job, outcome: Outcome) -> None:
        """Make a trial known that no worker of this run has to do with."""
        self._proposals.know(job)
        self._jobs[job.number] = job
        if self._accept(job):
            self._tell(job.number, outcome)

    def _accept(self, job: Job) -> bool:
        common = (parameter.path for parameter in self.space.parameters if not parameter.conditions)
        suggestible = all(path in job.parameters for path in common)
        if suggestible:
            self.sampler.accept(job.number, job.parameters, job.note["draw"], job.note["margin"])
            self._known[job.number] = False
        return suggestible

    def _tell(self, number: int, outcome: Outcome) -> None:
        if number not in self._known:
            return
        if self._known[number]:  # told as pruned when it paused
            self._accept(self._jobs[number])
        self.sampler.tell(number, outcome)
        self._known[number] = True

    def _catch_up(self) -> bool:
        """Hear what came of all jobs but the `lag` latest; False if it is not there yet."""
        while (self.sampler.adaptive or self.ladder) and self._told < len(self._issued) - self.lag:
            if not self._hear_next():
                return False
        return True

    def _hear_next(self) -> bool:
        number, level = self._issued[self._told]
        outcome = self._came.get((number, level))
        if outcome is None:
            return False
        self._told += 1
        if outcome.state == "paused":
            self._hear_pause(number, level, outcome)
            return True
        leader = self._leader[self._jobs[number].hash]
        self._heard.add(number)
        if len(self._repeats[leader]) == self.repeat and self._heard.issuperset(self._repeats[leader]):
            self._tell(leader, _mean([self._came[n, level] for n in self._repeats[leader]]))
        return True

    def _hear_pause(self, number: int, level: int, outcome: Outcome) -> None:
        assert self.ladder is not None
        self.ladder.hear(number, level, costs_of(outcome, self.objectives))
        ended = self.ledger.trial(number).outcome
        if ended is not None and (ended.state, ended.epochs) == ("pruned", outcome.epochs):  # by an earlier session
            self.ladder.give_up(number)
        if not self.ladder.promising(number, level) and not self._known.get(number, True):
            self._tell(number, replace(outcome, state="pruned"))

    def _replay(self) -> None:
        """Decide again what was decided, with the ledger's trials where a new one was begun."""
        for trial in self.ledger.trials:
            while self._catch_up() and self.ladder and (promotion := self.ladder.promotion()):
                self._issue(self._jobs[promotion[0]], promotion[1])
            if trial.outcome is not None and (trial.outcome.state == "infeasible" or "from" in trial.job.note):
                self._enter_ended(trial.job, trial.outcome)  # refused, or taken over from an earlier run
            else:
                self._enter(trial.job)
                self._issue(trial.job, 0)


def _mean(outcomes: list[Outcome]) -> Outcome:
    """One outcome for the repeats of a genome: the mean of those that completed, or the first if none did."""
    complete = [outcome for outcome in outcomes if outcome.state == "complete"]
    if not complete:
        return outcomes[0]
    return replace(
        complete[0], accuracy=fmean(outcome.accuracy for outcome in complete if outcome.accuracy is not None)
    )
