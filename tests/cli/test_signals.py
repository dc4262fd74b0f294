"""Signals to a search: it ends with its front written, whichever it is and however many."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
import typer

from nas.cli.output import INTERRUPTED, resumable
from nas.signals import deferred, interruptible
from tests.report.damaged import write_searched

SETTINGS = "training.epochs=1 training.limit=200 trials=500 study=off workers.count=1"


def wait_for(files, process: subprocess.Popen) -> None:
    while not files():  # no clock: the process ends by itself some time
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)


pytestmark = pytest.mark.usefixtures("signals_heeded")


@pytest.mark.xdist_group("ray-cli/test_signals")
@pytest.mark.slow
@pytest.mark.parametrize(
    ("signals", "to_all"),
    [([signal.SIGTERM], False), ([signal.SIGHUP, *[signal.SIGINT] * 4], True), ([signal.SIGUSR1], False)],
    ids=["TERM", "HUP of a terminal, and four Ctrl-C", "USR1, which Tune takes for the end"],
)
def test_a_search_that_is_ended_shows_its_front(tmp_path: Path, signals: list[int], to_all: bool) -> None:
    (tmp_path / "mlflow.py").write_text("open('imported', 'w')")  # found before an installed one
    command = [sys.executable, "-m", "nas", "search", "lavit_split", "--run", "r", "--set", SETTINGS]
    search = subprocess.Popen(
        command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    run = tmp_path / "results" / "r"
    wait_for(lambda: len(list(run.glob("trials/*/result.json"))) > 1, search)
    for number in signals:
        (os.killpg if to_all else os.kill)(search.pid, number)
        time.sleep(0.2)
    out, err = search.communicate()
    assert (search.returncode, err) == (128 + signals[0], ""), out
    assert "\ninterrupted\n" in out and out.splitlines()[-1].startswith("resume with: ")
    assert len(pd.read_csv(run / "front.csv")) >= 1
    assert not list(run.glob(".*.tmp"))  # a draft in a trial directory is removed by the trial's next worker
    assert not (run / ".ray").exists()
    assert not (tmp_path / "imported").exists(), "Ray would, to count callbacks"


@pytest.mark.xdist_group("ray-cli/test_signals")
@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_search_that_is_ended_while_ray_starts(tmp_path: Path, number: int) -> None:
    command = [sys.executable, "-m", "nas", "search", "lavit_split", "--run", "r", "--set", SETTINGS]
    with tempfile.TemporaryDirectory() as short:  # Ray's sockets do not fit below a longer path
        search = subprocess.Popen(
            command, cwd=tmp_path, env=os.environ | {"TMPDIR": short}, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            text=True,
        )  # fmt: skip
        wait_for(lambda: list(Path(short).glob("nas-*/r")), search)
        search.send_signal(number)
        out, err = search.communicate()
        assert (search.returncode, err) == (128 + number, ""), out
        assert "\ninterrupted\n" in out and out.splitlines()[-1].startswith("resume with: ")
        assert not list(Path(short).glob("nas-*"))


@pytest.mark.slow
def test_a_training_that_is_ended_can_be_resumed(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "nas", "train", "lavit_digits", "--out", "t", "--device", "cpu", "--set"]
    training = subprocess.Popen(
        [*command, "training.epochs=500 training.limit=200"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    wait_for((tmp_path / "t" / "checkpoint.pt").exists, training)
    training.send_signal(signal.SIGHUP)
    out, err = training.communicate()
    assert (training.returncode, err) == (128 + signal.SIGHUP, "")
    assert out.splitlines()[-1].startswith("resume with: ")
    assert (tmp_path / "t" / "checkpoint.pt").exists() and not list(tmp_path.rglob(".*.tmp"))


def test_a_page_that_is_followed_until_a_signal(nas, monkeypatch: pytest.MonkeyPatch) -> None:
    def followed(directory: Path) -> Iterator[Path]:
        yield directory / "report.html"
        signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr("nas.report.follow.follow", followed)
    answer = nas("report", "r", "--live")
    assert (answer.code, answer.err) == (143, "")
    assert answer.out == "results/r/report.html\n\ninterrupted\nresume with: nas report r --live\n"


def test_how_to_go_on_is_said_whatever_has_become_of_the_front(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = write_searched(tmp_path / "run")
    (run / "front.csv").write_bytes(b"\x00" * 99)
    monkeypatch.setattr(sys, "argv", ["nas", "search", "space.yaml"])
    with interruptible() as interruption, pytest.raises(typer.Exit) as left, resumable(front_of=run):
        signal.raise_signal(signal.SIGTERM)
    assert (left.value.exit_code, interruption.code) == (INTERRUPTED, 143)  # of which `main` makes 143
    lines = capsys.readouterr().out.splitlines()
    assert lines[-2].startswith(f"the front cannot be shown: {run / 'front.csv'}: damaged (")
    assert lines[-1] == "resume with: nas search space.yaml"


def test_one_interruption_however_many_signals() -> None:
    with interruptible() as interruption:
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGTERM)
        for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
            signal.raise_signal(number)
        assert (interruption.signal, interruption.code) == (signal.SIGTERM, 143)


class _Noisy:
    """Its destructor is interrupted, where Python drops the exception."""

    def __del__(self) -> None:
        signal.raise_signal(signal.SIGTERM)


def _ended(noisy: list[_Noisy]) -> None:
    noisy.clear()
    time.sleep(30)


def test_an_interrupt_that_python_drops_is_raised_again() -> None:
    hook = sys.unraisablehook
    with interruptible() as interruption:
        noisy = [_Noisy()]
        with pytest.raises(KeyboardInterrupt):
            _ended(noisy)
        assert interruption.code == 143
        signal.raise_signal(signal.SIGTERM)  # the front is being written
    assert sys.unraisablehook is hook


STUBBORN = """
import time
import nas.signals
nas.signals.PATIENCE = 0
def work():
    while True:
        try:
            print("at work", flush=True)
            time.sleep(60)
        except BaseException:
            pass
with nas.signals.interruptible():
    work()
"""


def test_code_that_catches_every_interrupt_is_ended_by_the_third() -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", STUBBORN], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGINT):
        assert process.stdout is not None and process.stdout.readline() == "at work\n"
        process.send_signal(number)
    assert process.wait(60) == 128 + signal.SIGTERM
    assert process.stderr is not None
    assert "interrupted three times, and still at work in <string>, line" in process.stderr.read()


def test_deferred_signals_come_once_at_the_end_of_the_block() -> None:
    done = []

    def interrupted() -> None:
        with deferred():
            for number in (signal.SIGHUP, signal.SIGTERM, signal.SIGINT):
                signal.raise_signal(number)
            done.append("block")

    with interruptible() as interruption:
        with pytest.raises(KeyboardInterrupt):
            interrupted()
        assert done == ["block"] and interruption.signal in (signal.SIGTERM, signal.SIGHUP)
        signal.raise_signal(signal.SIGINT)  # soon after another one
    assert signal.SIGHUP not in signal.pthread_sigmask(signal.SIG_BLOCK, ())
    with deferred():
        pass
    with deferred():
        inherited = subprocess.run(["grep", "SigBlk", "/proc/self/status"], capture_output=True, text=True).stdout
    assert int(inherited.split()[1], 16) == 1 << (signal.SIGHUP - 1)


def test_signals_that_are_ignored_stay_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with interruptible() as interruption:
            signal.raise_signal(signal.SIGHUP)
        assert interruption.signal is None
    finally:
        signal.signal(signal.SIGHUP, before)
