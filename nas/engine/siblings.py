"""The processes that train one genome together on this machine, without Ray: this one is rank 0 (nas/train/ranks.py).

The others are started by torch.multiprocessing and end with this process, however it ends. They meet through a file and
talk through the loopback device. Trials of a run have actors in their place (crew.py).
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch.multiprocessing.spawn import ProcessContext, ProcessExitedException, start_processes

from nas.engine.parcel import Parcel
from nas.environment import quiet_ray
from nas.errors import RunError, SpecError, first_line
from nas.plugins import blamed
from nas.train.ranks import Ranks, is_parting, meeting

GRACE = 15.0  # seconds in which the others notice that rank 0 has left
Follow = Callable[[Ranks, str], Any]


@contextmanager
def siblings(follow: Follow, count: int, device: str) -> Iterator[tuple[Ranks, str]]:
    """Rank 0 of `count` and its device, while the others run `follow` with theirs.

    Rank r has the r-th GPU, if `device` is `cuda`. Raises SpecError if there are fewer GPUs, RunError if one of the
    others fails or dies.
    """
    if count == 1:
        yield Ranks(), device
        return
    if device.startswith("cuda") and (device != "cuda" or torch.cuda.device_count() < count):
        message = f"{count} processes need as many GPUs: there are {torch.cuda.device_count()}, asked for {device}"
        raise SpecError(f"{message}; give fewer, or the device cpu")
    with tempfile.TemporaryDirectory(prefix="nas-ranks-") as name:
        folder = Path(name)
        with quiet_ray():  # a parcel imports Ray
            parcel = Parcel.of(follow)
        arguments = (parcel, count, folder, device, torch.get_default_dtype())
        with _no_script():
            others = start_processes(_follow, arguments, nprocs=count - 1, join=False, start_method="spawn")
        assert others is not None
        try:
            while len(list(folder.glob("here-*"))) < count - 1:
                others.join(timeout=0.05)
            with meeting(0, count, f"file://{folder}/meeting", device) as ranks:
                yield ranks, _device(device, 0)
        except Exception as error:
            cause = _cause(others, folder)
            if cause is None or not (is_parting(error) or isinstance(error, ProcessExitedException)):
                raise
            raise RunError(f"{cause}; the same command goes on from the last checkpoint") from error
        finally:
            for process in others.processes:
                process.join(GRACE)
                process.kill()


@contextmanager
def _no_script() -> Iterator[None]:
    """Processes that start in the block do not import the user's script: it would do all its work again in each.

    They need nothing of it. A parcel holds by value what the script defines, and refuses its plug-ins; torch's default
    dtype, which a script may set, goes with it.
    """
    script = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")  # without a file, as in a shell
    try:
        yield
    finally:
        sys.modules["__main__"] = script


def _follow(index: int, parcel: Parcel[Follow], count: int, folder: Path, device: str, dtype: torch.dtype) -> None:
    rank = index + 1
    torch.set_default_dtype(dtype)
    try:
        follow = parcel.open()
        (folder / f"here-{rank}").touch()
        with meeting(rank, count, f"file://{folder}/meeting", device) as ranks:
            follow(ranks, _device(device, rank))
    except (Exception, SystemExit) as error:  # by SystemExit a plug-in leaves, as if all were well
        if not is_parting(error):
            said = blamed(error) or f"{type(error).__name__}: {first_line(error)}"
            (folder / f"error-{rank}").write_text(f"rank {rank} failed: {said}")
        raise SystemExit(1) from None


def _cause(others: ProcessContext, folder: Path) -> str | None:
    """What the others say about the end of a training that failed in rank 0."""
    for process in others.processes:
        process.join(GRACE)
    for file in sorted(folder.glob("error-*")):
        return file.read_text().splitlines()[0]
    for number, process in enumerate(others.processes, 1):
        if process.exitcode:
            how = f"by signal {-process.exitcode}" if process.exitcode < 0 else f"with status {process.exitcode}"
            return f"rank {number} ended {how}"
    return None


def _device(device: str, rank: int) -> str:
    return f"cuda:{rank}" if device == "cuda" else device
