"""A registry: the plug-ins of one kind by name. A new one is one file, in the kind's package or anywhere else.

    SAMPLERS: Registry[type[Sampler]] = Registry("sampler", "nas.search.samplers")

    @SAMPLERS.add("random")
    class Random(Sampler): ...

The package's own modules are imported when a name is first looked up, not before: `import nas` stays instant. What lies
outside of the package is imported by whoever wants it (nas/plugins.py); a registry does not look for code.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Iterator
from typing import ClassVar, Generic, TypeVar

from nas.errors import SpecError, nearest

T = TypeVar("T")


class Registry(Generic[T]):
    """Plug-ins of one `kind`, by name; `package` is where those that ship with us live, one module each.

    >>> METRICS["macs"].direction
    'min'
    """

    every: ClassVar[list[Registry[object]]] = []

    def __init__(self, kind: str, package: str):
        self.kind, self.package = kind, package
        self._members: dict[str, T] = {}
        self._imported = False
        Registry.every.append(self)  # type: ignore[arg-type]

    def add(self, *names: str) -> Callable[[T], T]:
        """Register what is decorated. A name belongs to whoever took it first."""

        def register(member: T) -> T:
            for name in names:
                taken = self._members.setdefault(name, member)
                if taken is not member:
                    raise SpecError(f"there are two {self.kind}s called {name!r}: rename one of them")
            return member

        return register

    def __getitem__(self, name: str) -> T:
        """Raises SpecError for a name that nobody has registered."""
        self._import()
        if name not in self._members:
            raise SpecError(f"no {self.kind} is called {name!r}; {nearest(name, self._members)}")
        return self._members[name]

    def get(self, name: str) -> T | None:
        """The plug-in of that name, or None: what a file says may come from a plug-in that is not here."""
        return self._members[name] if name in self else None

    def __contains__(self, name: object) -> bool:
        self._import()
        return name in self._members

    def __iter__(self) -> Iterator[str]:
        self._import()
        return iter(sorted(self._members))

    def items(self) -> list[tuple[str, T]]:
        """Names and plug-ins, sorted by name."""
        return [(name, self._members[name]) for name in self]

    def _import(self) -> None:
        if not self._imported:
            self._imported = True
            package = importlib.import_module(self.package)
            for module in pkgutil.iter_modules(package.__path__):
                importlib.import_module(f"{package.__name__}.{module.name}")
