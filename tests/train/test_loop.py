from __future__ import annotations

import copy
import pickle
import subprocess
import sys
from functools import partial

import pandas as pd
import pytest
import torch
from safetensors.torch import save_file

from nas.data import load
from nas.errors import DataError, RunError
from nas.genome import load_genome
from nas.model import build
from nas.train import Training, TrainingDiverged, evaluate, loop, optimisation, train

TIMES = {"seconds", "images_per_second_training"}
QUICK = Training(epochs=3)


class Stop(Exception):  # noqa: N818
    pass


def stop_after(epoch):
    def report(row):
        if row["epoch"] == epoch:
            raise Stop

    return report


def stop_at(epoch):
    """At the end of an epoch, or where that is None, at the first checkpoint within one."""

    def report(row):
        if (row and row["epoch"]) == epoch:
            raise Stop

    return report


def without_times(rows):
    return [{name: value for name, value in row.items() if name not in TIMES} for row in rows]


def test_learns_digits_and_the_weights_give_the_accuracy_in_a_new_process(tmp_path, lavit):
    reported, digits = [], load("digits", limit=700)
    training = Training(epochs=5, lr=6e-3, batch_size=32, augment={"crop_padding": 0})
    result = train(lavit, digits, training, directory=tmp_path, seed=0, report=reported.append)

    assert result.accuracy > 0.7  # chance is 0.1
    assert result.accuracy == result.metrics[-1]["accuracy"]
    assert reported == result.metrics
    assert sorted(path.name for path in tmp_path.iterdir()) == ["metrics.csv", "weights.safetensors"]
    table = pd.read_csv(tmp_path / "metrics.csv")
    pd.testing.assert_frame_equal(table, pd.DataFrame(result.metrics))
    assert list(table.epoch) == [1, 2, 3, 4, 5]
    assert table.lr.iloc[-1] == pytest.approx(training.min_lr)
    assert result.seconds == pytest.approx(table.seconds.sum())

    code = """
import sys, torch
from nas.data import load
from nas.model import build
from nas.train import evaluate
torch.set_num_threads(1)
print(repr(evaluate(build("lavit_digits", weights=sys.argv[1]), load("digits", limit=700).validation)))
"""
    command = [sys.executable, "-c", code, str(tmp_path / "weights.safetensors")]
    out = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert float(out) == result.accuracy


@pytest.mark.parametrize(
    ("preset", "edits", "options"),
    [
        ("lavit_digits", {}, {}),
        ("lavit_digits", {"loss.diagonal.variant": "hinge"}, {"mixup": 0.8, "cutmix": 1.0, "channels_last": True}),
        ("castling_digits", {}, {"ema": 0.0, "clip": 0.0, "precision": "bfloat16"}),
        ("mixed_digits", {}, {"weight_decay": 0.0, "label_smoothing": 0.0, "augment": {"erase": 0.5}}),
    ],
)
def test_a_resumed_training_is_the_uninterrupted_one(tmp_path, few_digits, preset, edits, options):
    genome, training = load_genome(preset).edit(edits), Training(epochs=3, **options)
    whole = train(genome, few_digits, training, directory=tmp_path / "whole", seed=5)
    for epoch in (1, 2):
        with pytest.raises(Stop):
            train(genome, few_digits, training, directory=tmp_path / "parts", seed=5, report=stop_after(epoch))
        torch.rand(3)  # whatever the process draws in between
    parts = train(genome, few_digits, training, directory=tmp_path / "parts", seed=5)

    assert without_times(parts.metrics) == without_times(whole.metrics)
    written = [(tmp_path / name / "weights.safetensors").read_bytes() for name in ("parts", "whole")]
    assert written[0] == written[1]
    assert ("diagonal_loss" in parts.metrics[0]) == bool(edits)


@pytest.mark.parametrize(
    ("preset", "options"),
    [
        ("lavit_digits", {"mixup": 0.8, "cutmix": 1.0, "accumulate": 2}),
        ("castling_digits", {"ema": 0.0, "precision": "float16", "augment": {"erase": 0.5}}),
    ],
)
def test_a_training_resumed_within_an_epoch_is_the_uninterrupted_one(tmp_path, few_digits, preset, options):
    genome, training = load_genome(preset).edit({"drop_path": 0.2}), Training(epochs=2, batch_size=16, **options)
    whole = train(genome, few_digits, training, directory=tmp_path / "whole", seed=5)
    often, parts = training.model_copy(update={"checkpoint_every": 1e-9}), tmp_path / "parts"
    for within in (True, True, False, True):  # the first epoch, again, its end, and the second
        with pytest.raises(Stop):
            train(genome, few_digits, often, directory=parts, seed=5, report=stop_at(None if within else 1))
        torch.rand(3)
    resumed = train(genome, few_digits, training, directory=parts, seed=5)
    assert without_times(resumed.metrics) == without_times(whole.metrics)
    written = [(tmp_path / name / "weights.safetensors").read_bytes() for name in ("parts", "whole")]
    assert written[0] == written[1]


def test_auxiliaries_are_reported_beside_the_deployed_graph(tmp_path, few_digits):
    metrics = train(load_genome("castling_digits"), few_digits, QUICK, directory=tmp_path, seed=0).metrics
    for row in metrics:
        assert 0 <= row["accuracy_with_auxiliary"] <= 1
        assert 0 <= row["mask_mass"] <= 1
    masses = [row["mask_mass"] for row in metrics]
    assert masses[0] > masses[1] > masses[2]  # the preset's schedule empties the branch
    assert metrics[-1]["accuracy_with_auxiliary"] == metrics[-1]["accuracy"]


def test_clipping_bounds_what_the_optimiser_sees(tmp_path, few_digits, lavit, monkeypatch):
    seen = []
    step = torch.optim.AdamW.step

    def spy(optimizer):
        gradients = [p.grad for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
        seen.append(torch.nn.utils.get_total_norm(gradients).item())
        step(optimizer)

    monkeypatch.setattr(torch.optim.AdamW, "step", spy)
    for clip in (0.1, 0.0):
        seen.clear()
        metrics = train(
            lavit, few_digits, Training(epochs=1, clip=clip), directory=tmp_path / str(clip), seed=0
        ).metrics
        assert metrics[0]["gradient_norm"] > 0.2  # as it was before clipping
        assert (max(seen) <= 0.1001) == bool(clip)


def test_a_finished_directory_is_not_trained_again(tmp_path, few_digits, lavit):
    first = train(lavit, few_digits, QUICK, directory=tmp_path, seed=0)
    again = train(lavit, few_digits, QUICK, directory=tmp_path, seed=0, report=stop_after(1))
    assert again == first


def test_killed_between_the_last_checkpoint_and_the_weights(tmp_path, few_digits, lavit):
    with pytest.raises(Stop):
        train(lavit, few_digits, QUICK, directory=tmp_path, seed=0, report=stop_after(3))
    assert not (tmp_path / "weights.safetensors").exists()
    result = train(lavit, few_digits, QUICK, directory=tmp_path, seed=0, report=stop_after(3))
    model = build(lavit, weights=tmp_path / "weights.safetensors")
    assert evaluate(model, few_digits.validation) == result.accuracy


def test_the_seed_decides_the_loss(tmp_path, few_digits, lavit):
    once = Training(epochs=1)
    losses = [
        train(lavit, few_digits, once, directory=tmp_path / str(i), seed=seed).metrics[0]["loss"]
        for i, seed in enumerate((0, 0, 1))
    ]
    assert losses[0] == losses[1] != losses[2]


def test_another_seed_in_the_directory_is_refused(tmp_path, few_digits, lavit):
    with pytest.raises(Stop):
        train(lavit, few_digits, QUICK, directory=tmp_path, seed=0, report=stop_after(1))
    with pytest.raises(RunError, match="seed is 0 there and 1 here"):
        train(lavit, few_digits, QUICK, directory=tmp_path, seed=1)


def test_nan_ends_with_epoch_and_step_and_keeps_the_checkpoint(tmp_path, few_digits, lavit, monkeypatch):
    steps = len(few_digits.train) // 64
    calls = 0

    def poisoned(*arguments):
        nonlocal calls
        calls += 1
        terms = terms_of(*arguments)
        return terms | {"loss": terms["loss"] * float("nan")} if calls > steps + 1 else terms

    terms_of = loop.TrainingLoss.__call__
    monkeypatch.setattr(loop.TrainingLoss, "__call__", poisoned)
    with pytest.raises(TrainingDiverged, match=rf"epoch 2 \(step {steps + 1}\)") as caught:
        train(lavit, few_digits, QUICK, directory=tmp_path, seed=0)
    assert (caught.value.epoch, caught.value.step) == (2, steps + 1)
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)
    assert len(pd.read_csv(tmp_path / "metrics.csv")) == 1
    assert torch.load(tmp_path / "checkpoint.pt", weights_only=True)["rows"][0]["epoch"] == 1


def test_an_exploding_learning_rate_diverges_or_ends_finite(tmp_path, few_digits, lavit):
    with pytest.raises(TrainingDiverged):
        train(lavit, few_digits, Training(lr=1e30, clip=0), directory=tmp_path, seed=0)


def test_a_batch_larger_than_the_training_set_is_the_whole_set(tmp_path, few_digits, lavit):
    result = train(lavit, few_digits, Training(epochs=1, batch_size=4096), directory=tmp_path, seed=0)
    assert result.epochs == 1


def test_ema_is_the_average_and_without_it_the_weights_are_the_models(tmp_path, few_digits, lavit, monkeypatch):
    seen = []
    update = loop.WeightAverage.update

    def spy(ema, model, step):
        update(ema, model, step)
        seen.append(model)

    monkeypatch.setattr(loop.WeightAverage, "update", spy)
    train(lavit, few_digits, QUICK, directory=tmp_path / "ema", seed=0)
    averaged = build(lavit, weights=tmp_path / "ema/weights.safetensors").state_dict()
    last = seen[-1].state_dict()
    assert any(not torch.equal(averaged[name], last[name]) for name in last)

    train(lavit, few_digits, QUICK.model_copy(update={"ema": 0.0}), directory=tmp_path / "plain", seed=0)
    plain = build(lavit, weights=tmp_path / "plain/weights.safetensors").state_dict()
    assert all(torch.equal(plain[name], last[name]) for name in last)  # EMA does not change what is trained


def test_a_compiled_training_is_the_same_one_and_saves_plain_weights(tmp_path, few_digits, monkeypatch):
    compile_eagerly = partial(torch.compile, backend="eager", fullgraph=True)  # the capture, without the code generator
    monkeypatch.setattr(torch, "compile", compile_eagerly)
    genome = load_genome("castling_digits").edit({"loss.diagonal.variant": "hinge"})
    compiled, plain = (
        train(genome, few_digits, Training(epochs=2, compile=on), directory=tmp_path / str(on), seed=0)
        for on in (True, False)
    )
    assert compiled.metrics[-1]["loss"] == pytest.approx(plain.metrics[-1]["loss"], rel=1e-4)
    build(genome, weights=tmp_path / "True/weights.safetensors")


def test_parameters_without_a_gradient_stay(tmp_path, few_digits, lavit, monkeypatch):
    def with_unused(genome):
        model = build(genome)
        model.unused = torch.nn.Parameter(torch.ones(3, 3))
        return model

    monkeypatch.setattr(loop, "build", with_unused)
    with pytest.raises(Stop):
        train(lavit, few_digits, QUICK, directory=tmp_path, seed=0, report=stop_after(1))
    train(lavit, few_digits, QUICK, directory=tmp_path, seed=0)


def test_distillation_from_a_winner(tmp_path, few_digits, lavit):
    save_file(build(lavit).state_dict(), tmp_path / "teacher.safetensors")
    teacher = {"genome": "lavit_digits", "weights": str(tmp_path / "teacher.safetensors"), "kind": "soft"}
    training = Training(epochs=1, teacher=teacher)
    metrics = train(lavit, few_digits, training, directory=tmp_path / "student", seed=0).metrics
    assert metrics[0]["distillation"] > 0


def test_bias_and_norm_are_not_decayed(tmp_path, few_digits, lavit, monkeypatch):
    groups = []
    make = optimisation.create_optimizer_v2
    monkeypatch.setattr(optimisation, "create_optimizer_v2", lambda g, **k: groups.extend(copy.copy(g)) or make(g, **k))
    train(lavit, few_digits, Training(epochs=1), directory=tmp_path, seed=0)
    decayed = {group["weight_decay"]: group["params"] for group in groups}
    assert all(parameter.ndim > 1 for parameter in decayed[Training().weight_decay])
    assert any(parameter.ndim == 1 for parameter in decayed[0.0])


def test_images_that_do_not_fit_the_genome_are_refused(tmp_path, few_digits, lavit):
    with pytest.raises(DataError, match="the dataset digits has 10; set classes to 10"):
        train(lavit.edit({"classes": 7}), few_digits, QUICK, directory=tmp_path, seed=0)
