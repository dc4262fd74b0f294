"""What the test split says of winners that validation has chosen: sentences for the terminal and the page.

The best of many trials on a small validation split are in part lucky ones ("overtuning"): their accuracy there is too
high, and differences between them may be noise. The test split has chosen nothing. Standard errors are from the number
of images, √(p(1−p)/n). That of a difference takes both models as independent; they see the same images, so that it is
rather too wide.
"""

from __future__ import annotations

import math
from itertools import combinations

import pandas as pd

BEYOND = 2.0  # standard errors from which a difference is called one


def said_on_test(front: pd.DataFrame, base: str) -> list[str]:
    """front: with winner, hash, accuracy, accuracy_test and accuracy_test_se. base: hash of the base genome. Empty
    where the test split was not read.

    >>> said_on_test(run.front, run.base)[0]
    'On test, the winners are 0.99 points below their accuracy on validation, which chose them (mean of 2).'
    """
    if not {"accuracy_test", "accuracy_test_se"} <= set(front):
        return []
    known = front[front["accuracy_test"].notna() & front["accuracy_test_se"].notna()]
    if not len(known):
        return []
    own = "accuracy_weights" if "accuracy_weights" in known else "accuracy"
    change = 100 * float((known["accuracy_test"] - known[own]).mean())
    what, mean = ("winners are", f" (mean of {len(known)})") if len(known) > 1 else ("winner is", "")
    side = "below" if change < 0 else "above"
    whose = "their accuracy on validation, which chose them" if mean else "its accuracy on validation, which chose it"
    told = [f"On test, the {what} {abs(change):.2f} points {side} {whose}{mean}."]
    if len(known) > 1:
        told.append(_among(known))
    of_base = known[known["hash"] == base]
    if len(of_base) and len(known) > 1:
        told.append(_against(known, of_base.iloc[0]))
    return told


def _among(known: pd.DataFrame) -> str:
    """Which of the winners test tells apart."""
    pairs = [_difference(one, other) for one, other in combinations(known.to_dict("records"), 2)]
    apart = [pair for pair in pairs if pair[0] > BEYOND * pair[1]]
    most, error, names = max(pairs, key=lambda pair: pair[0])
    largest = f"the largest difference is {100 * most:.2f} ± {100 * error:.2f} points ({names})"
    if not apart:
        return f"Test does not tell any two of them apart by more than {BEYOND:g} standard errors: {largest}."
    return f"Test tells {len(apart)} of {len(pairs)} pairs apart by more than {BEYOND:g} standard errors: {largest}."


def _against(known: pd.DataFrame, base: pd.Series) -> str:
    others = known[known["winner"] != base["winner"]].to_dict("records")
    gains = []
    for one in others:
        gain = 100 * (one["accuracy_test"] - base["accuracy_test"])
        error = 100 * math.hypot(one["accuracy_test_se"], base["accuracy_test_se"])
        gains.append(f"{one['winner']} {gain:+.2f} ± {error:.2f}")
    return f"Against the base genome, which is {base['winner']}, in points on test: {', '.join(gains)}."


def _difference(one: dict, other: dict) -> tuple[float, float, str]:  # type: ignore[type-arg]
    """Its size, its standard error, and the two names, the better one first."""
    better, worse = (one, other) if one["accuracy_test"] >= other["accuracy_test"] else (other, one)
    error = math.hypot(one["accuracy_test_se"], other["accuracy_test_se"])
    size = better["accuracy_test"] - worse["accuracy_test"]
    return size, error, f"{better['winner']} {'over' if size else 'and'} {worse['winner']}"
