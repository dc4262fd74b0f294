"""A registry: the members of one kind, by name. A new member is one file, in the kind's package or anywhere else.

    SAMPLERS: Registry[type[Sampler]] = Registry("sampler", "nas.search.samplers")

    @SAMPLERS.add("random")
    class Random(Sampler): ...

The package's own modules and installed plug-ins are imported when a name is first looked up, not before: `import nas`
stays instant. Other code outside the package must be imported explicitly (nas/plugins.py). A registry records the
module of each member.
"""

from __future__ import annotations

import importlib
import pkgutil
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FunctionType
from typing import Any, ClassVar, Generic, TypeVar

from nas.errors import SpecError, nearest, shown

T = TypeVar("T")
PLAIN = re.compile(r"\w[\w.-]{0,63}")  # a name that can be part of a file's name and a word of a sentence


class Registry(Generic[T]):
    """Members of one `kind`, by name. `package` contains the built-in ones, one module each.

    >>> METRICS["macs"].direction
    'min'
    """

    owners: ClassVar[dict[tuple[Registry[Any], str], str]] = {}
    """(registry, name) -> the module that registered the member, for all registries, in order of registration."""
    sources: ClassVar[dict[str, bytes]] = {}
    """Module outside the package -> its source at the time of registration."""

    def __init__(self, kind: str, package: str):
        self.kind, self.package = kind, package
        self._members: dict[str, T] = {}
        self._imported = False

    def add(self, *names: str) -> Callable[[T], T]:
        """Register the decorated member. Raises SpecError for a name that is not plain, or that another member has.

        The owner of a class or function is the module that defines it; the owner of other members is the caller's.
        A file that is executed again (a notebook's cell, `importlib.reload`) replaces its own members.
        """

        def register(member: T) -> T:
            owner = _owner(member)
            if not owner.startswith("nas."):
                self._import()  # register built-in names first: on a conflict, the plug-in is refused
            for name in names:
                if not PLAIN.fullmatch(name):
                    allowed = "expected letters, digits, _, - and ., at most 64 and no - or . first"
                    raise SpecError(f"no name for a {self.kind}: {allowed}; found {shown(name)}", file=_file(owner))
                known = self._members.setdefault(name, member)
                if known is not member and not self._outdated(name, known, member, owner):
                    files = " and in ".join(dict.fromkeys(map(_file, (self.owners[self, name], owner))))
                    raise SpecError(f"there are two {self.kind}s called {shown(name)}, in {files}: rename one of them")
                self._members[name] = member
                self.owners[self, name] = owner
            if not owner.startswith("nas."):
                self.sources[owner] = _source(owner)
            return member

        return register

    @classmethod
    def forget(cls, module: str) -> list[tuple[Registry[Any], str, Any]]:
        """Remove and return all members of a module: registry, name, member."""
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
        """Raises SpecError for an unknown name."""
        self._import()
        if name not in self._members:
            raise SpecError(f"no {self.kind} is called {shown(name)}; {nearest(name, self._members)}")
        return self._members[name]

    def get(self, name: str) -> T | None:
        """The member of that name, or None: a file may name a member of a plug-in that is not loaded."""
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
        """Whether `known` is an earlier version of `member` (its file was rerun), or is left from a failed import."""
        before = self.owners[self, name]
        again = _file(before) == _file(owner) and _label(known) == _label(member)
        return again or before not in sys.modules

    def _import(self) -> None:
        if not self._imported:
            self._imported = True
            package = importlib.import_module(self.package)
            for module in pkgutil.iter_modules(package.__path__):
                importlib.import_module(f"{package.__name__}.{module.name}")
            from nas.plugins import load_installed  # may register more

            load_installed()


def _owner(member: object) -> str:
    """The module of a class or function; else of the nearest caller outside this file and the member's class."""
    if isinstance(member, (type, FunctionType)):
        return member.__module__
    frame = sys._getframe(2)
    while frame.f_back is not None and frame.f_globals["__name__"] in (__name__, type(member).__module__):
        frame = frame.f_back
    return str(frame.f_globals["__name__"])


def _label(member: object) -> object:
    """A member's name in its file: that of a class or function, else those of the functions that it holds."""
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
