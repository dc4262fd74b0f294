"""The `limits:` section: when a trial is ended. The driver watches every trial, on whichever machine it runs.

The calls of nas/engine/actors.py are watched in the same way, for stalls alone.

    stalled    no progress for max(stalled_seconds, 50 × the median epoch of the trial)
    too long   more than trial_seconds of training, over all resumptions
    too large  the worker process holds more than `memory` bytes (resident)

Progress is what nas/heartbeat.py calls a beat: a training step, an evaluated batch, a decoded image. Epochs alone would
not do, since the first one has no measure and may rightly take hours. A worker passes beats on to the driver as reports
of Ray Tune, at most `REPORTS` times per `stalled_seconds`. The driver ends a worker by killing its process. This holds
for a training that sleeps, waits for a lock, keeps the interpreter's lock in C code, or was stopped by a signal, which
nothing inside of the worker could see in every case.

A stall may be the machine's fault, so it counts as the death of a worker: the trial is tried once more, from its
checkpoint. A trial that exceeds one of the other limits has failed. They are off by default, so that which trials end
does not depend on the clock unless the user wants it.
"""

from __future__ import annotations

import resource
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from time import monotonic

from pydantic import ConfigDict, Field

from nas.engine.reading import read_epochs
from nas.keys import Keys

EPOCHS = 50  # of the trial's own, without progress
REPORTS = 20
LISTENED = 1.0  # seconds that one round of the driver counts for at most


class Limits(Keys):
    """The `limits:` section of a search space or an ablation.

    >>> Limits(trial_seconds=3600, memory=4e9).memory
    4000000000
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
    stalled_seconds: float = Field(600, gt=0, description="seconds without progress after which a trial is stalled")
    trial_seconds: float | None = Field(None, gt=0, description="seconds of training of one trial; null: no limit")
    memory: int | None = Field(None, ge=1, le=2**60, description="bytes that a worker process may hold; null: no limit")


class Pulse:
    """The worker's listener: `send`s the resident memory in bytes, now and then, or at once if over the limit."""

    def __init__(self, limits: Limits, send: Callable[[int], None]):
        self._send, self._memory = send, limits.memory
        self._interval = limits.stalled_seconds / REPORTS
        self._next = monotonic() + self._interval

    def __call__(self) -> None:
        if monotonic() >= self._next or (self._memory is not None and _resident() > self._memory):
            self._send(_resident())
            self._next = monotonic() + self._interval


def _resident() -> int:
    """Bytes of this process in memory."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
    except FileNotFoundError:  # not Linux: the most that it has ever held, in bytes
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


@dataclass(frozen=True)
class Excess:
    """Why a trial is ended. seconds: of its training so far."""

    reason: str
    seconds: float
    stalled: bool


@dataclass
class _Attempt:
    """A trial on a worker. epochs_E: seconds of each of the trial's E epochs. Other times are those of the watch."""

    epochs_E: list[float]
    epoch_begun: float
    heard: float
    memory: int = 0


class Watch:
    """The driver's view of the trials that are being trained, or of other work in their place.

    Its clock stands still while the driver does something else: waiting reports of workers are no stall, whether the
    driver was busy or was suspended with Ctrl-Z.
    """

    def __init__(self, limits: Limits):
        self._limits = limits
        self._attempts: dict[str, _Attempt] = {}
        self._now, self._read = 0.0, monotonic()

    def begin(self, trial: str, directory: Path | None) -> None:
        """A worker begins or continues a trial. The epochs before are those of its metrics.csv; None: it has none."""
        rows = read_epochs(directory / "metrics.csv") if directory is not None else []
        self._attempts[trial] = _Attempt([row["seconds"] for row in rows if "seconds" in row], self._now, self._now)

    def alive(self, trial: str, memory: int) -> None:
        """The trial has made progress. memory: resident bytes of its worker."""
        if (attempt := self._attempts.get(trial)) is not None:
            attempt.heard, attempt.memory = self._now, memory

    def epoch(self, trial: str, seconds: float) -> None:
        """The trial has finished an epoch."""
        if (attempt := self._attempts.get(trial)) is not None:
            attempt.epochs_E.append(seconds)
            attempt.heard = attempt.epoch_begun = self._now

    def end(self, trial: str) -> None:
        """The trial is no longer with a worker."""
        self._attempts.pop(trial, None)

    def exceeding(self) -> dict[str, Excess]:
        """The trials to be ended now. They are no longer watched. To be called once in every round of the driver."""
        now = monotonic()
        self._now, self._read = self._now + min(now - self._read, LISTENED), now
        found = {trial: self._excess(attempt) for trial, attempt in self._attempts.items()}
        over = {trial: excess for trial, excess in found.items() if excess is not None}
        for trial in over:
            self.end(trial)
        return over

    def _excess(self, attempt: _Attempt) -> Excess | None:
        limits, spent = self._limits, sum(attempt.epochs_E) + self._now - attempt.epoch_begun
        if limits.memory is not None and attempt.memory > limits.memory:
            found = f"its worker holds {attempt.memory / 1e9:,.3g} GB, at most {limits.memory / 1e9:,.3g} GB"
            return Excess(f"over limits.memory: {found}", spent, stalled=False)
        if limits.trial_seconds is not None and spent > limits.trial_seconds:
            found = f"trained for {spent:,.0f} s, at most {limits.trial_seconds:,.0f} s"
            return Excess(f"over limits.trial_seconds: {found}", spent, stalled=False)
        patience = max(limits.stalled_seconds, EPOCHS * median(attempt.epochs_E or [0]))
        if self._now - attempt.heard > patience:
            return Excess(f"stalled: no progress for {patience:,.0f} s", spent, stalled=True)
        return None
