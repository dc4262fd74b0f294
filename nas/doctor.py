"""What this machine offers to a run, and what would not work on it, each with the remedy: `nas doctor`.

    package    installed, importable, recent enough; torch and torchvision of one build
    device     GPUs and their memory, bfloat16; else the cores
    workers    what a run starts by default
    memory, /dev/shm, disk, temporary folder, cache, home, cluster

A check touches nothing but a file that it deletes again. Packages are imported by the checks alone, so that a broken
one is a finding too. The lowest versions are those of pyproject.toml.
"""

from __future__ import annotations

import importlib
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement

from nas.environment import cache_home, has_ray_token, home, knock, private_folder
from nas.errors import RunError
from nas.hardware import hardware

DISTRIBUTION = "nas-vit"
SHARED = "/dev/shm"
SHARED_MB = 256  # decoding processes hand over their batches there (nas/data/streaming.py)
DISK_GB = 2.0  # of a run of some hundred small trials, with its decoded images
MEMORY_GB = 2.0  # of a driver and one worker: each imports torch


@dataclass(frozen=True)
class Finding:
    """remedy: what to do about it, None where nothing is wrong. stops: no run can begin until then."""

    what: str
    found: str
    remedy: str | None = None
    stops: bool = False


def examine() -> list[Finding]:
    """All findings, in the order of the head of this file.

    >>> [finding.what for finding in examine() if finding.stops]
    []
    """
    return [finding for check in CHECKS for finding in check()]


def _python() -> Iterator[Finding]:
    yield Finding("python", f"{sys.version.split()[0]}, {sys.executable}")


def _packages() -> Iterator[Finding]:
    """What the package requires, and its extras, by its own metadata."""
    try:
        wanted = metadata.requires(DISTRIBUTION) or []
    except metadata.PackageNotFoundError:
        yield Finding(DISTRIBUTION, "not installed, but run from a folder", "pip install -e .")
        return
    extras: dict[str, list[str]] = {}
    for needed in map(Requirement, wanted):
        extra = re.search(r"extra == ['\"](\w+)['\"]", str(needed.marker))
        if extra is None:
            yield _package(needed)
        elif extra[1] not in ("dev", "test", "docs"):
            extras.setdefault(extra[1], []).append(needed.name)
    for extra_name, names in sorted(extras.items()):
        absent = [name for name in names if _version(name) is None]
        how = f"without {', '.join(absent)}: pip install 'nas-vit[{extra_name}]'"
        yield Finding(f"extra {extra_name}", how if absent else "installed")


def _package(needed: Requirement) -> Finding:
    version = _version(needed.name)
    remedy = f"pip install '{needed.name}{needed.specifier}'"
    if version is None:
        return Finding(needed.name, "not installed", remedy, stops=True)
    if not needed.specifier.contains(version, prereleases=True):
        return Finding(needed.name, f"{version}; {needed.specifier} is needed", remedy, stops=True)
    return Finding(needed.name, version)


def _torch() -> Iterator[Finding]:
    """A torchvision of another build than torch fails when it is imported, or when it registers its operators."""
    try:
        torch: Any = importlib.import_module("torch")
        importlib.import_module("torchvision").ops.nms(torch.zeros(1, 4), torch.zeros(1), 0.5)
    except Exception as error:
        reason = str(error).strip().partition("\n")[0][:200]
        yield Finding("torch and torchvision", reason, "pip install --force-reinstall torch torchvision", stops=True)
        return
    built = torch.version.cuda
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    for number in range(count):
        properties = torch.cuda.get_device_properties(number)
        bfloat16 = "bfloat16" if torch.cuda.is_bf16_supported(including_emulation=False) else "no bfloat16"
        yield Finding(f"cuda:{number}", f"{properties.name}, {properties.total_memory / 2**30:.0f} GiB, {bfloat16}")
    if not count and Path("/dev/nvidiactl").exists():
        cause = "this torch is built for the CPU" if built is None else f"torch is built for CUDA {built}"
        yield Finding("GPU", f"there is one that torch cannot use: {cause}", "install a driver and a torch of one CUDA")
    yield Finding("threads", f"{torch.get_num_threads()} of torch here; a worker has as many as `workers.cpu`")
    machine = hardware()
    each = "1 core and a GPU" if count else "1 core"
    yield Finding("workers", f"by default {count or machine['cores']} at once, each with {each}")
    memory = machine["memory_gb"]
    low = memory < MEMORY_GB * (1 + (count or machine["cores"]))
    remedy = f"fewer workers (workers.count): each imports torch and takes about {MEMORY_GB / 2:g} GB" if low else None
    yield Finding("memory", f"{memory:g} GB", remedy)


def _shared() -> Iterator[Finding]:
    if not os.path.isdir(SHARED):
        return
    free = shutil.disk_usage(SHARED).free / 1e6
    remedy = f"for a container: --shm-size={2 * SHARED_MB}m; else images are decoded in one process"
    yield Finding(SHARED, f"{free:,.0f} MB free", None if free >= SHARED_MB else remedy)


def _folders() -> Iterator[Finding]:
    yield _folder("this folder", Path.cwd(), "run `nas` where you may write, or give --run a path")
    yield _folder(
        "cache", cache_home(), "name another folder with XDG_CACHE_HOME; else images are decoded in every run"
    )
    try:
        with private_folder() as folder:
            yield _folder("temporary folder", folder.parent, "name another folder with TMPDIR")
    except RunError as error:
        yield Finding("temporary folder", str(error), "name another folder with TMPDIR", stops=True)
    if not os.access(home(), os.W_OK):
        yield Finding("home", f"{home()} cannot be written; runs do without", None)


def _folder(what: str, folder: Path, remedy: str) -> Finding:
    at = next(each for each in (folder, *folder.parents) if each.exists())
    try:
        with tempfile.TemporaryFile(dir=at):
            pass
    except OSError as error:
        return Finding(what, f"{folder}: {error.strerror}", remedy, stops=what != "cache")
    free = shutil.disk_usage(at).free / 1e9
    return Finding(what, f"{folder}, {free:,.1f} GB free", None if free >= DISK_GB else remedy)


def _cluster() -> Iterator[Finding]:
    address = os.environ.get("RAY_ADDRESS", "").strip()
    if not address or address in ("local", "auto"):
        yield Finding("cluster", f"RAY_ADDRESS is {address or 'not set'}: Ray starts and ends with a run")
        return
    try:
        knock(address)
    except RunError as error:
        remedy = "start its head with `ray start --head`, or unset RAY_ADDRESS"
        yield Finding("cluster", str(error), remedy, stops=True)
        return
    open_to_all = (
        None if has_ray_token() else "whoever reaches it runs code on it: docs/cluster.md says how to set a token"
    )
    yield Finding("cluster", f"RAY_ADDRESS={address} answers", open_to_all)


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


CHECKS: tuple[Callable[[], Iterator[Finding]], ...] = (_python, _packages, _torch, _shared, _folders, _cluster)
