"""Candidates: yields untried genomes. The base comes first, then the sampler's suggestions.

Each genome is returned once: a suggestion whose genome is known (by hash) is skipped. After `REPETITIONS` of these in
a row, `DRAWS` random assignments are tried, then all assignments of the space in order. If none is new, the space is
exhausted and the search ends. A sampler that enumerates the space (`ends`) is called until it is exhausted.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from random import Random

from nas.engine import Job
from nas.errors import GenomeError, SpecError, shown
from nas.genome import Genome
from nas.search.parameter import label
from nas.search.samplers import Sampler
from nas.search.space import Assignment, SearchSpace
from nas.seeds import derive

REPETITIONS = 10  # known suggestions in a row before random draws take over
DRAWS = 1000  # random draws before the space is enumerated


@dataclass(frozen=True)
class Candidate:
    """draw: number of the suggestion. genome: None if the schema refuses it; refusal: the reason."""

    assignment: Assignment
    draw: int
    genome: Genome | None
    refusal: str | None = None


class Candidates:
    """`next` returns an untried genome. `add` records every trial, in order of number, including these."""

    def __init__(self, space: SearchSpace, sampler: Sampler, *, seed: int):
        self.space, self.sampler, self.seed = space, sampler, seed
        self._hashes: set[str] = set()
        self._assignments: set[str] = set()
        self._draw = 0

    def add(self, job: Job) -> None:
        self._assignments.add(_key(job.parameters))
        self._hashes.add(job.hash)
        self._draw = max(self._draw, job.note["draw"] + 1)

    def next(self) -> Candidate | None:
        """The next untried genome, or None if none is left."""
        if self.space.base.hash not in self._hashes:
            return self._if_untried(self.space.of_base() or {}, draw=-1)
        for _ in count() if self.sampler.ends else range(REPETITIONS):
            draw, self._draw = self._draw, self._draw + 1
            assignment = self._asked(draw)
            if assignment is None:
                return None
            candidate = self._if_untried(assignment, draw)
            if candidate is not None:
                return candidate
        draw, self._draw = self._draw, self._draw + 1
        for assignment in self._fallback(draw):
            candidate = self._if_untried(assignment, draw)
            if candidate is not None:
                return candidate
        return None

    def _asked(self, draw: int) -> Assignment | None:
        """The sampler's suggestion, or None: it has no further ones. Raises SpecError for anything else."""
        found = self.sampler.ask(draw)
        if found is not None and not self._is_assignment(found):
            allowed = f"plain values by path, such as {shown(self.space.draw(Random(0)))}; None ends the search"
            what = f"the sampler {self.sampler.options.name!r} suggested {shown(found)}; expected {allowed}"
            raise SpecError(what)
        return found

    def _is_assignment(self, found: object) -> bool:
        try:
            json.dumps(found, allow_nan=False)  # which NumPy's and torch's numbers are not fit for
        except (TypeError, ValueError):
            return False
        if not isinstance(found, dict) or not found.keys() <= {p.path for p in self.space.parameters}:
            return False
        held = all(p.holds(found[p.path]) for p in self.space.parameters if p.path in found)
        return held and self.space.assign(lambda p: found.get(p.path)) == found

    def _fallback(self, draw: int) -> Iterator[Assignment]:
        rng = Random(derive(self.seed, "walk", draw))
        for _ in range(DRAWS):
            yield self.space.draw(rng)
        if self.space.finite:
            yield from self.space.every()

    def _if_untried(self, assignment: Assignment, draw: int) -> Candidate | None:
        key = _key(assignment)
        if key in self._assignments:
            return None
        try:
            genome = self.space.genome(assignment)
        except GenomeError as error:
            return Candidate(assignment, draw, None, str(error))
        if genome.hash in self._hashes:
            self._assignments.add(key)
            return None
        return Candidate(assignment, draw, genome)


def _key(assignment: Assignment) -> str:
    return ";".join(f"{path}={label(value)}" for path, value in sorted(assignment.items()))
