"""A mistake in the input ends in one message with file and key path, exit code 2, and nothing written."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from nas.plain_yaml import dump_yaml
from tests.report.damaged import write_searched

GENOME = {
    "image": {"size": 8, "channels": 1},
    "classes": 10,
    "stages": [
        {"patch": 2, "width": 32, "heads": 2, "depth": 2, "split": 1},
        {"patch": 2, "width": 64, "heads": 4, "depth": 2, "split": 1},
    ],
}


def changed(path: str, value: object) -> str:
    """The genome's YAML with one value changed."""
    keys = path.split(".")

    def rebuilt(node, depth):
        if depth == len(keys):
            return value
        key = int(keys[depth]) if isinstance(node, list) else keys[depth]
        copy = node.copy()
        known = isinstance(node, list) or key in node
        copy[key] = rebuilt(copy[key] if known else None, depth + 1)
        return copy

    return dump_yaml(rebuilt(GENOME, 0))


GENOMES = {
    "unknown key": (changed("stages.0.widht", 32), "stages.0.widht", "did you mean width?"),
    "misspelt block": (changed("stages.1.core", "softmaks"), "stages.1.core", "did you mean softmax?"),
    "heads": (changed("stages.1.heads", 5), "stages.1.heads", "heads 5 do not divide width 64"),
    "strides": (changed("image.size", 10), "stages.1.patch", "does not divide"),
    "corrupt YAML": ("stages: [", "line 1, column", "not readable as YAML"),
    "Python tag": ("a: !!python/object/apply:os.system [touch owned]", "line 1, column 4", "tags are not read"),
    "not a mapping": ("- 1", "", "a genome is a mapping"),
    "binary": ("\x00\x01", "", "not readable"),
}


def refused(answer, *parts: str) -> None:
    assert answer.code == 2, answer
    assert answer.err.startswith("nas: ")
    assert "Traceback" not in answer.err
    for part in parts:
        assert part in answer.err


@pytest.mark.parametrize(("text", "path", "hint"), GENOMES.values(), ids=GENOMES)
@pytest.mark.parametrize("verb", ["cost", "train", "search"])
def test_a_wrong_genome(nas, tmp_path, text, path, hint, verb):
    (tmp_path / "g.yaml").write_text(text)
    if verb == "search":
        (tmp_path / "s.yaml").write_text("base: g.yaml\nparameters: {stages.0.split: {int: [1, 2]}}\n")
    files = sorted(tmp_path.iterdir())
    refused(nas(verb, "s.yaml" if verb == "search" else "g.yaml"), "g.yaml", path, hint)
    assert sorted(tmp_path.iterdir()) == files


SPACES = {
    "unknown key": (
        "base: lavit_digits\nparameters: {stages.0.split: {int: [1, 2]}}\nbudged: {}\n",
        "budged", "did you mean budget?",
    ),
    "no such layer": (
        "base: lavit_digits\nparameters: {stages.7.split: {int: [1, 2]}}\n", "parameters.stages.7.split", "below 2",
    ),
    "no such preset": ("base: lavit_digit\nparameters: {a: {int: [1, 2]}}\n", "base", "did you mean lavit_digits?"),
    "training": (
        "base: lavit_digits\nparameters: {stages.0.split: {int: [1, 2]}}\ntraining: {epoch: 3}\n",
        "training.epoch", "did you mean epochs?",
    ),
    "Python tag": ("base: !!python/name:os.system\n", "line 1", "tags are not read"),
    "corrupt YAML": ("base: {", "line", "not readable as YAML"),
}  # fmt: skip


@pytest.mark.parametrize(("text", "path", "hint"), SPACES.values(), ids=SPACES)
def test_a_wrong_space(nas, tmp_path, text, path, hint):
    (tmp_path / "s.yaml").write_text(text)
    refused(nas("search", "s.yaml"), "s.yaml", path, hint)
    assert [file.name for file in tmp_path.iterdir()] == ["s.yaml"]


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["--set", "budget.macs=1000"], ["budget", "macs", "over the budget of 1,000"]),
        (["--set", "budget.macz=1000"], ["budget.macz", "did you mean macs?"]),
        (["--set", "training.epochs=two"], ["training.epochs", "'two'"]),
        (["--set", "training.epochs"], ["--set", "expected KEY=VALUE"]),
        (["--set", "trials=!!python/name:os.system"], ["trials", "tags are not read"]),
        (["--trials", "0"], ["trials", "expected at least 1, found 0"]),
        (["--dry-run", "--set", "warm_start=[earlier]"], ["warm_start", "no search to start from"]),
        (["--dry-run", "--run", ".."], ["--run", "expected a name"]),
        (["--data", "digit"], ["digit", "did you mean digits?"]),
        (["--data", "parquet:nowhere"], ["no such directory", "nowhere"]),
        (["--data", "imagefolder:nowhere"], ["no such directory", "nowhere"]),
    ],
)
def test_wrong_settings_of_a_search(nas, tmp_path, arguments, parts):
    refused(nas("search", "lavit_split", *arguments), *parts)
    assert list(tmp_path.iterdir()) == []


SETTINGS = {
    "below a number": ("training=3 training.epochs=2", "training.epochs: cannot be set: training is a number (3)"),
    "below an option": ("training.epochs.x=2", "training.epochs.x: cannot be set: training.epochs is a number (15)"),
    "an unknown option": ("training.epoch=2", "training.epoch: unknown key; allowed: accumulate, augment, "),
    "an empty key": ("training..epochs=1", "training..epochs: a key between the dots is empty"),
    "an empty first key": (".training=1", ".training: a key between the dots is empty"),
    "no list": ("training.*=1", "training.*: * stands for every element of a list, and training is a mapping"),
    "twice": ("training.epochs=1 training.epochs=2", "training.epochs: is set twice"),
    "no setting": ("training", "expected KEY=VALUE, found 'training'"),
    "no YAML": ("training.epochs=[1", "training.epochs: line 1, column 3: not readable as YAML: "),
    "in itself": (
        "training=&a [*a]",
        "training: line 1, column 1: not readable as YAML: more than 64 lists",
    ),
}


@pytest.mark.parametrize(("text", "message"), SETTINGS.values(), ids=SETTINGS)
def test_a_wrong_setting_is_the_same_message_for_every_verb(nas, tmp_path, text, message):
    verbs = ("search", "lavit_split"), ("ablate", "lavit_split"), ("train", "lavit_digits")
    answers = [nas(*verb, "--set", text) for verb in verbs]
    refused(answers[0], f"nas: --set: {message}")
    assert set(answers) == {answers[0]}
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("stages.2.width=16", "stages.2.width: expected an index below 2 or *, found '2'"),
        ("stages.first.width=16", "stages.first.width: expected an index below 2 or *, found 'first'"),
        ("stages.*.width.x=16", "stages.*.width.x: cannot be set: stages.0.width is a number (32)"),
        ("stages.0.local.kernel=3", "stages.0.local.kernel: cannot be set: stages.0.local is not set"),
        ("stages..width=3", "stages..width: a key between the dots is empty"),
    ],
)
def test_a_wrong_edit_of_a_genome_is_the_same_message(nas, text, message):
    answers = [nas(verb, "lavit_digits", "--set", text) for verb in ("cost", "train")]
    refused(answers[0], f"nas: --set: {message}")
    assert set(answers) == {answers[0]}


@pytest.mark.parametrize("verb", ["search", "ablate"])
def test_a_named_base_has_no_keys(nas, verb):
    message = "cannot be set: base is a string ('lavit_digits'); to change keys of it, write the genome in its place"
    refused(nas(verb, "lavit_split", "--set", "base.x=1"), f"nas: --set: base.x: {message}")


def test_a_corrupt_parquet_file(nas, tmp_path):
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "train-00000-of-00001.parquet").write_bytes(b"PAR1" + bytes(100) + b"PAR1")
    refused(nas("search", "lavit_split", "--data", "parquet:set"), "train-00000-of-00001.parquet")
    refused(nas("train", "lavit_digits", "--data", "parquet:set"), "train-00000-of-00001.parquet")
    assert [file.name for file in tmp_path.iterdir()] == ["set"]


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["search", "lavit"], ["no space called 'lavit'", "did you mean lavit_split?"]),
        (["search", "none.yaml"], ["none.yaml", "no such file"]),
        (["cost", "deit_tinny"], ["did you mean deit_tiny?"]),
        (["cost", "deit_tiny", "--set", "stages.0.heads=5"], ["stages.0.heads", "do not divide width 192"]),
        (["train", "lavit_digits", "--set", "training.epoch=2"], ["training.epoch", "did you mean epochs?"]),
        (["train", "lavit_digits", "--set", "training=2"], ["training"]),
        (["train", "lavit_digits", "--set", "classes=7"], ["lavit_digits", "classes", "has 10"]),
        (["train", "lavit_digits", "--device", "cuda:99"], ["--device", "cannot use 'cuda:99'"]),
        (["train", "lavit_digits", "--device", "gpu"], ["--device", "cannot use 'gpu'"]),
        (["report", "nothing"], ["results/nothing", "not a run", "no such directory"]),
        (["export", "lavit_digits", "--to", "m.tflite"], ["--to", ".pt2 or .onnx"]),
        (["export", "lavit_digits", "--to", "m.onnx"], ["give a path"]),
        (["export", "lavit_digits", "--to", "m/"], ["give a path"]),
        (["export", "lavit_digits", "--to", "m/", "--with-preprocess"], ["--to", "timm prepares images itself"]),
        (["export", "lavit_digits", "--to", "m.pt2"], ["give a path"]),
    ],
)
def test_wrong_arguments(nas, tmp_path, arguments, parts):
    refused(nas(*arguments), *parts)
    assert list(tmp_path.iterdir()) == []


def test_in_a_process_of_its_own_there_is_no_traceback(tmp_path):
    command = [sys.executable, "-m", "nas", "cost", "nope.yaml"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "nas: nope.yaml: no such file\n"


def test_usage_errors_exit_with_2_as_well(nas):
    answer = nas("cots", "lavit_digits")
    assert answer.code == 2
    assert "Traceback" not in answer.err


@pytest.mark.parametrize("arguments", [["diagnose", "."], ["export", ".", "--to", "x.onnx"], ["diagnose", "/"]])
def test_a_folder_is_no_genome(nas, arguments):
    refused(nas(*arguments), "is not a file: give a path")


@pytest.mark.parametrize("file", ["front.csv", "winners/w1-0000.json", "trials/0000/metrics.csv", "report.html"])
def test_a_folder_or_a_link_to_itself_in_place_of_a_file_is_named(nas, tmp_path, file):
    run = write_searched(tmp_path / "run")
    (run / file).unlink(missing_ok=True)
    (run / file).mkdir()
    refused(nas("report", run), file.rpartition("/")[2])
    (run / file).rmdir()
    (run / file).symlink_to(run / file)
    answer = nas("report", run)
    assert answer.code in (0, 2) and "Traceback" not in answer.err


def test_too_large_a_batch_is_one_message(nas):
    refused(nas("show", "lavit_digits", "--time", "--batch", 10**6, "--set", "image.size=1024"), "out of memory (")
    answer = nas("show", "lavit_digits", "--time", "--batch", 10**20)
    assert answer.code == 2 and "less than or equal to 1000000" in " ".join(answer.err.split())


def test_a_device_that_computes_nothing_is_refused(nas):
    for device in ("meta", ""):
        refused(nas("show", "lavit_digits", "--time", "--device", device), "--device: torch ")


@pytest.mark.parametrize("widths", [{"COLUMNS": "9" * 30}, {"COLUMNS": "0"}, {"TERMINAL_WIDTH": "abc"}])
def test_a_width_that_no_terminal_has_is_left_out(widths):
    command = [sys.executable, "-m", "nas", "--help"]
    answer = subprocess.run(command, env=os.environ | widths, capture_output=True, text=True)
    assert answer.returncode == 0 and 500 < len(answer.stdout) < 20_000


def test_a_working_directory_that_is_gone_is_one_message(tmp_path):
    (tmp_path / "gone").mkdir()
    script = f"cd {tmp_path}/gone && rmdir {tmp_path}/gone && exec {sys.executable} -P -m nas presets"
    answer = subprocess.run(["sh", "-c", script], capture_output=True, text=True)
    assert (answer.returncode, answer.stdout) == (2, "")
    assert answer.stderr == "nas: the working directory is gone; change to another one\n"
