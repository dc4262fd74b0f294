"""Which device torch computes on: one answer for training, evaluation and the stopwatch."""

from __future__ import annotations

from nas.errors import SpecError, shown


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
