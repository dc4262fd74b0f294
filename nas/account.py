"""What was loaded, in words: from the plain data of an account (nas/data/account.py) to lines for people.

It needs nothing but the account, so that a report is made from run.yaml alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NotRequired

from typing_extensions import TypedDict  # pydantic refuses typing's before Python 3.12

NAMED = 12  # classes that are listed one by one
WIDTH = 13  # of the labels of lines in the terminal


class Account(TypedDict):
    """The form of an account; nas/data/account.py says what the keys are."""

    source: str
    images: dict[str, int]
    origins: dict[str, str]
    classes: dict[str, list[int]]
    images_sha256: NotRequired[str]  # earlier versions did not have it
    size: int
    channels: int
    mean: list[float]
    std: list[float]
    interpolation: str
    crop: float
    measured: bool
    flip: bool
    streamed: list[str]
    notes: list[str]


def account_lines(account: Mapping[str, Any]) -> list[tuple[str, str]]:
    """(label, text) pairs.

    >>> account_lines(account_of(load("digits")))[1]
    ('train', '1,150 images: what is left')
    """
    total, size = sum(account["images"].values()), account["size"]
    kinds = f"{len(account['classes'])} classes" if account["classes"] else "no labels"
    count = account["channels"]
    channels = {1: "1 channel (grey)", 3: "3 channels (RGB)"}.get(count, f"{count} channels")
    lines = [("data", f"{account['source']}: {total:,} images, {kinds}, {size}×{size} pixels, {channels}")]
    for name, count in account["images"].items():
        streamed = "; decoded while it trains" if name in account["streamed"] else ""
        lines.append((name, f"{count:,} images: {account['origins'].get(name, 'as the source gives it')}{streamed}"))
    if account["classes"]:
        lines.append(("classes", _classes(account["classes"])))
    lines.append(("pixels", _pixels(account)))
    return lines + [("note", note) for note in account["notes"]]


def terminal_lines(account: Mapping[str, Any]) -> list[str]:
    """The same, a line of text each."""
    return [f"{label:<{WIDTH}}{text}" for label, text in account_lines(account)]


def _classes(classes: Mapping[str, list[int]]) -> str:
    totals = {name: sum(counts) for name, counts in classes.items()}
    if len(totals) <= NAMED:
        return ", ".join(f"{name} {count:,}" for name, count in totals.items())
    first = ", ".join(list(totals)[: NAMED // 3])
    return f"{first}, ...: {min(totals.values()):,} to {max(totals.values()):,} images each"


def _pixels(account: Mapping[str, Any]) -> str:
    mean, std = (", ".join(f"{value:.3f}" for value in account[key]) for key in ("mean", "std"))
    source = "of the training images" if account["measured"] else "as given"
    crop = f", crop {account['crop']:g}" if account["crop"] != 1 else ""
    flip = "mirrored in training" if account["flip"] else "never mirrored"
    return f"mean {mean}, std {std} ({source}); {account['interpolation']} resize{crop}; {flip}"
