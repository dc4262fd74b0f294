"""kill -9 at a moment that a program reaches by itself, whatever the clock says.

>>> die_at(os, "replace", 3, after=False)  # just before this process replaces a file for the third time
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from typing import Any


def die_at(
    owner: Any, name: str, count: int, *, after: bool, counted: Callable[..., bool] = lambda *_, **__: True
) -> None:
    """From now on, the `count`-th call of `owner.name` that is counted ends this process by SIGKILL.

    after: when the call has returned, not before it begins. counted: whether a call with these arguments is one.
    """
    call, left = getattr(owner, name), count

    def deadly(*arguments: Any, **options: Any) -> Any:
        nonlocal left
        counts = counted(*arguments, **options)
        left -= counts
        if counts and left == 0 and not after:
            os.kill(os.getpid(), signal.SIGKILL)
        answer = call(*arguments, **options)
        if counts and left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return answer

    setattr(owner, name, deadly)
