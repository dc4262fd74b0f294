"""What torch computes on, a device and its threads, and the seed of what it draws there."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from nas.errors import SpecError, shown

if TYPE_CHECKING:
    import torch


def default_device(gpus: float | None = None) -> str:
    """A GPU if there is one. gpus: what a worker is given of them, as in `workers.gpu`; 0 leaves them alone."""
    import torch

    return "cuda" if torch.cuda.is_available() and gpus != 0 else "cpu"


def usable_device(name: str | None) -> str:
    """The device called `name` (`cpu`, `cuda`, `cuda:1`), or the default one. Raises SpecError if torch cannot use it.

    >>> usable_device("cpu")
    'cpu'
    """
    import torch

    name = default_device() if name is None else name
    if name == "meta":
        raise SpecError("torch computes nothing on 'meta'; expected cpu, cuda or the like", path="--device")
    try:
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError) as error:
        raise SpecError(f"torch cannot use {shown(name)}: {str(error).splitlines()[0]}", path="--device") from None
    return name


@contextmanager
def torch_threads(count: int | None = None) -> Iterator[None]:
    """torch with `count` threads on the CPU, or None: as many as it has. Afterwards it has as many as before.

    >>> with torch_threads(1):
    ...     model(images_BCHW)
    """
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(count or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def seed_generators(seed: int, device: torch.device) -> None:
    """Seed torch's global generators that computing on `device` draws from.

    `torch.manual_seed` would also seed the GPUs that a user has not begun with, whose state cannot be kept.

    >>> seed_generators(0, torch.device("cpu"))
    """
    import torch

    if device.type == "cpu":
        torch.default_generator.manual_seed(seed)
    else:
        torch.manual_seed(seed)
