from __future__ import annotations

import pytest
import torch
from safetensors.torch import load_file, save_file

from nas.errors import RunError
from nas.train import Training
from nas.train.checkpoint import TrainingFiles, fingerprint_of

ROWS = [{"epoch": 1, "accuracy": 0.1}, {"epoch": 2, "accuracy": 1 / 3}]
CPU = torch.device("cpu")


@pytest.fixture
def job(lavit, few_digits):
    return fingerprint_of(lavit, few_digits, Training(), seed=1)


def test_metrics_are_cut_to_the_checkpoint(tmp_path, job):
    files = TrainingFiles(tmp_path, job)
    files.save(ROWS[:1], {"model": {"w": torch.ones(2)}})
    checkpoint = (tmp_path / "checkpoint.pt").read_bytes()
    files.save(ROWS, {})
    (tmp_path / "checkpoint.pt").write_bytes(checkpoint)  # as if the second one had not been written
    (tmp_path / ".checkpoint.pt.abc.tmp").touch()

    content = files.load(CPU)

    assert content["rows"] == ROWS[:1]
    assert torch.equal(content["model"]["w"], torch.ones(2))
    assert (tmp_path / "metrics.csv").read_text() == "epoch,accuracy\n1,0.1\n"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoint.pt", "metrics.csv"]


def test_finished_gives_back_the_exact_metrics(tmp_path, job):
    files = TrainingFiles(tmp_path, job)
    assert files.load(CPU) is None
    assert files.finished() is None
    files.save(ROWS, {})
    assert files.finished() is None
    files.finish({"w": torch.ones(2)})
    assert files.finished() == ROWS
    assert load_file(tmp_path / "weights.safetensors").keys() == {"w"}
    assert not (tmp_path / "checkpoint.pt").exists()


@pytest.mark.parametrize(
    ("other", "key"),
    [
        ({"seed": 2}, "seed is 1 there and 2 here"),
        ({"training": Training(lr=0.5)}, r"training\.lr is .* there and 0\.5 here"),
        ({"genome": "castling_digits"}, "genome is"),
        ({"data": "digits"}, "data is"),
    ],
)
@pytest.mark.parametrize("done", [False, True])
def test_refuses_another_job(tmp_path, job, lavit, few_digits, digits, other, key, done):
    from nas.genome import load_genome

    files = TrainingFiles(tmp_path, job)
    files.save(ROWS, {})
    if done:
        files.finish({"w": torch.ones(2)})
    theirs = fingerprint_of(
        load_genome(other.get("genome", lavit)),
        digits if "data" in other else few_digits,
        other.get("training", Training()),
        other.get("seed", 1),
    )
    with pytest.raises(RunError, match=key):
        TrainingFiles(tmp_path, theirs).finished() if done else TrainingFiles(tmp_path, theirs).load(CPU)


def test_a_renamed_genome_is_the_same_job(job, lavit, few_digits):
    assert fingerprint_of(lavit.model_copy(update={"name": "other"}), few_digits, Training(), seed=1) == job


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", b"PK\x03\x04 half a zip"])
def test_damaged_files_are_named(tmp_path, job, content):
    (tmp_path / "checkpoint.pt").write_bytes(content)
    with pytest.raises(RunError, match=r"checkpoint\.pt: damaged"):
        TrainingFiles(tmp_path, job).load(CPU)
    (tmp_path / "metrics.csv").touch()
    (tmp_path / "weights.safetensors").write_bytes(content)
    with pytest.raises(RunError, match=r"weights\.safetensors: damaged"):
        TrainingFiles(tmp_path, job).finished()


def test_weights_from_elsewhere_are_refused(tmp_path, job):
    (tmp_path / "metrics.csv").touch()
    save_file({"w": torch.ones(2)}, tmp_path / "weights.safetensors")
    with pytest.raises(RunError, match="another training"):
        TrainingFiles(tmp_path, job).finished()


def test_checkpoints_that_run_code_are_refused(tmp_path, job):
    class Evil:
        def __reduce__(self):
            return (exec, ("raise SystemExit(3)",))

    torch.save({"job": Evil()}, tmp_path / "checkpoint.pt")
    with pytest.raises(RunError, match="damaged"):
        TrainingFiles(tmp_path, job).load(CPU)
