"""Plug-ins: blocks, data sources, metrics, samplers and schedulers from outside the package.

A plug-in is a Python module that registers something (nas/registry.py). It is loaded in one of four ways:
    a file         load_plugins(["my_block.py"])           imported as the module `nas_plugin_my_block`
    a module       load_plugins(["my_package.blocks"])     imported as by `import my_package.blocks`
    an import      import my_block                         before the Python API is called
    installed      an entry point of the group `nas.plugins`, imported at the first look-up in a registry

- A file is read once: the hashed source is the source executed. Loading the same file again has no effect, unless it
  was edited.
- Worker processes, on any machine, receive the source of single-file plug-ins and import it under the same name. A
  module in a package is imported there by name, and must have the same source.
- run.yaml records the plug-ins that a run was begun with. Plug-ins named in a run directory are never imported.
"""

from __future__ import annotations

import hashlib
import importlib
import os
import re
import socket
import sys
import traceback
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cache
from importlib import metadata
from importlib.abc import SourceLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from nas.errors import RunError, SpecError, text_of
from nas.files import regular
from nas.plain_yaml import read_yaml
from nas.process_state import process_unchanged
from nas.registry import Registry
from nas.torch_state import torch_unchanged

GROUP = "nas.plugins"
DRIVER_KINDS = ("metric", "sampler", "scheduler")  # not used by workers
LEVELS = 4  # parents searched: from RUN/baseline/trials/0007/genome.yaml up to RUN


@dataclass(frozen=True)
class Record:
    """The record of a plug-in in run.yaml."""

    name: str
    sha256: str
    provides: list[str]


@dataclass(frozen=True)
class Plugin:
    """A module outside the package, and its registered members. Picklable.

    name: of the file, or of a module in a package. provides: "core block 'mean'". source: of a single file.
    """

    name: str
    module: str
    sha256: str
    provides: tuple[str, ...]
    path: str = ""
    source: bytes | None = field(default=None, repr=False)

    def as_record(self) -> dict[str, Any]:
        """An entry of `plugins:` in run.yaml."""
        return {"name": self.name, "sha256": self.sha256, "provides": list(self.provides)}


def load_plugins(names: str | Path | Iterable[str | Path]) -> None:
    """Import plug-ins, each given by its file's path or its module's name.

    Raises SpecError: no such file, not Python, an error inside (with its line), a module that cannot be imported,
    nothing registered, a name already taken.

    >>> load_plugins(["my_block.py", "my_package.blocks"])
    """
    for name in map(str, [names] if isinstance(names, (str, Path)) else names):
        if name.endswith(".py") or os.sep in name or Path(name).is_file():
            _load_file(Path(name).expanduser().resolve())
        else:
            _import(name, f"the plug-in {name!r}")
            if not any(owner == name or owner.startswith(f"{name}.") for owner in Registry.owners.values()):
                raise SpecError(_idle(f"the module {name!r}"))


@cache
def load_installed() -> None:
    """Import the plug-ins of installed packages, once. Raises SpecError, naming the package, if one fails."""
    for entry in metadata.entry_points(group=GROUP):
        package = entry.dist.name if entry.dist else "unknown"
        _import(entry.module, f"the plug-in {entry.name!r} of the installed package {package!r}")


def active() -> list[Plugin]:
    """All modules outside the package that have registered something, in order of registration.

    >>> [plugin.name for plugin in active()]
    ['my_block.py', 'my_package.blocks']
    """
    load_installed()
    owners = dict.fromkeys(owner for owner in Registry.owners.values() if not owner.startswith("nas."))
    return [_plugin(owner) for owner in owners if owner in sys.modules]


def check(recorded: Any, *, file: object = None) -> None:
    """Raise RunError if a plug-in recorded by a run (`plugins:` of run.yaml) is not active or has another hash.

    >>> check(read_record(directory).get("plugins"), file=directory / "run.yaml")
    """
    try:
        records = TypeAdapter(list[Record]).validate_python(recorded or [])
    except ValidationError:
        raise RunError("expected a list of name, sha256, provides", file=file, path="plugins") from None
    now = active()
    for known in records:
        if any(plugin.sha256 == known.sha256 for plugin in now):
            continue
        what = f"the run was begun with the plug-in {known.name} (sha256 {known.sha256[:12]}…)"
        other = next((plugin for plugin in now if plugin.name == known.name), None)
        if other is not None:
            message = f"{what}, now it is another one (sha256 {other.sha256[:12]}…): give it as it was"
        else:
            provides = " and ".join(f"the {member}" for member in known.provides)
            message = f"{what}, which provides {provides}: give it again with --plugin PATH"
        raise RunError(message, file=file)


def lacking(genome: Path) -> str:
    """The error of `check` for the run that contains a genome's file; empty if there is no run or no error."""
    for folder in Path(genome).resolve().parents[:LEVELS]:
        if (folder / "run.yaml").is_file():
            try:
                record = read_yaml(folder / "run.yaml")
                check(record.get("plugins") if isinstance(record, dict) else None)
            except SpecError as error:
                return str(error)
            return ""
    return ""


def shipment() -> list[Plugin]:
    """The plug-ins that worker processes need. Raises SpecError if one is defined in a script or a notebook."""
    plugins = []
    for plugin in active():
        needed = [member for member in plugin.provides if not member.startswith(DRIVER_KINDS)]
        if plugin.module == "__main__" and not needed:
            continue
        plugins.append(plugin)
        if plugin.module == "__main__":
            what = f"the {needed[0]} is defined in the script or notebook itself, which workers cannot import"
            raise SpecError(f"{what}: save it to a file, and import that or give it with --plugin PATH")
    return plugins


def install(plugins: Iterable[Plugin]) -> None:
    """Load a shipment's plug-ins in this process. Raises RunError, naming the machine, if that fails."""
    for plugin in plugins:
        what = f"the plug-in {plugin.name} cannot be used on {socket.gethostname()}"
        if plugin.source is not None and _digest(plugin.source) != plugin.sha256:
            raise RunError(f"{what}: its source was damaged on the way")
        try:
            if plugin.source is None:
                _import(plugin.module, "it")
            elif not _is_loaded(plugin):
                _execute(plugin.module, plugin.path, plugin.source)
        except SpecError as error:
            alone = "its file is sent alone, so what it imports has to be installed on every machine"
            remedy = "install its package on every machine" if plugin.source is None else alone
            raise RunError(f"{what}: {error.message}; {remedy}") from error
        if not _is_loaded(plugin):
            missing = f"has another source there, or does not register the {', the '.join(plugin.provides)}"
            raise RunError(f"{what}: it {missing}; install the same version on every machine")


def blamed(error: BaseException) -> SpecError | None:
    """The error as that of the plug-in in whose code it was raised, with its line; None if that is no plug-in's.

    A SpecError says itself what is wrong. Ray ends a trial by SystemExit, in what a plug-in may have called.
    """
    if isinstance(error, SpecError):
        return None
    for frame, line in reversed(list(traceback.walk_tb(error.__traceback__))):
        module = str(frame.f_globals.get("__name__"))
        if module.startswith("ray."):
            return None
        if not module.startswith("nas.") and (members := _provided(module)):
            where = f"line {line}, in {frame.f_code.co_qualname}"
            told = SpecError(f"the {' or the '.join(members)}: {where}: {_first(error)}", file=frame.f_code.co_filename)
            told.__cause__ = error
            return told
    return None


class _InMemory(SourceLoader):
    """Imports a module from source in memory, from which tracebacks and `inspect` read as well."""

    def __init__(self, path: str, source: bytes):
        self.path, self.source = path, source

    def get_filename(self, fullname: str) -> str:
        return self.path

    def get_data(self, path: str | bytes) -> bytes:
        return self.source


def _load_file(path: Path) -> None:
    try:
        source = regular(path).read_bytes()
    except FileNotFoundError:
        raise SpecError("no such file", file=path) from None
    except OSError as error:
        raise SpecError(f"not readable: {error.strerror}", file=path) from None
    if path.suffix != ".py":
        raise SpecError("a plug-in is a Python file, called something.py", file=path)
    name = f"nas_plugin_{re.sub(r'[^a-zA-Z0-9]', '_', path.stem)}"
    for plugin in active():
        if plugin.path == str(path) and plugin.sha256 == _digest(source):
            return
        if plugin.module == name and plugin.path != str(path):
            raise SpecError(f"another plug-in has this name, {plugin.path}: rename one of the files", file=path)
    _execute(name, str(path), source)


def _execute(name: str, path: str, source: bytes) -> None:
    """Import `source` as the module `name`. If that fails, the previous module is restored."""
    before, removed = sys.modules.get(name), _forget(name)
    spec = spec_from_loader(name, _InMemory(path, source))
    assert spec is not None and spec.loader is not None
    module = module_from_spec(spec)
    sys.modules[name] = module
    try:
        with torch_unchanged(), process_unchanged():
            spec.loader.exec_module(module)
        if not _provided(name):
            raise SpecError(_idle("the file"))
    except BaseException as error:  # SystemExit would end the command as if all were well
        _forget(name)
        if before is not None:
            sys.modules[name] = before
            Registry.restore(name, removed)
        if isinstance(error, KeyboardInterrupt):
            raise
        raise _explained(error, path) from error


def _forget(module: str) -> list[tuple[Registry[Any], str, Any]]:
    sys.modules.pop(module, None)
    return Registry.forget(module)


def _import(module: str, what: str) -> None:
    try:
        with torch_unchanged(), process_unchanged():
            importlib.import_module(module)
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        raise SpecError(f"{what} cannot be imported: {_place(error)}{_first(error)}") from error


def _explained(error: BaseException, path: str) -> SpecError:
    """An error inside a plug-in's file, with its line number."""
    if isinstance(error, SpecError):
        return error.within(file=path)
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == path]
    if isinstance(error, SyntaxError) and error.filename == path:
        lines.append(error.lineno)
    return SpecError(f"line {lines[-1]}: {_first(error)}" if lines else _first(error), file=path)


def _place(error: BaseException) -> str:
    """File and line of an error raised in `_import`; empty for an error of the import itself."""
    if isinstance(error, SpecError):
        return ""
    if isinstance(error, SyntaxError):
        return f"{error.filename}: line {error.lineno}: "
    frames = [f for f in traceback.extract_tb(error.__traceback__) if not f.filename.startswith("<frozen")]
    inside = frames[2:]  # below `_import` and importlib
    return f"{inside[-1].filename}: line {inside[-1].lineno}: " if inside else ""


def _first(error: BaseException) -> str:
    """The error in one line: `NameError: name 'x' is not defined`."""
    if isinstance(error, SpecError):
        return str(error)
    text = str(error.msg or "") if isinstance(error, SyntaxError) else text_of(error)
    return f"{type(error).__name__}: {text.partition(chr(10))[0]}".removesuffix(": ")


def _idle(what: str) -> str:
    return f"{what} registers nothing; a plug-in has something decorated by @block, @source, @metric or the like"


def _provided(module: str) -> tuple[str, ...]:
    """The registered members of a module: `core block 'mean'`."""
    return tuple(f"{registry.kind} {name!r}" for (registry, name), owner in Registry.owners.items() if owner == module)


def _plugin(name: str) -> Plugin:
    module = sys.modules[name]
    path, source = Path(getattr(module, "__file__", None) or ""), Registry.sources[name]
    single = path.suffix == ".py" and name != "__main__" and not getattr(module, "__package__", None)
    return Plugin(
        path.name if single else name,
        name,
        _digest(source),
        _provided(name),
        str(path),
        source if single else None,
    )


def _is_loaded(plugin: Plugin) -> bool:
    if plugin.module not in sys.modules:
        return False
    here = _plugin(plugin.module)
    return here.sha256 == plugin.sha256 and set(plugin.provides) <= set(here.provides)


def _digest(source: bytes) -> str:
    return hashlib.sha256(source).hexdigest()
