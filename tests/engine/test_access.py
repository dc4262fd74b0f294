"""A stranger at the ports of a run: another process, that may have a token of its own."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from nas.engine import Pool

STRANGER = """
import ray
ray.init({address!r}, log_to_driver=False, logging_level="ERROR", include_dashboard=False)
print("inside:", ray.get(ray.remote(num_cpus=0)(lambda: 42).remote()))
"""


def visitor(folder: Path, **environment: str) -> subprocess.Popen[str]:
    """A process that joins the run of this one and has it execute something; it says what came of it."""
    import ray

    clean = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    return subprocess.Popen(
        [sys.executable, "-c", STRANGER.format(address=ray.get_runtime_context().gcs_address)],
        env=clean | {"HOME": str(folder)} | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


@pytest.mark.slow  # Ray tries for twenty seconds
def test_strangers_are_refused(pool: Pool, tmp_path: Path) -> None:
    strangers = [
        visitor(tmp_path),
        visitor(tmp_path, RAY_AUTH_MODE="disabled"),
        visitor(tmp_path, RAY_AUTH_MODE="token", RAY_AUTH_TOKEN="0" * 64),
    ]
    for stranger in strangers:
        heard = stranger.communicate()[0]
        assert "inside" not in heard
        assert "token" in heard.lower(), heard


def test_who_has_the_token_of_the_run_is_let_in(pool: Pool, tmp_path: Path) -> None:
    file = os.environ["RAY_AUTH_TOKEN_PATH"]
    guest = visitor(tmp_path, RAY_AUTH_MODE="token", RAY_AUTH_TOKEN_PATH=file)
    assert "inside: 42" in guest.communicate()[0]


def test_the_token_is_the_users_alone(pool: Pool) -> None:
    file = Path(os.environ["RAY_AUTH_TOKEN_PATH"])
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    assert len(file.read_text()) == 64
