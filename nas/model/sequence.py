"""`nn.ModuleList` with the type of its modules, for the type checker; at run time it is `nn.ModuleList` itself."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Generic, Self, TypeVar, overload

from torch import nn

if TYPE_CHECKING:
    M = TypeVar("M", bound=nn.Module)

    class ModuleSequence(nn.ModuleList, Generic[M]):
        def __iter__(self) -> Iterator[M]: ...
        @overload
        def __getitem__(self, index: slice) -> Self: ...
        @overload
        def __getitem__(self, index: int) -> M: ...
        def __getitem__(self, index: int | slice) -> M | Self: ...
else:
    ModuleSequence = nn.ModuleList
