"""What a check is: a function that computes on a device and says what it found, and what to do if that is wrong."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Place:
    """Where a check computes, and a folder of its own. rehearsal: on the CPU, with less of everything."""

    folder: Path
    rehearsal: bool = False

    @property
    def device(self) -> str:
        return "cpu" if self.rehearsal else "cuda"


@dataclass(frozen=True)
class Found:
    """text: one line for the table. wrong: what is not as it should be; empty for a check that passes.

    figures: plain data for the JSON file.
    """

    text: str
    wrong: Sequence[str] = ()
    figures: dict[str, Any] = field(default_factory=dict)


class Skipped(Exception):  # noqa: N818  (a state, not an error)
    """The check cannot be made on this machine; the text says why."""


@dataclass(frozen=True)
class Check:
    """remedy: what to do if it fails. limit: seconds after which it is ended. all_gpus: it sees more than the first."""

    name: str
    run: Callable[[Place], Found]
    remedy: str
    limit: float = 600.0
    all_gpus: bool = False


def apart(value: float, reference: float) -> float:
    """The relative difference to the reference.

    >>> apart(1.1, 1.0)
    0.1
    """
    return abs(value - reference) / abs(reference)
