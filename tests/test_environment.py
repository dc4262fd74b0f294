"""The environment of a batch system, a container, a notebook's shell, an old terminal."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from nas.cache import cache_file
from nas.environment import NO_HOME, SOCKET, cache_home, has_ray_token, home, private_folder, quiet_ray, ray_access
from nas.errors import RunError

ROOT = Path(__file__).parents[1]
SESSION = "r/session_2026-11-25_22-46-41_517313_4194304/sockets/plasma_store"  # below the folder, with the longest pid


@pytest.fixture
def homeless(monkeypatch: pytest.MonkeyPatch) -> None:
    """A user whom /etc/passwd does not know, without HOME."""

    def unknown() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(Path, "home", unknown)


def test_without_a_home(homeless: None, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):  # of a session that other tests share
        monkeypatch.delenv(name, raising=False)
    assert home() == NO_HOME
    assert cache_home() == NO_HOME / ".cache"
    assert cache_file("key", ".npy").parent == NO_HOME / ".cache" / "nas"
    assert not has_ray_token()
    with quiet_ray():
        assert os.environ["HOME"] == str(NO_HOME)
    assert "HOME" not in os.environ


def test_what_the_user_has_set_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TUNE_WARN_THRESHOLD_S", "3")
    monkeypatch.setenv("XDG_CACHE_HOME", "/c")
    with quiet_ray():
        assert os.environ["TUNE_WARN_THRESHOLD_S"] == "3"
    assert os.environ["TUNE_WARN_THRESHOLD_S"] == "3"
    assert cache_home() == Path("/c")


@pytest.mark.parametrize("name", ["TMPDIR", "RAY_TMPDIR"])
def test_sockets_fit_however_long_the_temporary_folder_is(
    name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for length in range(1, 120, 7):
        place = tmp_path.joinpath("x" * length)
        place.mkdir()
        monkeypatch.setenv(name, str(place))
        with private_folder() as folder:
            assert len(os.fsencode(folder / SESSION)) <= SOCKET
            assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        assert not folder.exists()


def test_a_short_temporary_folder_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    with tempfile.TemporaryDirectory(dir="/tmp") as place:
        monkeypatch.setenv("TMPDIR", place)
        monkeypatch.delenv("RAY_TMPDIR", raising=False)
        with private_folder() as folder:
            assert folder.parent == Path(place)


def test_a_temporary_folder_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_TMPDIR", "/tmp/none")
    with pytest.raises(RunError, match=r"^/tmp/none: Ray needs a temporary folder \(No such file"), private_folder():
        pass


@pytest.fixture
def no_access(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)


def test_each_run_has_a_token_of_its_own(no_access: None, tmp_path: Path) -> None:
    tokens = set()
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        with ray_access(tmp_path / name):
            file = Path(os.environ["RAY_AUTH_TOKEN_PATH"])
            assert os.environ["RAY_AUTH_MODE"] == "token"
            assert stat.S_IMODE(file.stat().st_mode) == 0o600
            tokens.add(file.read_text())
        assert not {"RAY_AUTH_MODE", "RAY_AUTH_TOKEN_PATH"} & set(os.environ)
    assert len(tokens) == 2


def test_a_local_run_is_closed_even_where_clusters_are_open(
    no_access: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    with ray_access(tmp_path):
        assert os.environ["RAY_AUTH_MODE"] == "token"
    assert os.environ["RAY_AUTH_MODE"] == "disabled"


def test_a_token_that_the_user_names_is_used(no_access: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("RAY_AUTH_TOKEN", "mine")
    with ray_access(tmp_path):
        assert "RAY_AUTH_TOKEN_PATH" not in os.environ and list(tmp_path.iterdir()) == []


def test_a_cluster_is_joined_with_the_token_of_the_home(no_access: None, tmp_path: Path) -> None:
    with ray_access(None):
        assert "RAY_AUTH_MODE" not in os.environ
    (tmp_path / ".ray").mkdir()
    (tmp_path / ".ray" / "auth_token").write_text("t")
    with ray_access(None):
        assert os.environ["RAY_AUTH_MODE"] == "token" and "RAY_AUTH_TOKEN_PATH" not in os.environ


def call(*arguments: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    env = os.environ | {"PYTHONPATH": str(ROOT)} | environment
    command = [sys.executable, "-m", "nas", *arguments]
    return subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    "environment",
    [
        {"PYTHONIOENCODING": "ascii", "FORCE_COLOR": "1", "TERM": "dumb", "COLUMNS": "1"},
        {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "NO_COLOR": "1", "COLUMNS": "none"},
    ],
    ids=["ascii", "C"],
)
def test_any_terminal_is_good_enough(tmp_path: Path, environment: dict[str, str]) -> None:
    done = call("presets", cwd=tmp_path, **environment)
    assert (done.returncode, done.stderr) == (0, "")
    assert "softmax x2" in "".join(done.stdout.split("\n")) or environment["COLUMNS"] == "1"
    missing = call("cost", "–·×.yaml", cwd=tmp_path, **environment)
    assert missing.returncode == 2 and missing.stderr.startswith("nas: ") and "Traceback" not in missing.stderr


def test_a_notebooks_backend_is_no_concern_of_the_command_line(tmp_path: Path) -> None:
    code = "import sys; from nas.cli import main; sys.argv = ['nas', 'presets']\ntry: main()\nexcept SystemExit: pass\n"
    code += "from matplotlib.figure import Figure; Figure().savefig('f.png')"
    env = os.environ | {"PYTHONPATH": str(ROOT), "MPLBACKEND": "module://matplotlib_inline.nothing"}
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=env, check=True, capture_output=True)
    assert (tmp_path / "f.png").exists()
