"""Progress of a search in the terminal: a progress line with the running trials below, or plain lines in a log.

    ━━━━━━━━━━━━━╺━━━━━━━ 21/32 · best 97.22 ± 0.97 % · front 6 · refused 3 · failed 0 · 0:03:10 · 0:01:25 left
      0021  epoch  7/15  94.43 ± 1.35 %
      0022  epoch  2/15  81.30 ± 2.30 %

Counts start from the trials that a run already has, if it is resumed; the engine's events update them.
"""

from __future__ import annotations

import time
from collections import Counter
from types import TracebackType
from typing import Any

import pandas as pd
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from nas.credentials import masked
from nas.engine import Event
from nas.metrics import METRICS
from nas.report.tables import with_error
from nas.search import front_of

Found = tuple[float | None, float | None]  # accuracy and its standard error


class Progress:
    """An `on_event` for `nas.search.search`, and the context manager that displays it.

    >>> with Progress(trials=32, epochs=15, objectives=["accuracy", "macs"]) as progress:
    ...     search(space, directory, on_event=progress)
    """

    def __init__(self, *, trials: int, epochs: int, objectives: list[str], console: Console | None = None):
        self.trials, self.epochs, self.objectives = trials, epochs, objectives
        self.console = console or Console(highlight=False)
        self.states: dict[tuple[int, str], str] = {}  # of trials, by number of their run and id
        self.run = 0  # 1 and more: of a resumed one, and a baseline
        self.front = pd.DataFrame()
        self.best: Found = (None, None)
        self.running: dict[str, tuple[int, Found]] = {}  # by trial: epochs done, accuracy after them
        self.begin, self.before = time.monotonic(), 0  # trials that a worker had ended when this run went on
        self.first = 0.0  # when the first training began; the estimate excludes the start of the workers
        self.live = Live(console=self.console, get_renderable=self._render, refresh_per_second=4, transient=True)

    @property
    def counts(self) -> Counter[str]:
        """Trials by state. One that is trained again, since a file of it was deleted, counts once."""
        return Counter(self.states.values())

    @property
    def trained(self) -> int:
        """Trials that a worker has ended."""
        return self.counts["complete"] + self.counts["pruned"] + self.counts["failed"]

    def __getstate__(self) -> dict[str, Any]:
        """Empty: Ray Tune pickles its callbacks, and a terminal cannot be pickled."""
        return {}

    def __enter__(self) -> Progress:
        if self.console.is_terminal:
            self.live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.live.stop()

    def say(self, text: str) -> None:
        self.console.print(masked(text), markup=False, soft_wrap=True)

    def __call__(self, event: Event) -> None:
        if event.kind == "message":
            self.say(event.data["text"])
        elif event.kind == "resumed":
            self._resumed(event.data["table"])
        elif event.kind == "started":
            self.first = self.first or time.monotonic()
            self.running.setdefault(event.trial, (0, (None, None)))
        elif event.kind == "epoch":
            self.running[event.trial] = (int(event.data["epoch"]), _found(event.data))
        elif event.kind == "paused":
            self.running.pop(event.trial, None)
        else:
            self._ended(event.trial, event.data)

    def _resumed(self, table: pd.DataFrame) -> None:
        self.run += 1
        before = self.trained
        self.states |= {(self.run, trial): state for trial, state in zip(table["trial"], table["state"], strict=True)}
        self.before += self.trained - before
        if not len(table):
            return
        ended = int((table["state"] != "running").sum())
        self.say(f"resuming: {ended} trials have ended before")
        front = front_of(table, self.objectives).reindex(columns=["state", *self.objectives])
        self.front = front_of(pd.concat([self.front, front]), self.objectives) if len(self.front) else front
        for accuracy, error in table[["accuracy", "accuracy_se"]].dropna(subset="accuracy").itertuples(index=False):
            self._take(accuracy, error)

    def _ended(self, trial: str, outcome: dict[str, Any]) -> None:
        state = outcome["state"]
        self.running.pop(trial, None)
        self.states[self.run, trial] = state
        if state == "complete" and outcome["accuracy"] is not None:
            self._take(*_found(outcome))
            row = pd.DataFrame([{name: outcome.get(name) for name in ("state", *self.objectives)}])
            self.front = front_of(pd.concat([self.front, row]) if len(self.front) else row, self.objectives)
        if state == "failed" or not self.console.is_terminal:
            self.say(self._line(trial, outcome))

    def _take(self, accuracy: float | None, error: float | None) -> None:
        if accuracy is not None and (self.best[0] is None or accuracy > self.best[0]):
            self.best = accuracy, error

    def _line(self, trial: str, outcome: dict[str, Any]) -> str:
        """`trial 0007 complete: 97.22 ± 0.97 %, 331 k MACs, 6.1 s (8 of 32)`"""
        found = [f"{with_error('accuracy', *_found(outcome))} %"] if outcome.get("accuracy") is not None else []
        costs = [name for name in dict.fromkeys(["macs", *self.objectives]) if name != "accuracy"]
        found += [METRICS[name].phrase(outcome[name]) for name in costs if outcome.get(name) is not None]
        found += [f"{outcome['seconds']:.1f} s"] if outcome["seconds"] else []
        found += [outcome["reason"]] if outcome["reason"] else []
        return f"trial {trial} {outcome['state']}: {', '.join(found)} ({self.trained} of {self.trials})"

    def _render(self) -> RenderableType:
        share = sum(min(epochs / self.epochs, 1) for epochs, _ in self.running.values())
        now = time.monotonic()
        done = self.trained - self.before + share
        left = (now - self.first) / done * (self.trials - self.before - done) if done > 0 else None
        parts = [
            f"{self.trained}/{self.trials}",
            f"best {with_error('accuracy', *self.best)} %" if self.best[0] is not None else "",
            f"front {len(self.front)}",
            *[f"{word} {self.counts[state]}" for state, word in _COUNTED if self.counts[state]],
            _clock(now - self.begin),
            f"{_clock(left)} left" if left is not None else "",
        ]
        line = Table.grid(padding=(0, 1))
        bar = ProgressBar(self.trials, self.trained + share, width=30, complete_style="cyan", finished_style="cyan")
        line.add_row(bar, " · ".join(part for part in parts if part))
        running = [
            f"  {trial}  epoch {epochs:>3}/{self.epochs}  {with_error('accuracy', *found)} %"
            for trial, (epochs, found) in sorted(self.running.items())[:_SHOWN]
        ]
        if len(self.running) > _SHOWN:
            running.append(f"  and {len(self.running) - _SHOWN} more")
        return Group(line, Text("\n".join(running), style="dim"))


def _found(content: dict[str, Any]) -> Found:
    return content.get("accuracy"), content.get("accuracy_se")


_COUNTED = (("infeasible", "refused"), ("pruned", "pruned"), ("failed", "failed"))
_SHOWN = 8  # running trials that get a line


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{seconds:02d}"
