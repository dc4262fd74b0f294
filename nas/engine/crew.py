"""The processes that train one trial together (nas/train/ranks.py): the worker is rank 0, the others are Ray actors.

Tune gives a trial a placement group with one bundle for each process. The worker runs in the first, and starts an actor
in each of the others. Ray ends actors with the process that started them, and a placement group with its trial: nothing
is left behind, however a trial ends. They stay for the next trials of the worker. (A TorchTrainer inside of a Tune
trial leaves its placement group behind: ray#54305.)

On one machine, the ranks meet through a file and talk through the loopback device. Across machines they meet at a port
of rank 0's machine, where torch listens on every interface: let no others into that network.

- A rank that dies takes its connections with it. Rank 0 then fails in the middle of a step, with an error that does not
  say why; so the others are asked. `LostRankError`: the trial is retried, like one whose worker died.
- An error of another rank, such as out of memory, is the trial's, and says which rank it was, and which plug-in.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from nas.engine.parcel import Parcel
from nas.engine.worker import LostRankError
from nas.errors import DataError, first_line
from nas.plugins import blamed
from nas.scratch import scratch
from nas.train.ranks import Ranks, is_parting, meeting

GRACE = 15.0  # seconds in which the others notice that rank 0 has left
Follow = Callable[[Ranks], Any]


class RankError(RuntimeError):
    """What went wrong in another rank."""


@contextmanager
def crew(follow: Follow, count: int, *, cpu: int, device: str) -> Iterator[Ranks]:
    """Rank 0 of `count`, while the others run `follow` with theirs. cpu: cores of each. Call in a trial of Ray Tune.

    Raises LostRankError if one of them dies, DataError if one cannot read the images, RankError for its other errors.

    >>> with crew(partial(train, genome, images), 4, cpu=1, device="cuda") as ranks:
    ...     train(genome, images, ranks)
    """
    if count == 1:
        yield Ranks()
        return
    import ray

    mates = _mates(count, cpu, device)
    parcel = ray.put(Parcel.of(follow))
    try:
        machines = ray.get([mate.prepare.remote(parcel) for mate in mates])
    except ray.exceptions.RayActorError as error:
        _dismiss()
        raise LostRankError(f"another process of the trial did not start: {first_line(error)}") from error
    except ray.exceptions.RayTaskError as error:
        raise error.cause from error
    with scratch("nas-ranks-") as folder:
        together = {*machines} == {ray.get_runtime_context().get_node_id()}
        address = f"file://{folder}/meeting" if together else f"tcp://{ray.util.get_node_ip_address()}:{_free_port()}"
        parts = [mate.follow.remote(rank, count, address, device) for rank, mate in enumerate(mates, 1)]
        try:
            with meeting(0, count, address, device) as ranks:
                yield ranks
        except BaseException as error:
            cause = _cause(parts)
            if isinstance(error, Exception) and (isinstance(cause, (LostRankError, DataError)) or is_parting(error)):
                raise cause or LostRankError("the processes of the trial lost each other") from error
            raise
        try:
            ray.get(parts)
        except ray.exceptions.RayError:  # it has died since: the trial is complete without it
            _dismiss()


def _cause(parts: list[Any]) -> Exception | None:
    """What the other ranks say about the end of a training that failed in rank 0. Dismisses those that are not free."""
    import ray

    ended, running = ray.wait(parts, num_returns=len(parts), timeout=GRACE)
    found: list[Exception] = []
    for part in ended:
        try:
            answer = ray.get(part)
        except ray.exceptions.RayError as error:
            found.insert(0, LostRankError(f"rank {1 + parts.index(part)} of the trial has died: {first_line(error)}"))
        else:
            if isinstance(answer, DataError):
                found.append(answer)
            elif answer is not None:
                found.append(RankError(f"rank {1 + parts.index(part)}: {answer}"))
    if running or any(isinstance(each, LostRankError) for each in found):
        _dismiss()
    return next((each for each in found if isinstance(each, DataError)), found[0] if found else None)


class _Mate:
    """An actor: a rank of one trial after another."""

    def prepare(self, parcel: Parcel[Follow]) -> str:
        """The machine. Whoever fails here has not come to the meeting, where the others would wait for it."""
        import ray

        self.next = parcel.open()
        return str(ray.get_runtime_context().get_node_id())

    def follow(self, rank: int, count: int, address: str, device: str) -> str | DataError | None:
        """What went wrong, or None; an error that came from another rank is left to that one.

        Images that cannot be read here are no failure of the trial (nas/engine/worker.py).
        """
        try:
            with meeting(rank, count, address, device) as ranks:
                self.next(ranks)
        except (Exception, SystemExit) as error:
            if isinstance(error, DataError):
                return error
            told = blamed(error)  # by SystemExit a plug-in leaves, which would look like a dead rank
            if told is None and isinstance(error, SystemExit):
                raise
            return None if is_parting(error) else str(told or f"{type(error).__name__}: {first_line(error)}")
        return None


_hired: list[Any] = []


def _mates(count: int, cpu: int, device: str) -> list[Any]:
    """The actors of this process, which are started for its first trial."""
    import ray
    from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

    if not _hired:
        group = ray.util.get_current_placement_group()
        assert group is not None  # Tune's, of this trial
        remote = ray.remote(num_cpus=cpu, num_gpus=float(device == "cuda"))(_Mate)
        for bundle in range(1, count):
            place = PlacementGroupSchedulingStrategy(group, placement_group_bundle_index=bundle)
            _hired.append(remote.options(scheduling_strategy=place).remote())
    return list(_hired)


def _dismiss() -> None:
    import ray

    while _hired:
        ray.kill(_hired.pop())


def _free_port() -> int:
    with socket.socket() as server:
        server.bind(("", 0))
        return int(server.getsockname()[1])
