"""A number that moves with training progress p in [0, 1]: the mask-decay schedules of auxiliaries.

    value(p) = start + (end − start)·g(t),   t = clamp((p − begin)/(until − begin), 0, 1)
    linear g = t,   cosine g = (1 − cos πt)/2,   step g = 1 from p = until on, 0 before

In a genome a plain number is a constant; `{start: 1, end: 0, shape: cosine, until: 0.8}` is a schedule.
"""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, ConfigDict, Field, PlainSerializer, model_validator

from nas.keys import Keys


class Schedule(Keys):
    """`value(p)` for training progress p. Equal `start` and `end` make a constant.

    >>> Schedule(start=1.0, end=0.0, shape="linear").value(0.25)
    0.75
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
    start: float = Field(description="value at `begin` and before")
    end: float = Field(description="value at `until` and after")
    shape: Literal["linear", "cosine", "step"] = Field("cosine", description="of the way between")
    begin: float = Field(0.0, ge=0, le=1, description="share of the training")
    until: float = Field(1.0, ge=0, le=1, description="share of the training")

    @model_validator(mode="after")
    def _ordered(self) -> Schedule:
        if self.begin >= self.until:
            raise ValueError(f"begin {self.begin} must lie before until {self.until}")
        return self

    def value(self, progress: float) -> float:
        t = min(1.0, max(0.0, (progress - self.begin) / (self.until - self.begin)))
        if self.shape == "step":
            t = float(t >= 1)
        elif self.shape == "cosine":
            t = (1 - math.cos(math.pi * t)) / 2
        return self.start + (self.end - self.start) * t


def _lift(value: Any) -> Any:
    return {"start": value, "end": value} if isinstance(value, (int, float)) and not isinstance(value, bool) else value


def _shorten(schedule: Schedule) -> Any:
    changed = schedule.model_dump(exclude_defaults=True)
    return changed["start"] if changed == {"start": schedule.end, "end": schedule.end} else changed


Scheduled = Annotated[Schedule, BeforeValidator(_lift, float | Schedule), PlainSerializer(_shorten)]
