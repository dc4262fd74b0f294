"""The stopwatch under other work: what disturbs it is seen, and said. Times come from a clock of the test's own."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain, cycle, repeat

import pytest

from nas.model import build
from nas.profiling import disturbance, stopwatch, throughput, throughputs


class Clock:
    """Each call that is timed takes the next of the given durations."""

    def __init__(self, durations: Iterator[float]):
        self.durations, self.now, self.ticks = durations, 0.0, 0

    def __call__(self) -> float:
        self.ticks += 1
        if self.ticks % 2 == 0:  # the end of a call
            self.now += next(self.durations)
        return self.now


def under(monkeypatch: pytest.MonkeyPatch, durations: Iterator[float]) -> Clock:
    clock = Clock(durations)
    monkeypatch.setattr(stopwatch.time, "perf_counter", clock)
    return clock


def test_on_a_quiet_machine_nothing_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    under(monkeypatch, cycle([0.010, 0.011]))
    found = throughput(build("lavit_digits"), batch_size=2, threads=1, seconds=0.2)
    assert found.images_per_second == pytest.approx(2 / 0.0105, rel=0.1)
    assert found.spread <= 1.1 and disturbance([found]) is None


def test_one_burst_of_other_work_is_timed_again(monkeypatch: pytest.MonkeyPatch) -> None:
    burst = chain([0.010] * 10, cycle([0.010, 0.100, 0.100]))
    calm_after = chain((next(burst) for _ in range(22)), repeat(0.010))
    under(monkeypatch, calm_after)
    found = throughput(build("lavit_digits"), batch_size=2, threads=1, seconds=0.5)
    assert found.images_per_second == pytest.approx(200) and disturbance([found]) is None


def test_steady_disturbance_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    under(monkeypatch, cycle([0.010, 0.100, 0.100, 0.100]))
    found = throughputs([build("lavit_digits"), build("lavit_digits")], batch_size=2, seconds=0.5)
    told = disturbance(found)
    assert told is not None and told.startswith("timing was disturbed by other work") and "10.0 times" in told


def test_of_no_models_nothing_is_said() -> None:
    assert disturbance([]) is None
