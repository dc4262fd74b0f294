"""Several trials on one GPU: a search with fractions of it, and what they bring in trials per minute.

    rate = (n − 2k) / (end of trial n − k  −  end of trial k),    n trials, k at once

From the k-th end on all workers have imported and warmed up, and until the (n − k)-th there is a next trial for each.
The searches are of the same genomes, from the same seed, in turns.
"""

from __future__ import annotations

import statistics
import time
from typing import Any

from benchmarks.gpu.check import Found, Place
from nas.engine import Event
from nas.hardware import hardware
from nas.search import load_space
from nas.search.run import SearchResult, search

AT_ONCE = (1, 2, 4)
TRIALS = 24
ROUNDS = 2


class Watch:
    """An `on_event` that counts the trials at work, and notes when trials end."""

    def __init__(self) -> None:
        self.live: set[str] = set()
        self.most = 0
        self.ends: list[float] = []

    def __call__(self, event: Event) -> None:
        if event.kind == "started":
            self.live.add(event.trial)
            self.most = max(self.most, len(self.live))
        elif event.kind == "ended":
            self.live.discard(event.trial)
            self.ends.append(time.monotonic())

    def __reduce__(self) -> tuple[type, tuple[()]]:
        return Watch, ()  # Tune pickles its callbacks


def fractions(place: Place) -> Found:
    """A search with `workers: {gpu: 0.5}`: two trials at once, and all of them complete."""
    found, watch = _searched(place, "fractions", at_once=2, trials=4 if place.rehearsal else 8)
    states = found.trials["state"].value_counts().to_dict()
    wrong = [f"trials end as {states}: failure.txt or the reason says why, {_reasons(found)}"] * (
        set(states) != {"complete"}
    )
    wrong += [f"{watch.most} trial at once, of 2"] * (watch.most != 2)
    text = f"{len(found.trials)} trials complete, {watch.most} at once on one GPU"
    return Found(text, wrong, {"states": states, "at_once": watch.most})


def trials_per_minute(place: Place) -> Found:
    """Ratios to one trial at a time. There is no bar: small trials gain, large ones do not."""
    cores = hardware()["cores"]
    counts = [count for count in AT_ONCE if count <= cores][: 2 if place.rehearsal else None]
    rates: dict[int, list[float]] = {count: [] for count in counts}
    wrong = []
    for turn in range(1 if place.rehearsal else ROUNDS):
        for count in counts if turn % 2 == 0 else counts[::-1]:
            trials = 4 * count if place.rehearsal else TRIALS
            found, watch = _searched(place, f"{count}-at-once-{turn}", at_once=count, trials=trials)
            if set(found.trials["state"]) != {"complete"}:
                wrong.append(f"with {count} at once: {_reasons(found)}")
                continue
            rates[count].append(per_minute(watch.ends, count))
    known = {count: statistics.median(values) for count, values in rates.items() if values}
    ratios = {f"{1 / count:g}": rate / known[1] for count, rate in known.items() if 1 in known}
    told = ", ".join(f"gpu {gpu}: {ratio:.2f}×" for gpu, ratio in ratios.items())
    text = f"trials per minute: {told} ({known.get(1, 0):.1f} with gpu 1)"
    if len(counts) < len(AT_ONCE):
        text += f"; no more at once, as there are {cores} cores"
    return Found(text, wrong, {"rates": {str(count): values for count, values in rates.items()}, "ratios": ratios})


def per_minute(ends: list[float], at_once: int) -> float:
    """Trials per minute while all workers are busy; see the head of this file. ends: in seconds, ascending.

    >>> per_minute([0.0, 1.0, 2.0, 3.0, 4.0], at_once=1)
    60.0
    """
    last = len(ends) - at_once
    return 60 * (last - at_once) / (ends[last - 1] - ends[at_once - 1])


def _searched(place: Place, name: str, *, at_once: int, trials: int) -> tuple[SearchResult, Watch]:
    workers: dict[str, Any] = {"count": at_once, "gpu": 0 if place.rehearsal else 1 / at_once}
    settings = {"trials": trials, "sampler": "random", "workers": workers}
    settings |= {"training.epochs": 1, "training.limit": 128} if place.rehearsal else {"training.epochs": 5}
    watch = Watch()
    found = search(load_space("lavit_split").with_settings(settings), place.folder / name, on_event=watch)
    return found, watch


def _reasons(found: SearchResult) -> str:
    return "; ".join(
        sorted({str(reason)[:200] for reason in found.trials.get("reason", []) if str(reason) not in ("", "nan")})
    )
