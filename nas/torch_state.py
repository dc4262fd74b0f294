"""The state of torch that is not ours to change.

- What every training of the process goes by. A plug-in may not change it as it is imported: trainings would compute
  otherwise, in some processes and not in others, and no record of a run would say so.
- The global generators. What a user draws after a call of the Python API is what it would be without the call.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from nas.errors import SpecError

USUAL = {"default dtype": "torch.float32", "default device": "cpu", "gradients": "True"}


@contextmanager
def torch_unchanged() -> Iterator[None]:
    """Raise SpecError if the block leaves torch in another state, which is restored.

    >>> with torch_unchanged():
    ...     importlib.import_module("my_block")
    """
    before = _state()
    yield
    after = _state()
    said = {name: str(value) for name, value in before.items()} or USUAL
    for name, value in after.items():
        if str(value) != said[name]:
            _restore(before)
            what = f"it sets torch's {name} to {value}, for every training of this process"
            raise SpecError(f"{what}; set it where it is needed, and back")


@contextmanager
def generators_kept() -> Iterator[None]:
    """torch's global generators are afterwards as before, whatever the block draws or seeds. Also a decorator.

    The block begins with the caller's state, from which its own draws follow. GPUs that only the block begins to use
    are then as torch's seed would have them.

    >>> with generators_kept():
    ...     model = build("lavit_digits")
    """
    import torch

    begun = torch.cuda.is_initialized()
    try:
        with torch.random.fork_rng(range(torch.cuda.device_count()) if begun else (), device_type="cuda"):
            yield
    finally:
        if torch.cuda.is_initialized() and not begun:
            torch.cuda.manual_seed_all(torch.initial_seed())


def _state() -> dict[str, Any]:
    """Empty while torch is not loaded."""
    torch = sys.modules.get("torch")
    if torch is None:
        return {}
    values = (torch.get_default_dtype(), torch.get_default_device(), torch.is_grad_enabled())
    return dict(zip(USUAL, values, strict=True))


def _restore(before: dict[str, Any]) -> None:
    torch: Any = sys.modules["torch"]
    dtype, device, gradients = before.values() if before else (torch.float32, None, True)
    torch.set_default_dtype(dtype)
    torch.set_default_device(device if str(device) != "cpu" else None)
    torch.set_grad_enabled(gradients)
