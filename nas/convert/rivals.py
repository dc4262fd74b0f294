"""Assemblies that need no scores, for `compare:`. They are repaired as the chosen ones are, and stand in one table.

    random      for each chosen assembly a random one: of 100, the dearest within its cost
    last        the last k layers that can, k the least that meets the cost
    alternate   every other layer that can, from the first or from the second
    all         every layer that can, at whatever cost the budget allows; one assembly

The last three put one candidate into all of their layers. There is such an assembly for each candidate (for `all`, for
each that fits as many layers as any), and the one with the least measured KL stands for the arm: a rival is made as
strong as its rule allows. "Within its cost" is the limit under which the chosen assembly was chosen. An arm has no
assembly for a cost that its rule cannot meet.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, get_args

from nas.convert.candidates import Assembly, key_of
from nas.convert.plan import Measure, Parts, Pick, cost_of, random_assemblies, valid
from nas.search.budget import Budget
from nas.seeds import derive

Arm = Literal["random", "last", "alternate", "all"]
ARMS: tuple[Arm, ...] = get_args(Arm)
DRAWS = 100  # random assemblies of which one is taken


def rivals(
    parts: Parts,
    arms: Sequence[Arm],
    picks: Sequence[Pick],
    metric: str,
    budget: Budget,
    *,
    seed: int,
    measure: Measure,
) -> list[Pick]:
    """The arms' assemblies for the costs at which `picks` were chosen, with their scores.

    >>> [pick.arm for pick in rivals(parts, ["all"], picks, "macs", budget, seed=0, measure=measure)]
    ['all']
    """
    fields = [
        (arm, level, _within(parts, arm, level, metric, budget, derive(seed, "rival", number)))
        for arm in arms
        for number, level in enumerate([pick.level for pick in picks] if arm != "all" else [math.inf])
    ]
    every = {key_of(each): each for _, _, field in fields for each in field}
    known = dict(zip(every, measure(list(every.values())), strict=True))
    found: dict[tuple[Arm, str], Pick] = {}
    for arm, level, field in fields:
        if field:
            best = min(field, key=lambda each: known[key_of(each)].kl)
            found.setdefault((arm, key_of(best)), Pick(arm, level, best, known[key_of(best)]))
    return list(found.values())


def _within(parts: Parts, arm: Arm, level: float, metric: str, budget: Budget, seed: int) -> list[Assembly]:
    """What an arm may send in at a level of cost: one assembly, or one for each candidate."""
    drawn = _by_rule(parts, arm, seed)
    within = [each for each in drawn if valid(parts, each, budget) and cost_of(parts, each, metric) <= level]
    if arm == "random":
        return sorted(within, key=lambda each: cost_of(parts, each, metric))[-1:]
    if arm == "last":
        return list({_name(each): each for each in reversed(within)}.values())
    if arm == "all":
        return [each for each in within if len(each) == max(map(len, within))]
    return within


def _by_rule(parts: Parts, arm: Arm, seed: int) -> list[Assembly]:
    """All assemblies of an arm; of `last`, the shorter before the longer."""
    if arm == "random":
        return random_assemblies(parts, DRAWS, seed)
    found: list[Assembly] = []
    for name in parts.candidates:
        able = [layer for layer, names in parts.options.items() if name in names]
        layers = {
            "last": [able[-count:] for count in range(1, len(able) + 1)],
            "alternate": [able[0::2], able[1::2]],
            "all": [able],
        }[arm]
        found += [dict.fromkeys(chosen, name) for chosen in layers if chosen]
    return found


def _name(assembly: Assembly) -> str:
    return next(iter(assembly.values()))
