"""Keeps the Optuna study of a run (nas/search/mirror.py) up to date while the search goes on.

Adding a trial takes some 30 ms of Python, and a database that is locked or gone answers after many seconds. So a thread
does it beside the driver, and no error of it reaches the search: it is told once as a message, the study is tried again
each minute, and what is still missing in the end is added when the run is next started.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from queue import SimpleQueue
from types import TracebackType
from typing import TYPE_CHECKING

from nas.engine import Event, Job, Ledger, OnEvent, Outcome, Trial
from nas.search.mirror import Mirror, check_url

if TYPE_CHECKING:
    from nas.search.space import SearchSpace

RETRY = 60.0  # seconds after an error until the database is tried again
PATIENCE = 60.0  # seconds that the end of a search waits for the last trials to be added


@contextmanager
def followed(
    on_event: OnEvent, ledger: Ledger, study: str | None, name: str, space: SearchSpace, objectives: dict[str, str]
) -> Iterator[OnEvent]:
    """`on_event`, with the study kept up to date meanwhile. study: as in a space: a URL, null for a file, or off.

    >>> with followed(on_event, ledger, space.study, "my_run", space, space.objectives) as on_event:
    ...     run(candidates, ledger, work=work, pool=pool, on_event=on_event)
    """
    if study == "off":
        yield on_event
        return
    url = f"sqlite:///{ledger.directory}/optuna.db" if study is None else check_url(study)
    with Follower(on_event, ledger, url, name, space, objectives) as follower:
        yield follower


class Follower:
    """An `on_event` that hands events on to another and has each ended trial added to the study; a context meanwhile.

    url: as `check_url` answers it. name: of the study; runs that share a server need different ones.
    """

    def __init__(
        self, on_event: OnEvent, ledger: Ledger, url: str, name: str, space: SearchSpace, objectives: dict[str, str]
    ):
        self.on_event, self.ledger, self.folder = on_event, ledger, ledger.folder
        self.url, self.name, self.space, self.objectives = url, name, space, objectives
        self._ended = self._all()  # ids of trials, known to the thread
        self._heard = set(self._ended)  # with those on their way to it
        self._added = 0  # how many of `_ended` the study is known to have
        self._error: Exception | None = None
        self._told = False
        self._queue: SimpleQueue[str | None] = SimpleQueue()  # ids of trials that have ended; None: the search has
        self._thread = threading.Thread(target=self._follow, name="optuna-study", daemon=True)

    def __call__(self, event: Event) -> None:
        self.on_event(event)
        if event.kind in ("ended", "refused"):
            self._hear(event.trial)
        self._tell()

    def __enter__(self) -> Follower:
        import optuna  # noqa: F401  (here, so that the thread does not import it while the driver does)

        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for trial in self._all():  # some end with the search, without an event of their own
            if trial not in self._heard:
                self._hear(trial)
        self._queue.put(None)
        self._thread.join(PATIENCE)
        self._tell()
        missing = len(self._heard) - self._added
        if missing:
            self._say(f"{missing} trials are not in the Optuna study yet; the next start of this run adds them")

    def _all(self) -> list[str]:
        return [trial.job.id for trial in self.ledger.trials if trial.outcome is not None]

    def _hear(self, trial: str) -> None:
        self._heard.add(trial)
        self._queue.put(trial)

    def _tell(self) -> None:
        """Say once that something went wrong, in the driver's thread, where all events are told."""
        if self._error is None or self._told:
            return
        self._told = True
        error = self._error.__cause__ or self._error  # Optuna puts a sentence of its own before the database's
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        self._say(f"the Optuna study at {self.url} cannot be written; the search goes on, and tries again: {reason}")

    def _say(self, text: str) -> None:
        self.on_event(Event("message", data={"text": text}))

    # ------------------------------------------------------------------------------------------------------------------
    # The thread
    # ------------------------------------------------------------------------------------------------------------------
    def _follow(self) -> None:
        mirror: Mirror | None = None
        next_try, ending = 0.0, False
        while True:
            if self._ended and (ending or time.monotonic() >= next_try):
                try:
                    mirror = mirror or self._opened()
                    for trial in self._ended[self._added :]:
                        mirror.add(self._read(trial))
                        self._added += 1
                except Exception as error:  # whatever a database may raise
                    mirror, self._error, next_try = None, error, time.monotonic() + RETRY
            if ending:
                return
            news = self._queue.get()
            if news is None:
                ending = True
            else:
                self._ended.append(news)

    def _opened(self) -> Mirror:
        """The study, with nothing in it that the trial directories do not have. What it has already is added again."""
        first = Job.read(min(self.folder.glob("[0-9]*")))
        mirror = Mirror(self.url, self.name, self.space, self.objectives, first)
        mirror.match([self._read(trial) for trial in self._ended])
        self._added = 0
        return mirror

    def _read(self, trial: str) -> Trial:
        return Trial(Job.read(self.folder / trial), Outcome.read(self.folder / trial))
