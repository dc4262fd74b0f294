"""run.yaml: what a run was, in full. Written before the first trial, read when the run is continued or reported.

version (of the format), name, kind (search or ablation), spec (everything resolved), seed, plugins (nas/plugins.py),
versions, hardware, created, command, commit

A key that is missing from a spec means what it meant before the key came: new
keys have that as their default, and clients bring an old spec up to today's keys (nas/engine/runs.py).
"""

from __future__ import annotations

import platform
import shlex
import subprocess
import sys
from collections.abc import Collection
from importlib import metadata
from pathlib import Path
from typing import Any

import nas
from nas.engine.job import now
from nas.engine.version import VERSION, check_version
from nas.errors import RunError
from nas.files import dump_yaml, read_yaml, write_text
from nas.hardware import hardware
from nas.plugins import active

PACKAGES = ("torch", "torchvision", "ray", "optuna", "timm")


def write_record(directory: Path, *, kind: str, seed: int, spec: dict[str, Any]) -> None:
    """Write run.yaml for a run that begins now, on this machine, by this command."""
    record = {
        "version": VERSION,
        "name": directory.name,
        "kind": kind,
        "seed": seed,
        "spec": spec,
        "plugins": [plugin.as_record() for plugin in active()],
        "versions": versions(),
        "hardware": hardware(),
        "created": now(),
        "command": shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]),
        "commit": _commit(),
    }
    write_text(directory / "run.yaml", dump_yaml(record))


def update_record(directory: Path, spec: dict[str, Any], *, may_differ: Collection[str]) -> None:
    """Bring the keys of a run's spec that may change (`may_differ`) up to what it is continued with."""
    record = read_record(directory)
    assert record is not None
    changed = {key: spec[key] for key in may_differ if key in spec and record["spec"].get(key) != spec[key]}
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
    check_version(record, path)
    return record


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
