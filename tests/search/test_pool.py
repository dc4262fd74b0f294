"""Candidates: valid, with exact costs, the same when made again, near the trials that are given."""

from __future__ import annotations

from random import Random

from nas.metrics import estimator
from nas.plain_yaml import parse_yaml
from nas.search import SearchSpec
from nas.search.budget import Budget
from nas.search.pool import MUTATIONS, Pool
from nas.search.surrogate import Encoding
from tests.search.test_sampler_conformance import EVERY_KIND, FINITE


def pool_of(text: str, size: int = 40, **limits: float) -> Pool:
    spec = SearchSpec.parse(parse_yaml(text))
    space = spec.space(spec.genome())
    return Pool(space, Encoding(space.parameters), estimator(), Budget(**limits), size=size, seed=3)


def test_all_of_a_small_space_and_some_of_a_large_one() -> None:
    small = pool_of(FINITE)
    assert [c.assignment for c in small.candidates(5, {})] == list(small.space.every())
    large = pool_of(EVERY_KIND)
    first, later = ({c.key for c in large.candidates(draw, {})} for draw in (0, 5))
    assert len(first) == len(later) == 40 and 0 < len(first & later) < 40


def test_candidates_are_valid_and_cost_what_their_genomes_cost() -> None:
    pool = pool_of(EVERY_KIND, macs=900_000)
    parents = {number: pool.space.draw(Random(number)) for number in (4, 7)}
    found = pool.candidates(2, parents)
    assert 40 < len(found) <= 40 + 2 * MUTATIONS
    for candidate in found:
        assignment = candidate.assignment
        assert pool.space.assign(lambda parameter, assignment=assignment: assignment[parameter.path]) == assignment
        assert all(p.holds(assignment[p.path]) for p in pool.space.parameters if p.path in assignment)
        costs = estimator()(pool.space.genome(assignment))
        assert candidate.costs == costs
        assert (candidate.excess > 0) == (costs["macs"] > 900_000)
    assert any(c.excess > 0 for c in found) and any(c.excess <= 0 for c in found)


def test_mutations_are_near_their_parent_and_never_the_parent() -> None:
    pool = pool_of(EVERY_KIND)
    parent = pool.space.draw(Random(1))
    plain = {candidate.key for candidate in pool.candidates(8, {})}
    near = [c.assignment for c in pool.candidates(8, {9: parent}) if c.key not in plain]
    kept = [sum(one.get(path) == value for path, value in parent.items()) / len(parent) for one in near]
    assert len(near) > 5 and parent not in near
    assert sum(kept) / len(kept) > 0.6


def test_a_pool_that_is_made_again_holds_the_same() -> None:
    pool, again = pool_of(EVERY_KIND), pool_of(EVERY_KIND)
    parents = {2: pool.space.draw(Random(2))}
    for draw in range(6):
        pool.candidates(draw, parents)
    assert [c.key for c in pool.candidates(7, parents)] == [c.key for c in again.candidates(7, parents)]


def test_what_the_schema_refuses_is_no_candidate() -> None:
    pool = pool_of(
        "base: mixed_digits\nparameters:\n"
        "  stages.0.layers.0.core: {choice: [softmax, pooling]}\n"
        "  stages.0.layers.0.local: {choice: [null, depthwise]}\n"
    )
    assert len(pool.candidates(0, {})) == 3, "pooling makes no values for a local convolution"
