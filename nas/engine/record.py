"""run.yaml: the full record of a run. Written before the first trial, read when the run is resumed or reported.

sha256 (of the other keys: a later change is noticed), version (of the format), id (of the run; its trials have it too),
name, kind (search, ablation or conversion), spec (everything resolved), seed, start_sha256 (of the model that all
trials start from), plugins (nas/plugins.py), versions, hardware, created, command, commit, data (what was loaded:
nas/data/account.py), and accuracy (what it is, where the images have no labels)

A key that is missing from a spec has the behaviour from before the key existed, which is its default. Clients upgrade
an old spec to the current keys (nas/engine/runs.py).
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import subprocess
from collections.abc import Collection, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any, Required

from pydantic import TypeAdapter, ValidationError
from typing_extensions import TypedDict  # pydantic refuses typing's before Python 3.12

import nas
from nas.account import Account
from nas.engine.job import now
from nas.engine.version import VERSION, check_version
from nas.environment import typed_command
from nas.errors import RunError, from_pydantic, shown
from nas.files import ALTERED, SEAL, is_altered, sealed, write_text
from nas.hardware import hardware
from nas.paths import changed, flat, found
from nas.plain_yaml import dump_yaml, read_yaml
from nas.plugins import active

IMAGES = ("images", "classes", "images_sha256")  # keys of an account that a run which goes on is held to
PACKAGES = ("torch", "torchvision", "ray", "optuna", "timm")


class _Hardware(TypedDict, total=False):
    cpu: str
    cores: int
    memory_gb: float
    gpus: list[str]


class _Record(TypedDict, total=False):
    """The form of run.yaml, as far as anything reads it. Keys may be missing. The clients validate the spec."""

    id: str
    name: str
    kind: str
    seed: int
    start_sha256: str
    accuracy: str
    spec: Required[dict[str, Any]]
    plugins: list[dict[str, Any]]
    versions: dict[str, str]
    hardware: _Hardware
    created: str
    command: str | None
    commit: str | None
    data: Account


_RECORD = TypeAdapter(_Record)


def write_record(
    directory: Path,
    *,
    kind: str,
    seed: int,
    spec: dict[str, Any],
    id: str,
    start: str | None = None,
    accuracy: str | None = None,
    data: dict[str, Any] | None = None,
) -> None:
    """Write run.yaml for a new run, with the time, machine and command.

    id: from `identity`. start: digest of the model that all trials start from. accuracy: what the word means in this
    run; None: the share of right answers. data: the account of what was loaded.
    """
    record = {
        "version": VERSION,
        "id": id,
        "name": directory.name,
        "kind": kind,
        "seed": seed,
        **({} if start is None else {"start_sha256": start}),
        **({} if accuracy is None else {"accuracy": accuracy}),
        "spec": spec,
        "plugins": [plugin.as_record() for plugin in active()],
        "versions": versions(),
        "hardware": hardware(),
        "created": now(),
        "command": typed_command(),
        "commit": _commit(),
        **({} if data is None else {"data": data}),
    }
    _write(directory, record)


def identity(
    kind: str, spec: dict[str, Any], *, may_differ: Collection[str], start: str | None, images: str | None = None
) -> str:
    """The id of a new run: a digest of what may not change in it.

    It is no random number, since trials that an earlier run left (a warm start) are there before run.yaml, and a run
    that is begun again after a kill has to know them. start: digest of the model that it starts from. images: theirs.
    """
    fixed = json.dumps([kind, start, images, flat(spec, may_differ)], sort_keys=True)
    return hashlib.sha256(fixed.encode()).hexdigest()[:16]


def changed_images(then: Mapping[str, Any], now: Mapping[str, Any]) -> str | None:
    """What differs between two accounts of the same source: images were added, removed, exchanged, or named otherwise.

    Accounts of earlier versions do not have all keys.
    """
    for key in IMAGES:
        if key in then and then[key] != now[key]:
            return f"{key} was {shown(then[key])}, now it is {shown(now[key])}"
    return None


def update_record(directory: Path, spec: dict[str, Any], *, may_differ: Collection[str], data: dict[str, Any]) -> None:
    """Update the keys of a run's recorded spec that may change on resuming (`may_differ`, dotted).

    data: the account of the images, for runs of earlier versions, whose account has no digest.
    """
    record = read_record(directory)
    assert record is not None
    before = dict(record)
    if IMAGES[-1] not in record.get("data", {}):
        record["data"] = data
    now = {path: found(spec, path) for path in may_differ}
    changes = {path: values[0] for path, values in now.items() if values and found(record["spec"], path) != values}
    record["spec"] = changed(record["spec"], changes) if changes else record["spec"]
    if record != before:
        _write(directory, record)


def read_record(directory: Path) -> dict[str, Any] | None:
    """The content of run.yaml, or None if there is none. Raises RunError if it is damaged."""
    path = directory / "run.yaml"
    if not os.path.lexists(path):
        return None
    record: Any = read_yaml(path)
    if record is None:
        raise RunError("empty; restore it, or choose another run", file=path)
    if isinstance(record, dict):
        check_version(record, path)
    try:
        _RECORD.validate_python(record, strict=True)
    except ValidationError as error:
        raise from_pydantic(error, dict, kind=RunError, file=path) from None
    if is_altered(record):
        raise RunError(f"damaged ({ALTERED})", file=path)
    return {key: value for key, value in record.items() if key != SEAL}


def _write(directory: Path, record: dict[str, Any]) -> None:
    """Write run.yaml. The seal comes first: a file that is cut off has it, and not all that it is of."""
    content = sealed(record)
    write_text(directory / "run.yaml", dump_yaml({SEAL: content.pop(SEAL)} | content))


def versions() -> dict[str, str]:
    """Of Python, this package, and the packages that results depend on."""
    found = {"python": platform.python_version(), "nas": nas.__version__}
    return found | {name: metadata.version(name) for name in PACKAGES}


def _commit() -> str | None:
    """The commit of the running source, if in a git checkout; `+` marks local changes."""
    command = ["git", "describe", "--always", "--dirty=+", "--abbrev=12", "--exclude=*"]
    folder = Path(nas.__file__).parent
    try:
        answer = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return answer.stdout.strip() or None
