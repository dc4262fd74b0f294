from __future__ import annotations

import errno
import io
import pickle
import struct
import zipfile
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest
import torch
from safetensors.torch import load_file, save_file

from nas.errors import RunError
from nas.genome import load_genome
from nas.train import Training, train
from nas.train.checkpoint import TRANSIENT, TrainingFiles, fingerprint_of

TRAINING = Training(epochs=3)
ROWS = [{"epoch": 1, "accuracy": 0.1}, {"epoch": 2, "accuracy": 1 / 3}]


@pytest.fixture
def job(lavit, few_digits):
    return fingerprint_of(lavit, few_digits, Training(epochs=2), seed=1)


def test_metrics_are_cut_to_the_checkpoint(tmp_path, job):
    files = TrainingFiles(tmp_path, job)
    files.save(ROWS[:1], {"model": {"w": torch.ones(2)}})
    checkpoint = (tmp_path / "checkpoint.pt").read_bytes()
    files.save(ROWS, {})
    (tmp_path / "checkpoint.pt").write_bytes(checkpoint)  # as if the second one had not been written
    (tmp_path / ".checkpoint.pt.abc.tmp").touch()

    content = files.load()

    assert content["rows"] == ROWS[:1]
    assert torch.equal(content["model"]["w"], torch.ones(2))
    assert (tmp_path / "metrics.csv").read_text() == "epoch,accuracy\n1,0.1\n"
    assert sorted(path.name for path in tmp_path.iterdir()) == [*sorted(TRANSIENT), "metrics.csv"]


def test_finished_gives_back_the_exact_metrics(tmp_path, job):
    files = TrainingFiles(tmp_path, job)
    assert files.load() is None
    assert files.finished() is None
    files.save(ROWS, {})
    assert files.finished() is None
    files.finish({"w": torch.ones(2)}, {})
    assert files.finished() == ROWS
    assert load_file(tmp_path / "weights.safetensors").keys() == {"w"}
    assert not (tmp_path / "checkpoint.pt").exists()


@pytest.mark.parametrize(
    ("other", "key"),
    [
        ({"seed": 2}, "seed is 1 there and 2 here"),
        ({"training": Training(epochs=2, lr=0.5)}, r"training\.lr is .* there and 0\.5 here"),
        ({"genome": "castling_digits"}, "genome is"),
        ({"data": "digits"}, "data is"),
    ],
)
@pytest.mark.parametrize("done", [False, True])
def test_refuses_another_job(tmp_path, job, lavit, few_digits, digits, other, key, done):
    files = TrainingFiles(tmp_path, job)
    files.save(ROWS, {})
    if done:
        files.finish({"w": torch.ones(2)}, {})
    theirs = fingerprint_of(
        load_genome(other.get("genome", lavit)),
        digits if "data" in other else few_digits,
        other.get("training", Training(epochs=2)),
        other.get("seed", 1),
    )
    with pytest.raises(RunError, match=key):
        TrainingFiles(tmp_path, theirs).finished() if done else TrainingFiles(tmp_path, theirs).load()


def test_a_resumed_training_is_held_to_its_images(tmp_path, job, lavit, few_digits):
    TrainingFiles(tmp_path, job).save(ROWS, {})
    other = replace(few_digits, test=few_digits.validation)  # as many to train and to validate on
    theirs = fingerprint_of(lavit, other, Training(epochs=2), seed=1)
    with pytest.raises(RunError, match=r"images_sha256 is '\w+' there and '\w+' here"):
        TrainingFiles(tmp_path, theirs).load()


def test_a_training_of_before_is_not_asked_for_its_images(tmp_path, job):
    earlier = {key: value for key, value in job.items() if key != "images_sha256"}
    TrainingFiles(tmp_path, earlier).save(ROWS, {})
    assert TrainingFiles(tmp_path, job).load()["rows"] == ROWS


def test_a_renamed_genome_is_the_same_job(job, lavit, few_digits):
    assert fingerprint_of(lavit.model_copy(update={"name": "other"}), few_digits, Training(epochs=2), seed=1) == job


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", b"PK\x03\x04 half a zip"])
def test_damaged_files_are_named_and_count_as_absent(tmp_path, job, content, caplog):
    (tmp_path / "checkpoint.pt").write_bytes(content)
    assert TrainingFiles(tmp_path, job).load() is None
    assert not (tmp_path / "checkpoint.pt").exists()
    (tmp_path / "metrics.csv").touch()
    (tmp_path / "weights.safetensors").write_bytes(content)
    assert TrainingFiles(tmp_path, job).finished() is None
    checkpoint, weights = (record.getMessage() for record in caplog.records)
    assert "checkpoint.pt is damaged" in checkpoint
    assert "weights.safetensors is damaged" in weights


@pytest.mark.parametrize(
    "table", ["", "epoch,accuracy\n1,0.1\n", "epoch,accuracy\n1,0.1\n2,\n", "epoch,accuracy\n1,0.1\n2,0.2,3\n", "\0"]
)
def test_a_damaged_table_of_metrics_is_made_again(tmp_path, job, table):
    files = TrainingFiles(tmp_path, job)
    files.save(ROWS, {})
    files.finish({"w": torch.ones(2)}, {})
    files.metrics.write_text(table)
    assert files.finished() is None


def test_weights_from_elsewhere_are_refused(tmp_path, job):
    (tmp_path / "metrics.csv").touch()
    save_file({"w": torch.ones(2)}, tmp_path / "weights.safetensors")
    with pytest.raises(RunError, match="another training"):
        TrainingFiles(tmp_path, job).finished()


class Bomb:
    def __reduce__(self):
        return (exec, ("raise SystemExit(3)",))


def test_checkpoints_that_run_code_are_thrown_away(tmp_path, job):
    torch.save({"job": Bomb()}, tmp_path / "checkpoint.pt")
    assert TrainingFiles(tmp_path, job).load() is None
    assert list(tmp_path.iterdir()) == []


# ----------------------------------------------------------------------------------------------------------------------
# Attacks on the checkpoints of a real training
# ----------------------------------------------------------------------------------------------------------------------
class Stop(Exception):  # noqa: N818
    pass


@pytest.fixture(scope="module")
def tiny():
    stage = {"patch": 4, "width": 16, "heads": 1, "mlp_ratio": 1.0, "depth": 1}
    return load_genome({"name": "tiny", "image": {"size": 8, "channels": 1}, "classes": 10, "stages": [stage]})


@pytest.fixture(scope="module")
def trained(tmp_path_factory, tiny, few_digits):
    """A training of three epochs: (the files of one that stopped after two, the final weights)."""
    stopped, whole = tmp_path_factory.mktemp("stopped"), tmp_path_factory.mktemp("whole")

    def stop(row):
        if row["epoch"] == 2:
            raise Stop

    with pytest.raises(Stop):
        train(tiny, few_digits, TRAINING, directory=stopped, seed=1, report=stop)
    train(tiny, few_digits, TRAINING, directory=whole, seed=1)
    files = {path.name: path.read_bytes() for path in stopped.iterdir()}
    assert files.keys() == {"metrics.csv", *TRANSIENT}
    assert {path.name for path in whole.iterdir()} == {"metrics.csv", "weights.safetensors"}
    return files, (whole / "weights.safetensors").read_bytes()


def torch_bytes(content):
    stream = io.BytesIO()
    torch.save(content, stream)
    return stream.getvalue()


def damaged(blob, random):
    """One of the things that happen to files."""
    at, length = random.randrange(len(blob)), random.choice([1, 16, 512, 4096])
    end = at + length
    attacks = [
        lambda: blob[:at],
        lambda: blob[: -random.randrange(1, 64)],
        lambda: blob[at:],
        lambda: blob[:at] + bytes(len(blob) - at),
        lambda: blob[:at] + bytes(len(blob[at:end])) + blob[end:],
        lambda: blob[:at] + bytes([blob[at] ^ (1 << random.randrange(8))]) + blob[at + 1 :],
        lambda: blob[:at] + random.randbytes(len(blob[at:end])) + blob[end:],
        lambda: blob[:at] + blob[end:],
        lambda: blob[:at] + random.randbytes(length) + blob[at:],
        lambda: blob + random.randbytes(length),
        lambda: random.choice([b"", b"\0", bytes(len(blob)), b"{}", pickle.dumps(Bomb()), pickle.dumps({"job": "{}"})]),
        lambda: torch_bytes(random.choice([Bomb(), {"job": Bomb()}, {}, [1], None, {"job": "{", "rows": []}])),
    ]
    return random.choice(attacks)()


def equal(one, other):
    if isinstance(one, torch.Tensor):
        return one.dtype == other.dtype and torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(equal(one[key], other[key]) for key in one)
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(equal, one, other))
    return one == other


def test_a_damaged_checkpoint_is_never_believed(tmp_path, trained, tiny, few_digits, monkeypatch):
    """What comes back is one of the two checkpoints in full, or nothing. torch alone believes a flipped weight."""
    monkeypatch.setattr(
        TrainingFiles, "_write_metrics", lambda files, rows: None
    )  # flushing a file 600 times takes seconds
    stored, _ = trained
    job, random = fingerprint_of(tiny, few_digits, TRAINING, seed=1), Random(0)
    current, previous = (torch.load(io.BytesIO(stored[name]), weights_only=True) for name in TRANSIENT)
    seen = {"current": 0, "previous": 0, "none": 0}
    for attempt in range(600):
        both = attempt % 3 == 0
        (tmp_path / TRANSIENT[0]).write_bytes(damaged(stored[TRANSIENT[0]], random))
        (tmp_path / TRANSIENT[1]).write_bytes(damaged(stored[TRANSIENT[1]], random) if both else stored[TRANSIENT[1]])
        content = TrainingFiles(tmp_path, job).load()
        found = "none" if content is None else "current" if equal(content, current) else "previous"
        assert found != "previous" or equal(content, previous)
        assert found != "none" or both
        seen[found] += 1
    assert seen["previous"] > 300
    assert seen["none"] > 100


def weights_at(checkpoint: Path) -> int:
    """The place of a byte in the largest tensor of the file: what lies between entries may be anything."""
    with zipfile.ZipFile(checkpoint) as entries:
        largest = max(entries.infolist(), key=lambda entry: entry.file_size)
    head = checkpoint.read_bytes()[largest.header_offset :][:30]
    name, extra = struct.unpack("<HH", head[26:30])
    return largest.header_offset + 30 + name + extra + largest.file_size // 2


@pytest.mark.parametrize("attack", ["flip", "cut", "empty", "bomb", "both", "gone", "all gone"])
def test_a_training_with_a_damaged_checkpoint_ends_with_the_same_weights(
    tmp_path, trained, tiny, few_digits, attack, caplog
):
    stored, weights = trained
    for name, blob in stored.items():
        (tmp_path / name).write_bytes(blob)
    current, previous = (tmp_path / name for name in TRANSIENT)
    blob = current.read_bytes()
    half = len(blob) // 2
    if attack in ("gone", "all gone"):  # a kill between the two moves of a save
        current.unlink()
    else:
        at = weights_at(current)
        flipped = blob[:at] + bytes([blob[at] ^ 1]) + blob[at + 1 :]
        current.write_bytes({"cut": blob[:half], "empty": b"", "bomb": torch_bytes(Bomb())}.get(attack, flipped))
    if attack == "both":
        previous.write_bytes(b"PK")
    if attack == "all gone":
        previous.unlink()
    epochs = []
    train(tiny, few_digits, TRAINING, directory=tmp_path, seed=1, report=lambda row: epochs.append(row["epoch"]))
    assert epochs == ([1, 2, 3] if attack in ("both", "all gone") else [2, 3])
    assert (tmp_path / "weights.safetensors").read_bytes() == weights
    assert {path.name for path in tmp_path.iterdir()} == {"metrics.csv", "weights.safetensors"}
    assert len(caplog.records) == {"both": 2, "gone": 0, "all gone": 0}.get(attack, 1)


def test_an_error_of_the_disk_throws_nothing_away(tmp_path, job, monkeypatch):
    files = TrainingFiles(tmp_path, job)
    files.save(ROWS, {})

    def fail(path):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(type(tmp_path), "read_bytes", fail)
    with pytest.raises(OSError, match="Input/output"):
        files.load()
    assert files.checkpoint.exists()
