"""A registry: the members of one kind by name. A new one is one file, in the kind's package or anywhere else.

    SAMPLERS: Registry[type[Sampler]] = Registry("sampler", "nas.search.samplers")

    @SAMPLERS.add("random")
    class Random(Sampler): ...

The package's own modules are imported when a name is first looked up, not before: `import nas` stays instant. Installed
plug-ins are imported then as well. Other code outside of the package is imported by whoever wants it (nas/plugins.py);
a registry does not look for it, and remembers which module a member came from.
"""

from __future__ import annotations

import importlib
import pkgutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FunctionType
from typing import Any, ClassVar, Generic, TypeVar

from nas.errors import SpecError, nearest

T = TypeVar("T")


class Registry(Generic[T]):
    """Members of one `kind`, by name; `package` is where those that ship with us live, one module each.

    >>> METRICS["macs"].direction
    'min'
    """

    owners: ClassVar[dict[tuple[Registry[Any], str], str]] = {}
    """(registry, name) -> the module that registered the member, for all registries, in the order of registration."""
    sources: ClassVar[dict[str, bytes]] = {}
    """Of each module outside of the package: its source as it was when it registered something."""

    def __init__(self, kind: str, package: str):
        self.kind, self.package = kind, package
        self._members: dict[str, T] = {}
        self._imported = False

    def add(self, *names: str) -> Callable[[T], T]:
        """Register what is decorated. A name belongs to whoever took it first: raises SpecError for another member.

        The owner of a class or function is the module that defines it. Other members belong to the module that calls.
        A file that is executed again (a notebook's cell, `importlib.reload`) replaces its own members.
        """

        def register(member: T) -> T:
            owner = _owner(member)
            if not owner.startswith("nas."):
                self._import()  # our own names come first, so that the plug-in is the one that is refused
            for name in names:
                known = self._members.setdefault(name, member)
                if known is not member and not self._outdated(name, known, member, owner):
                    files = " and in ".join(dict.fromkeys(map(_file, (self.owners[self, name], owner))))
                    raise SpecError(f"there are two {self.kind}s called {name!r}, in {files}: rename one of them")
                self._members[name] = member
                self.owners[self, name] = owner
            if not owner.startswith("nas."):
                self.sources[owner] = _source(owner)
            return member

        return register

    @classmethod
    def forget(cls, module: str) -> list[tuple[Registry[Any], str, Any]]:
        """Remove all that a module has registered, and return it: registry, name, member."""
        found = [(registry, name) for (registry, name), owner in cls.owners.items() if owner == module]
        removed = [(registry, name, registry._members.pop(name)) for registry, name in found]
        for key in found:
            del cls.owners[key]
        return removed

    @classmethod
    def restore(cls, module: str, removed: list[tuple[Registry[Any], str, Any]]) -> None:
        """Undo `forget`."""
        for registry, name, member in removed:
            registry._members[name] = member
            cls.owners[registry, name] = module

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
        """Names and members, sorted by name."""
        return [(name, self._members[name]) for name in self]

    def _outdated(self, name: str, known: T, member: T, owner: str) -> bool:
        """Whether `known` is `member` before its file was executed again, or is left over from a failed import."""
        before = self.owners[self, name]
        again = _file(before) == _file(owner) and _label(known) == _label(member)
        return again or before not in sys.modules

    def _import(self) -> None:
        if not self._imported:
            self._imported = True
            package = importlib.import_module(self.package)
            for module in pkgutil.iter_modules(package.__path__):
                importlib.import_module(f"{package.__name__}.{module.name}")
            from nas.plugins import load_installed  # which may register more

            load_installed()


def _owner(member: object) -> str:
    """The module of a class or function; else of the nearest caller outside of this file and of the member's class."""
    if isinstance(member, (type, FunctionType)):
        return member.__module__
    frame = sys._getframe(2)
    while frame.f_back is not None and frame.f_globals["__name__"] in (__name__, type(member).__module__):
        frame = frame.f_back
    return str(frame.f_globals["__name__"])


def _label(member: object) -> object:
    """What a member is called in its file: the name of a class or function, else of the functions that it holds."""
    held = [value.__qualname__ for value in getattr(member, "__dict__", {}).values() if isinstance(value, FunctionType)]
    return getattr(member, "__qualname__", held or member)


def _source(module: str) -> bytes:
    loader: Any = getattr(sys.modules.get(module), "__loader__", None)
    if isinstance(getattr(loader, "source", None), bytes):  # imported from memory (nas/plugins.py)
        return bytes(loader.source)
    path = Path(_file(module))
    return path.read_bytes() if path.is_file() else b""


def _file(module: str) -> str:
    return str(getattr(sys.modules.get(module), "__file__", None) or module)
