"""Candidates: the search as a client of the engine. From suggestions to jobs, and from outcomes back to the sampler.

- The base genome is trial 0.
- A genome over a budget, or one that its schema refuses, gets a trial directory (infeasible, with the reason) and no
  worker. It does not count towards `trials`.
- No genome is trained twice: a suggestion whose genome (by hash) is in the ledger is passed over. A sampler that only
  repeats itself is helped by a random walk; a space that is exhausted ends the search.
- The n-th suggestion knows the outcomes of all trained trials but the `lag` latest ones, and no others, whatever the
  order in which workers finish. With seeds derived by number, the seed alone determines the search.
- All of it is rebuilt from the ledger: after a kill the next suggestion is the one that would have come.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from random import Random

from nas.engine import Event, Job, Ledger, OnEvent, Outcome, Signal
from nas.errors import GenomeError
from nas.genome import Genome
from nas.search.budget import Budget, Estimate
from nas.search.domain import Assignment, Domain
from nas.search.parameter import label
from nas.search.sampler import Sampler
from nas.seeds import derive

REPEATS = 10  # suggestions in a row that are known already, until a random walk takes over
WALK = 1000  # random draws, until the space is gone through in order
REFUSALS = 2000  # trials in a row without a feasible one, until the search gives up


@dataclass(frozen=True)
class _Candidate:
    assignment: Assignment
    draw: int
    genome: Genome | None  # None: refused by the schema
    refusal: str | None = None


class Candidates:
    """A `Source` for the engine. `message` says why the search ended before `trials` were trained, if it did."""

    def __init__(
        self,
        domain: Domain,
        budget: Budget,
        estimate: Callable[[Genome], Estimate],
        sampler: Sampler,
        ledger: Ledger,
        *,
        trials: int,
        seed: int,
        lag: int,
        on_event: OnEvent,
    ):
        self.domain, self.budget, self.estimate, self.sampler, self.ledger = domain, budget, estimate, sampler, ledger
        self.trials, self.seed, self.lag, self.on_event = trials, seed, lag, on_event
        self.message: str | None = None
        self._hashes: set[str] = set()
        self._assignments: set[str] = set()
        self._draw = 0
        self._issued: list[int] = []  # numbers of trials that went to workers
        self._ended: dict[int, Outcome] = {}  # what came of them
        self._heard: set[int] = set()  # those among them that the sampler knows as trials of its own
        self._told = 0  # how many of `_issued` the sampler has been told
        self._replay()

    # ------------------------------------------------------------------------------------------------------------------
    # The engine's side
    # ------------------------------------------------------------------------------------------------------------------
    def next(self) -> Job | Signal:
        for _ in range(REFUSALS):
            if len(self._issued) >= self.trials:
                return Signal.DONE
            if not self._catch_up():
                return Signal.WAIT
            candidate = self._propose()
            if candidate is None:
                self.message = f"every genome of the space is tried: the search ends after {len(self._issued)} trials"
                return Signal.DONE
            job = self._issue(candidate)
            if job is not None:
                return job
        self.message = f"{REFUSALS} candidates in a row were refused: the search ends after {len(self._issued)} trials"
        return Signal.DONE

    def tell(self, job: Job, outcome: Outcome) -> None:
        self._ended[job.number] = outcome

    # ------------------------------------------------------------------------------------------------------------------
    # What to try next
    # ------------------------------------------------------------------------------------------------------------------
    def _propose(self) -> _Candidate | None:
        if self.ledger.next_number == 0:
            return self._looked_at(self.domain.of_base() or {}, draw=-1)
        for _ in range(REPEATS):
            draw, self._draw = self._draw, self._draw + 1
            assignment = self.sampler.ask(draw)
            if assignment is None:
                return None
            candidate = self._looked_at(assignment, draw)
            if candidate is not None:
                return candidate
        draw, self._draw = self._draw, self._draw + 1
        for assignment in self._walk(draw):
            candidate = self._looked_at(assignment, draw)
            if candidate is not None:
                return candidate
        return None

    def _walk(self, draw: int) -> Iterator[Assignment]:
        rng = Random(derive(self.seed, "walk", draw))
        for _ in range(WALK):
            yield self.domain.draw(rng)
        if self.domain.finite:
            yield from self.domain.every()

    def _looked_at(self, assignment: Assignment, draw: int) -> _Candidate | None:
        """A candidate that is new, or None."""
        key = _key(assignment)
        if key in self._assignments:
            return None
        try:
            genome = self.domain.genome(assignment)
        except GenomeError as error:
            return _Candidate(assignment, draw, None, str(error))
        if genome.hash in self._hashes:
            self._assignments.add(key)
            return None
        return _Candidate(assignment, draw, genome)

    def _issue(self, candidate: _Candidate) -> Job | None:
        """A trial directory for a candidate, and its job if it may be trained."""
        genome, found, refusal = candidate.genome, None, candidate.refusal
        if genome is not None:
            found = self.estimate(genome)
            refusal = self.budget.refusal(found)
        margin = max(self.budget.violations(found).values(), default=-1.0) if found else 1.0
        job = self.ledger.add(
            genome,
            seed=derive(self.seed, "trial", self.ledger.next_number),
            hash=genome.hash if genome else "",
            parameters=candidate.assignment,
            note={"draw": candidate.draw, "margin": margin},
            **(asdict(found) if found else {}),
        )
        outcome = Outcome.of(job, "infeasible", reason=refusal) if refusal else None
        self._enter(job, outcome)
        if outcome is None:
            return job
        self.ledger.finish(job, outcome)
        self.on_event(Event("refused", job.id, asdict(outcome)))
        return None

    # ------------------------------------------------------------------------------------------------------------------
    # What the sampler knows
    # ------------------------------------------------------------------------------------------------------------------
    def _enter(self, job: Job, outcome: Outcome | None) -> None:
        """Make a trial known: to the memory of genomes, and to the sampler if it can have suggested such a one."""
        self._assignments.add(_key(job.parameters))
        self._hashes.add(job.hash)
        known = all(
            parameter.path in job.parameters for parameter in self.domain.parameters if not parameter.conditions
        )
        if known:
            self.sampler.accept(job.number, job.parameters, job.note["draw"], job.note["margin"])
        if outcome is not None and outcome.state == "infeasible":
            if known:
                self.sampler.tell(job.number, outcome)
            return
        self._issued.append(job.number)
        if known:
            self._heard.add(job.number)
        if outcome is not None:
            self._ended[job.number] = outcome

    def _catch_up(self) -> bool:
        """Tell the sampler all outcomes but those of the `lag` latest trials; False if one of them is not there yet."""
        while self.sampler.adaptive and self._told < len(self._issued) - self.lag:
            number = self._issued[self._told]
            if number not in self._ended:
                return False
            if number in self._heard:
                self.sampler.tell(number, self._ended[number])
            self._told += 1
        return True

    def _replay(self) -> None:
        """Bring the sampler to where the ledger is."""
        for trial in self.ledger.trials:
            self._catch_up()
            self._enter(trial.job, trial.outcome)
            self._draw = max(self._draw, trial.job.note["draw"] + 1)


def _key(assignment: Assignment) -> str:
    return ";".join(f"{path}={label(value)}" for path, value in sorted(assignment.items()))
