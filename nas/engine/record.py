"""run.yaml: what a run was, in full. Written before the first trial, read when the run is continued or reported.

name, kind (search or ablation), spec (everything resolved), seed, versions, hardware, created, command, commit
"""

from __future__ import annotations

import platform
import shlex
import subprocess
import sys
from collections.abc import Collection
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

import nas
from nas.engine.job import now
from nas.errors import RunError
from nas.files import dump_yaml, read_yaml, write_text
from nas.hardware import hardware

PACKAGES = ("torch", "torchvision", "ray", "optuna", "timm")


def write_record(directory: Path, *, kind: str, seed: int, spec: dict[str, Any]) -> None:
    """Write run.yaml for a run that begins now, on this machine, by this command."""
    record = {
        "name": directory.name,
        "kind": kind,
        "seed": seed,
        "spec": spec,
        "versions": versions(),
        "hardware": hardware(),
        "created": now(),
        "command": shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]),
        "commit": _commit(),
    }
    write_text(directory / "run.yaml", dump_yaml(record))


def update_record(directory: Path, spec: dict[str, Any], *, free: set[str]) -> None:
    """Bring the keys of a run's spec that may change (`free`) up to what it is continued with."""
    record = read_record(directory)
    assert record is not None
    changed = {key: spec[key] for key in free if key in spec and record["spec"].get(key) != spec[key]}
    if changed:
        write_text(directory / "run.yaml", dump_yaml(record | {"spec": record["spec"] | changed}))


def read_record(directory: Path) -> dict[str, Any] | None:
    """The content of run.yaml, or None where no run has begun. Raises RunError for a damaged one."""
    path = directory / "run.yaml"
    if not path.exists():
        return None
    record = read_yaml(path)
    if not isinstance(record, dict) or not isinstance(record.get("spec"), dict):
        raise RunError("not the record of a run", file=path)
    return record


def check_same(record: dict[str, Any], kind: str, spec: dict[str, Any], *, free: set[str], directory: Path) -> None:
    """Raise RunError, naming the first key that differs, if a run was begun with another spec.

    free: top-level keys that may change between the beginning of a run and its continuation.
    """
    if record.get("kind") != kind:
        raise RunError(f"there is another kind of run in it ({record.get('kind')}); choose another RUN", file=directory)
    change = difference(record["spec"], spec, free)
    if change is not None:
        what = f"the run was begun with {change.old!r}, now it is {change.new!r}"
        message = f"{what}; choose another RUN, or set it back"
        raise RunError(message, file=directory / "run.yaml", path=f"spec.{change.path}")


class Difference(NamedTuple):
    """A key that two specs do not have alike, by its dotted path."""

    path: str
    old: Any
    new: Any


def difference(old: dict[str, Any], new: dict[str, Any], free: Collection[str] = ()) -> Difference | None:
    """The first key that differs, other than the top-level ones in `free`."""
    then, now = _flat(old, free), _flat(new, free)
    return next((Difference(k, then.get(k), now.get(k)) for k in then | now if then.get(k) != now.get(k)), None)


def versions() -> dict[str, str]:
    """Of Python, this package, and the packages that results depend on."""
    found = {"python": platform.python_version(), "nas": nas.__version__}
    return found | {name: metadata.version(name) for name in PACKAGES}


def _commit() -> str | None:
    """The commit of the source that runs, if it runs from a git checkout; `+` marks local changes."""
    command = ["git", "describe", "--always", "--dirty=+", "--abbrev=12", "--exclude=*"]
    folder = Path(nas.__file__).parent
    try:
        answer = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return answer.stdout.strip() or None


def _flat(value: Any, free: Collection[str] = (), prefix: str = "") -> dict[str, Any]:
    """Leaves by dotted path. An empty mapping has none: `budget: {}` is as good as no budget, or one of nulls."""
    if not isinstance(value, dict):
        return {prefix.removesuffix("."): value}
    found: dict[str, Any] = {}
    for key, inner in value.items():
        if key not in free:
            found |= _flat(inner, prefix=f"{prefix}{key}.")
    return found
