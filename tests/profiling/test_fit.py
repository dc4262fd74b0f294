"""Times of parts from times of whole models: exact where times are sums, for every genome of the space."""

from __future__ import annotations

from functools import partial
from random import Random

import pytest

from nas.errors import GenomeError
from nas.genome import Genome, load_genome
from nas.profiling.fit import counts, distinct, fitted, spanning
from nas.profiling.parts import deployed_graph, parts
from nas.search.parameter import ParameterSpec, expand
from nas.search.space import SearchSpace
from tests.profiling.target import table_of

MIXED = load_genome("mixed_digits")


@pytest.fixture(scope="module")
def space() -> SearchSpace:
    choice = ParameterSpec(choice=["softmax", "linear_angular"])
    return SearchSpace(MIXED, expand("stages.{0,1}.layers.{0..2}.core", choice))


def made_up(genome: Genome) -> float:
    """Seconds that are a sum over parts."""
    return sum(1e-4 * (1 + sum(map(ord, key)) % 17) for key in parts(genome).values())


@pytest.mark.parametrize("seed", range(3))
def test_the_sum_of_every_genome_is_what_a_few_models_tell(space: SearchSpace, seed: int) -> None:
    models = spanning(space.base, partial(space.sample, Random(seed)))
    assert models[0] == MIXED and len(models) < 16
    seconds, counts_GP = fitted(models, [made_up(genome) for genome in models])
    table = table_of(seconds, counts_GP)
    every = [space.genome(assignment) for assignment in space.every()]
    assert len(every) == 64 and all(table.determines(genome) for genome in every)
    assert [table.seconds_of(genome) for genome in every] == pytest.approx([made_up(genome) for genome in every])
    assert min(seconds.values()) >= 0


def test_a_sum_that_the_models_leave_open_is_refused(space: SearchSpace) -> None:
    """Layers that only ever change together: one of them alone has known parts and an unknown sum."""
    together = [MIXED, MIXED.edit({f"stages.1.layers.{layer}.core": "linear_angular" for layer in (0, 2)})]
    seconds, counts_GP = fitted(together, [made_up(genome) for genome in together])
    table = table_of(seconds, counts_GP)
    assert all(table.determines(genome) for genome in together)
    alone = MIXED.edit({"stages.1.layers.2.core": "linear_angular"})
    assert set(parts(alone).values()) <= set(seconds) and not table.determines(alone)
    table.check(MIXED)
    with pytest.raises(GenomeError, match="on Jetson is not known: the models timed there do not determine it"):
        table.check(alone)


def test_models_of_a_check_are_other_graphs(space: SearchSpace) -> None:
    known = spanning(space.base, partial(space.sample, Random(0)))
    others = distinct(partial(space.sample, Random(1)), 5, known)
    graphs = [deployed_graph(genome) for genome in [*known, *others]]
    assert len(others) == 5 and len(set(graphs)) == len(graphs)
    assert counts(others)[0].sum() == sum(len(parts(genome)) for genome in others)
    assert distinct(partial(space.sample, Random(1)), 5, [space.genome(each) for each in space.every()]) == []
