"""The figures of an ablation's table, from its cells: a row per arm, compared with the baseline over shared seeds.

Δ is the mean of the differences at equal seeds, with its 95 % t-interval; p is of the paired t-test, Holm-corrected
over all arms (nas/ablation/statistics.py). A factorial design has main effects, too.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from nas.ablation.spec import Ablation
from nas.ablation.statistics import Paired, holm, paired


@dataclass(frozen=True)
class Row:
    """The figures of one arm. Accuracies and differences are in percentage points."""

    name: str
    levels: list[str]
    params: float  # millions
    gmacs: float
    speed: float | None
    mean: float
    std: float
    count: int
    baseline: bool
    difference: Paired | None  # None for the baseline, or without a complete seed in common with it
    p: float
    mask: tuple[float, float] | None  # mass left in it; points of accuracy gained by leaving it out

    @property
    def bold(self) -> bool:
        return self.difference is not None and self.difference.low > 0 and self.p < 0.05


def rows_of(cells: pd.DataFrame, ablation: Ablation) -> list[Row]:
    """One row per arm that has a complete cell, in the order of the spec."""
    if "accuracy" not in cells:
        return []
    done = cells[cells["accuracy"].notna()]
    by_arm = {arm: part.set_index("seed")["accuracy"] for arm, part in done.groupby("arm", sort=False)}
    base = by_arm.get(ablation.baseline_name, pd.Series(dtype=float))
    differences: dict[str, Paired] = {}
    for arm, series in by_arm.items():
        shared = [seed for seed in ablation.seed_list if seed in series.index and seed in base.index]
        if arm != ablation.baseline_name and shared:
            differences[str(arm)] = paired(list(series[shared] * 100), list(base[shared] * 100))
    corrected = dict(zip(differences, holm([d.p for d in differences.values()]), strict=True))
    rows = []
    for arm, series in by_arm.items():
        first = done[done["arm"] == arm].iloc[0]
        rows.append(
            Row(
                name=str(arm),
                levels=[_mark(first.get(factor)) for factor in ablation.factors],
                params=first["params"] / 1e6,
                gmacs=first["macs"] / 1e9,
                speed=first.get("images_per_second"),
                mean=series.mean() * 100,
                std=series.std(ddof=1) * 100 if len(series) > 1 else float("nan"),
                count=len(series),
                baseline=arm == ablation.baseline_name,
                difference=differences.get(str(arm)),
                p=corrected.get(str(arm), float("nan")),
                mask=_mask(done[done["arm"] == arm]),
            )
        )
    return rows


def effects_of(cells: pd.DataFrame, ablation: Ablation) -> list[str]:
    """Main effects of a factorial design, of each level against its factor's first.

    `local 1-D − none: +3.10 [+1.20, +5.00]`

    An effect is the difference of the means over all combinations of the other factors, paired over seeds. Only seeds
    with all cells complete count.
    """
    if ablation.design != "factorial" or len(ablation.factors) < 2 or "accuracy" not in cells:
        return []
    designed = cells[(cells[list(ablation.factors)] != "").all(axis=1)]
    complete = designed.groupby("seed")["accuracy"].count()
    whole = complete.index[complete == math.prod(len(levels) for levels in ablation.factors.values())]
    if not len(whole):
        return []
    designed = designed[designed["seed"].isin(whole)]
    effects = []
    for factor, levels in ablation.factors.items():
        means = designed.pivot_table(index="seed", columns=factor, values="accuracy") * 100
        first, *others = levels
        for level in others:
            found = paired(list(means[level]), list(means[first]))
            effects.append(f"{factor} {level} − {first}: {interval(found)}")
    return effects


def interval(difference: Paired) -> str:
    """`+3.10 [+1.20, +5.00]`."""
    text = f"{difference.delta:+.2f}"
    if not np.isnan(difference.low):
        text += f" [{difference.low:+.2f}, {difference.high:+.2f}]"
    return text.replace("-", "−")


def _mark(level: Any) -> str:
    text = "" if not isinstance(level, str) else level
    return {"yes": "✓", "no": ""}.get(text, text)


def _mask(cells: pd.DataFrame) -> tuple[float, float] | None:
    if "accuracy_before_switch" not in cells or cells["mask_mass"].isna().all():
        return None
    gained = cells["accuracy_after_switch"] - cells["accuracy_before_switch"]
    return cells["mask_mass"].mean(), 100 * gained.mean()
