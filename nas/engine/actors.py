"""Calls on worker processes, watched: the test split (nas/engine/evaluation.py), and a conversion up to its repair.

    with Actors(common, pool, limits, say) as actors:
        actors.run([Call(work, (number,)) for number in range(9)], done, lost)

- An actor has two threads: one works, the other one answers with the beats so far (nas/heartbeat.py). An actor that
  dies, or makes no progress (nas/engine/limits.py), is replaced, and its call is made once more. What becomes of a call
  that is lost again is for the client to say.
- A call goes to a worker that has started, never to one that waits for a place: the machines may hold fewer workers
  than they did when the run began, and Ray lets the others wait for as long as idle ones keep their cores. While none
  has a place, that is said once.
- Workers stay for later calls, since many a call takes less time than a worker's start. The end of the context kills
  them, an interrupt's too: the cores are free, and nothing is left behind.
- What a call raises is an answer, and is not tried again. A SpecError comes as it was raised, an error of a plug-in's
  code as one that names it, SystemExit and KeyboardInterrupt included, which would look like a dead worker. Others come
  with Ray's traceback.
"""

from __future__ import annotations

import math
import time
from collections import defaultdict, deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from nas.engine.limits import Limits, Watch
from nas.engine.parcel import Parcel
from nas.engine.pool import Pool
from nas.errors import SpecError, first_line
from nas.heartbeat import heard_by
from nas.plugins import blamed

RETRIES = 1
ROUND = 0.2  # seconds after which the driver looks after the workers
PATIENCE = 60.0  # seconds without any worker after which that is said


@dataclass(frozen=True)
class Call:
    """`work(common, *arguments)` in a worker. trial: directory of a trial whose epochs say what a long silence is."""

    work: Callable[..., Any]
    arguments: tuple[Any, ...] = ()
    trial: Path | None = None


@dataclass(eq=False)
class _Hired:
    """An actor as the driver knows it. pending: an answer that shows that it lives, or that of the call `number`.

    started: it has answered once. answer: of `beats`. beats: as of the last answer.
    """

    actor: Any
    pending: Any
    number: int | None = None
    started: bool = False
    answer: Any = None
    beats: int = 0


class Actors:
    """The workers, as a context. common: what every call needs, sent once. say: tells the user what happens.

    Call inside `session(...)`. Raises SpecError if a plug-in is defined in a script or a notebook.
    """

    def __init__(self, common: Any, pool: Pool, limits: Limits, say: Callable[[str], None]):
        import ray

        self.common, self.pool, self.say = common, pool, say
        self._parcel = ray.put(Parcel.of(common))
        self._actor: Any = ray.remote(num_cpus=pool.cpu, num_gpus=pool.gpu)(_Actor).options(max_concurrency=2)
        self._watch = Watch(Limits(stalled_seconds=limits.stalled_seconds))
        self._hired: list[_Hired] = []
        self._patient_until = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for worker in list(self._hired):
            self._dismiss(worker)

    def run(
        self,
        calls: Sequence[Call],
        done: Callable[[int, Any], None],
        lost: Callable[[int, list[str]], None],
    ) -> None:
        """Make all calls, as many at once as there are places.

        done: told of the number of a call and its answer. lost: told of its number each time that its worker died or
        stalled, with the reasons so far; once there are more than `RETRIES`, it is not tried again. Both are called in
        this process. Raises what they raise, and what a call raises.

        >>> actors.run([Call(count, ("train",)), Call(count, ("test",))], done=found.__setitem__, lost=print)
        """
        import ray

        waiting, reasons = deque(range(len(calls))), defaultdict[int, list[str]](list)

        def failed(number: int, reason: str) -> None:
            reasons[number].append(reason)
            if len(reasons[number]) <= RETRIES:
                waiting.appendleft(number)
            lost(number, reasons[number])

        self._patient_until = time.monotonic() + PATIENCE
        for worker in self._hired:  # since the last call one may have died
            worker.pending = worker.actor.beats.remote()
        try:
            while waiting or self._working:
                self._hire(len(waiting) + len(self._working))
                for worker in [worker for worker in self._hired if worker.pending is None][: len(waiting)]:
                    self._begin(worker, waiting[0], calls[waiting.popleft()])
                ready, _ = ray.wait([each.pending for each in self._hired if each.pending is not None], timeout=ROUND)
                self._say_if_none_starts(ready)
                for worker in [worker for worker in self._hired if worker.pending in ready]:
                    number, started = worker.number, worker.started
                    answer, death = self._end(worker)
                    if death and not started and waiting:  # or workers that never start would be hired for ever
                        number = waiting.popleft()
                    if number is None:
                        continue
                    if death:
                        failed(number, death)
                    else:
                        done(number, answer)
                for worker in self._working:
                    self._listen(worker)
                for name, excess in self._watch.exceeding().items():
                    (worker,) = (worker for worker in self._working if str(worker.number) == name)
                    self._dismiss(worker)
                    failed(int(name), excess.reason)
        finally:
            for worker in self._working:  # on calls that an error or an interrupt cut off
                self._dismiss(worker)

    @property
    def _working(self) -> list[_Hired]:
        return [worker for worker in self._hired if worker.number is not None]

    def _hire(self, left: int) -> None:
        """Ask for as many workers as there are calls left, at most one for each place."""
        for _ in range(min(self.pool.places, left) - len(self._hired)):
            actor = self._actor.remote()
            self._hired.append(_Hired(actor, actor.beats.remote()))

    def _dismiss(self, worker: _Hired) -> None:
        import ray

        if ray.is_initialized():  # or `kill` would begin one
            ray.kill(worker.actor)
        self._hired.remove(worker)
        self._watch.end(str(worker.number))

    def _begin(self, worker: _Hired, number: int, call: Call) -> None:
        worker.number = number
        worker.pending = worker.actor.call.remote(call.work, self._parcel, *call.arguments)
        worker.answer = worker.actor.beats.remote()
        self._watch.begin(str(number), call.trial)

    def _end(self, worker: _Hired) -> tuple[Any, str]:
        """The answer that was pending, or why there is none; the worker is idle, or gone. Raises what its call did."""
        import ray

        try:
            answer = ray.get(worker.pending)
        except ray.exceptions.RayTaskError as error:
            if isinstance(error.cause, SpecError):
                raise error.cause from None
            raise
        except ray.exceptions.RayError as error:
            self._dismiss(worker)
            return None, _death(error) if worker.number is not None else "the worker process did not start"
        self._watch.end(str(worker.number))
        worker.pending, worker.number, worker.started = None, None, True
        return answer, ""

    def _listen(self, worker: _Hired) -> None:
        """Tell the watch of new beats. A worker that is stopped, or holds the interpreter's lock, does not answer."""
        import ray

        if not ray.wait([worker.answer], timeout=0)[0]:
            return
        with suppress(ray.exceptions.RayError):  # `_end` sees that as well
            beats = ray.get(worker.answer)
            if beats != worker.beats:
                self._watch.alive(str(worker.number), 0)
            worker.beats, worker.answer = beats, worker.actor.beats.remote()

    def _say_if_none_starts(self, ready: list[Any]) -> None:
        if ready or self._working:
            self._patient_until = time.monotonic() + PATIENCE
        elif time.monotonic() > self._patient_until:
            self._patient_until = math.inf
            need = f"{self.pool.cpu} CPU and {self.pool.gpu:g} GPU"
            self.say(f"no worker of {need} has found a place: other work keeps the machines; waiting for it to end")


class _Actor:
    """A worker process, with two threads: one works while the other one answers."""

    def __init__(self) -> None:
        self._beats = 0

    def beats(self) -> int:
        """Signs of life so far."""
        return self._beats

    def call(self, work: Callable[..., Any], common: Parcel[Any], *arguments: Any) -> Any:
        with heard_by(self._beat):
            try:
                return work(common.open(), *arguments)
            except (Exception, SystemExit, KeyboardInterrupt) as error:
                if (told := blamed(error)) is None:
                    raise
                raise told from error

    def _beat(self) -> None:
        self._beats += 1


def _death(error: Exception) -> str:
    """In words. Ray has reasons of its own to end a worker, such as a machine without memory, and says them first."""
    import ray

    if isinstance(error, ray.exceptions.RayActorError):
        return "the worker process died"
    return f"the worker process died: {first_line(error)}"
