"""What the files of a trial say of each other: digests and seals, by which a file that has changed is noticed.

    trial.json     sha256: its own content
    result.json    sha256: its own content
                   metrics_sha256, weights_sha256: the files that the trial ended with
                   trial_sha256: the seal of trial.json, since a result may be that of another trial of the same genome
    rungs.json     sha256, trial_sha256: likewise

That of a shared training (nas/convert/sharing.py) has the digests alone. Files of earlier versions
have none of these, and are believed without. A file that differs is named, with what to do about it.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nas.engine.version import check_version
from nas.errors import RunError, shown
from nas.files import ALTERED, SEAL, is_altered, regular, sha256_of

TRIAL_SEAL = "trial_sha256"
DIGESTS = {"metrics_sha256": "metrics.csv", "weights_sha256": "weights.safetensors"}
AGAIN = "delete the trial's directory to have it trained again"
DAMAGED = f"damaged ({{}}); {AGAIN}"


def digests_of(directory: Path) -> dict[str, str | None]:
    """The digests that a result of the trial in `directory` has."""
    digests = {key: _digest(directory / name) for key, name in DIGESTS.items()}
    return digests | {TRIAL_SEAL: seal_of(directory)}


def seal_of(directory: Path) -> str | None:
    """The seal of trial.json; None without one, and without the file: an outcome is written all the same."""
    file = directory / "trial.json"
    seal: str | None = read_mapping(file).get(SEAL) if file.exists() else None
    return seal


def differ(stated: str | None, known: str | None) -> bool:
    """Whether both digests are known, and not the same."""
    return None not in (stated, known) and stated != known


def check_trial(content: Mapping[str, Any], seal: str | None, file: Path) -> None:
    """Raise RunError for the result or the pauses of another trial. content: of the file. seal: of trial.json."""
    if differ(content.get(TRIAL_SEAL), seal):
        raise RunError(DAMAGED.format("it is of another trial"), file=file)


def check_seal(content: Mapping[str, Any], known: Mapping[str, Any], file: Path) -> None:
    """Raise RunError for a value that has changed. known: what may be missing in it, since it is known all the same."""
    lacking = {name: value for name, value in known.items() if content.get(name) is None}
    if is_altered(content) and is_altered({**content, **lacking}):
        raise RunError(DAMAGED.format(ALTERED), file=file)


def check_metrics(content: Mapping[str, Any], directory: Path) -> None:
    """Raise RunError if metrics.csv is not what the trial ended with, or gone. content: of its result.json."""
    _check(content, directory, "metrics_sha256", needed=True)


def check_curve(directory: Path) -> None:
    """`check_metrics` of a trial that has ended, in whatever state. Nothing but its curve depends on it.

    >>> check_curve(Path("results/my_run/trials/0007"))
    """
    check_metrics(_ended(directory), directory)


def check_ended(directory: Path) -> None:
    """Raise RunError if a file that a training ended with is another one, or gone. Without result.json none has ended.

    >>> check_ended(Path("results/my_run/library/shared"))
    """
    content = _ended(directory)
    check_seal(content, {}, directory / "result.json")
    for key in DIGESTS:
        _check(content, directory, key, needed=True)


def check_weights(directory: Path) -> None:
    """Raise RunError if weights.safetensors is not what the trial ended with: wrong bytes in it load as well.

    They may be gone: those of trials that cannot win are deleted (nas/search/retention.py).

    >>> check_weights(Path("results/my_run/trials/0007"))
    """
    _check(_ended(directory), directory, "weights_sha256")


def weights_digest(directory: Path) -> str | None:
    """SHA-256 of the weights that a trial ended with; None if it has not ended, or had none."""
    digest: str | None = _ended(directory).get("weights_sha256")
    return digest


def read_mapping(path: Path) -> dict[str, Any]:
    """The content of a JSON file of a trial. Raises RunError for anything but a mapping, and for a later version's."""
    try:
        content = json.loads(text := regular(path).read_text(), object_pairs_hook=_shared)
        if "\\ud" in text.lower():  # perhaps half of a character, which no file can be written with
            json.dumps(content, ensure_ascii=False).encode()
    except (OSError, ValueError, RecursionError) as error:
        raise RunError(DAMAGED.format(error), file=path) from None
    if not isinstance(content, dict):
        raise RunError(DAMAGED.format(f"expected a mapping, found {shown(content)}"), file=path)
    check_version(content, path)
    return content


def _ended(directory: Path) -> dict[str, Any]:
    result = directory / "result.json"
    return read_mapping(result) if result.exists() else {}


def _check(content: Mapping[str, Any], directory: Path, key: str, *, needed: bool = False) -> None:
    expected, file = content.get(key), directory / DIGESTS[key]
    found = _digest(file) if expected is not None else None
    if found is None and expected is not None and needed:
        raise RunError(f"gone, of a trial that has ended: restore it, or {AGAIN}", file=file)
    if found is not None and found != expected:
        reason = "it is not what the trial ended with: its SHA-256 differs from result.json's"
        raise RunError(DAMAGED.format(reason), file=file)


def _digest(file: Path) -> str | None:
    """SHA-256; None if there is no such file."""
    try:
        return sha256_of(file)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise RunError(DAMAGED.format(error.strerror), file=file) from None


def _shared(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A mapping whose keys and words are the same objects in all trials: ten thousand have few different ones."""
    return {sys.intern(key): sys.intern(value) if _is_word(value) else value for key, value in pairs}


def _is_word(value: Any) -> bool:
    return isinstance(value, str) and value.isidentifier() and not value[-1].isdigit()
