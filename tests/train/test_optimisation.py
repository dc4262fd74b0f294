from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nas.data import Augment, load
from nas.genome import load_genome
from nas.model import build
from nas.train import Training, TrainingDiverged, loop, train
from nas.train.optimisation import Optimisation
from nas.train.ranks import Ranks
from nas.train.recipe import optimizers
from tests.train.test_loop import Stop, stop_after, without_times

CPU = torch.device("cpu")
TINY = {
    "image": {"size": 8, "channels": 1},
    "classes": 10,
    "stages": [{"patch": 4, "width": 8, "heads": 2, "mlp_ratio": 1.0, "depth": 2}],
}


def optimisation_of(updates: int = 10, **keys: object) -> Optimisation:
    torch.manual_seed(0)
    return Optimisation(build(load_genome(TINY)), Training(**keys), (), CPU, updates)


def rates(updates: int = 10, **keys: object) -> list[float]:
    made = optimisation_of(updates, **keys)
    found = []
    for update in range(1, updates * made.training.epochs + 1):
        made.begin(update)
        found.append(made.lr)
    return found


@pytest.mark.parametrize("schedule", ["cosine", "tanh", "poly", "step", "wsd", "rsqrt", "constant"])
def test_a_schedule_warms_up_to_lr_and_ends_where_it_should(schedule):
    found = rates(schedule=schedule, epochs=10, warmup_epochs=2, lr=1e-2, min_lr=1e-4)
    assert found[19] == max(found) == pytest.approx(1e-2)
    assert found[4] == pytest.approx(1e-2 * 5 / 20)
    last = {"tanh": pytest.approx(1.2e-4, rel=0.2), "step": 1e-2, "constant": 1e-2}.get(schedule, pytest.approx(1e-4))
    assert found[-1] == last


def test_decays():
    steps = rates(schedule="step", epochs=6, warmup_epochs=0, lr=1e-2, min_lr=0, decay_epochs=2, decay_rate=0.5)
    assert steps[18] == 1e-2 and steps[20] == 5e-3 and steps[58] == 2.5e-3
    late = rates(schedule="wsd", epochs=6, warmup_epochs=1, lr=1e-2, decay_epochs=2)
    assert late[39] == 1e-2 > late[42]
    whole = rates(1, schedule="wsd", epochs=2, warmup_epochs=1, lr=1e-2, decay_epochs=90)  # longer than the training
    assert whole[-1] < 1e-2


def test_a_warm_up_that_is_no_prefix_hides_the_beginning_of_the_cosine():
    inside = rates(epochs=10, warmup_epochs=2, warmup_prefix=False)
    whole = rates(epochs=10, warmup_epochs=0)
    assert inside[20:] == pytest.approx(whole[20:]) and inside[:18] != pytest.approx(whole[:18])


def test_the_rate_follows_the_batch():
    assert max(rates(lr=0.01, lr_base_size=512, batch_size=32, accumulate=4, min_lr=0)) == pytest.approx(0.01 / 4)


@pytest.mark.parametrize("name", ["adamw", "sgd", "lamb", "muon", "lion", "adafactorbv"])
def test_an_optimiser_by_name_moves_the_weights(name):
    made = optimisation_of(optimizer=name, lr=1e-2, warmup_epochs=0)
    before = [weight.detach().clone() for weight in made.weights]
    made.begin(1)
    for weight in made.weights:
        weight.grad = torch.ones_like(weight)
    made.update()
    assert all(not torch.equal(old, new) for old, new in zip(before, made.weights, strict=True))


def test_options_reach_the_optimiser():
    group = optimisation_of(betas=(0.8, 0.99), eps=1e-6).optimizer.param_groups[0]
    assert group["betas"] == (0.8, 0.99) and group["eps"] == 1e-6 and group["fused"]
    assert optimisation_of(optimizer="sgd", momentum=0.5).optimizer.param_groups[0]["momentum"] == 0.5


def test_clipping_by_value_and_adaptively():
    made = optimisation_of(clip=0.01, clip_mode="value")
    for weight in made.weights:
        weight.grad = torch.full_like(weight, 3.0)
    norm = made.update()
    assert norm > 3 and all(weight.grad.abs().max() <= 0.01 for weight in made.weights)
    made = optimisation_of(clip=0.01, clip_mode="agc")
    assert len(made.weights) - len(made.body) == 2, "the classifier is not clipped"
    for weight in made.weights:
        weight.grad = torch.full_like(weight, 3.0)
    made.update()
    assert all((weight.grad < 3).all() for weight in made.body)


def test_gradients_of_a_group_are_those_of_the_whole_batch(tmp_path, lavit):
    """144 images: batches of 48, two to an update, the last update of an epoch with one."""
    images = load("digits", limit=180)
    seen = []

    def spied(self):
        seen.append([weight.grad.clone() for weight in self.weights])
        return update(self)

    update = Optimisation.update
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Optimisation, "update", spied)
        common = {"epochs": 1, "lr": 1e-12, "min_lr": 0.0, "augment": {"crop_padding": 0}}
        train(lavit, images, Training(batch_size=48, accumulate=2, **common), directory=tmp_path / "a", seed=0)
        train(lavit, images, Training(batch_size=96, **common), directory=tmp_path / "b", seed=0)
        train(lavit, images, Training(batch_size=48, **common), directory=tmp_path / "c", seed=0)
    grouped, whole, single = seen[:2], seen[2:3], seen[3:]
    assert len(single) == 3
    for mine, other in ((grouped[0], whole[0]), (grouped[1], single[2])):
        assert all(torch.allclose(a, b, atol=1e-5) for a, b in zip(mine, other, strict=True))


@pytest.mark.parametrize(
    "keys",
    [
        {"accumulate": 2, "batch_size": 32, "mixup": 0.8, "cutmix": 1.0, "mixup_off_epoch": 2,
         "augment": {"repeats": 3, "auto_augment": "randaugment"}},
        {"recipe": "deit3", "batch_size": 32},
        {"optimizer": "muon", "schedule": "wsd", "ema_warmup": False, "precision": "float16"},
    ],
)  # fmt: skip
def test_a_resumed_training_is_the_uninterrupted_one(tmp_path, few_digits, lavit, keys):
    training = Training(epochs=3, **keys)
    whole = train(lavit, few_digits, training, directory=tmp_path / "whole", seed=5)
    for epoch in (1, 2):
        with pytest.raises(Stop):
            train(lavit, few_digits, training, directory=tmp_path / "parts", seed=5, report=stop_after(epoch))
        torch.rand(3)
    parts = train(lavit, few_digits, training, directory=tmp_path / "parts", seed=5)
    assert without_times(parts.metrics) == without_times(whole.metrics)
    written = [(tmp_path / name / "weights.safetensors").read_bytes() for name in ("parts", "whole")]
    assert written[0] == written[1]


def test_mixing_ends(tmp_path, few_digits, lavit, monkeypatch):
    seen = []
    criterion = loop.TrainingLoss.__call__

    def spied(self, logits, trace, labels, images):
        seen.append(labels.is_floating_point())
        return criterion(self, logits, trace, labels, images)

    monkeypatch.setattr(loop.TrainingLoss, "__call__", spied)
    training = Training(epochs=3, mixup=0.8, mixup_off_epoch=2, batch_size=153)
    train(lavit, few_digits, training, directory=tmp_path, seed=0)
    assert seen == [True, True, False]


@pytest.mark.parametrize("ranks", [Ranks(), Ranks(0, 2), Ranks(1, 2)])
@pytest.mark.parametrize("batch_size", [12, 30, 64])
def test_no_image_is_mixed_with_its_own_copy(few_digits, batch_size, ranks):
    """torchvision mixes each row with the one before it, and a rank's first row with one that the loop adds."""

    def sharing(places):
        return ranks.of_training(loop._apart(places, 3))

    augment = Augment(repeats=3, crop_padding=0, flip=False)
    for images_BCHW, _ in few_digits.train.batches(
        batch_size, seed=3, augment=augment, drop_last=True, sharing=sharing
    ):
        pairs = list(zip(images_BCHW, images_BCHW.roll(1, 0), strict=True))[ranks.count > 1 :]
        assert not any(torch.equal(image, other) for image, other in pairs)


def test_a_training_mixes_no_image_with_its_own_copy(tmp_path, few_digits, lavit, monkeypatch):
    seen, real = [], loop.v2.MixUp.forward
    monkeypatch.setattr(loop.v2.MixUp, "forward", lambda self, *batch: seen.append(batch[0]) or real(self, *batch))
    augment = {"repeats": 3, "crop_padding": 0, "flip": False}
    train(lavit, few_digits, Training(epochs=1, mixup=0.8, augment=augment, batch_size=30), directory=tmp_path, seed=0)
    assert len(seen) == 5
    assert not any(torch.equal(*pair) for batch in seen for pair in zip(batch, batch.roll(1, 0), strict=True))


def test_float16_scales_the_loss_and_leaves_out_what_overflows(tmp_path, few_digits):
    training = Training(epochs=1, precision="float16")
    row = train(load_genome("castling_digits"), few_digits, training, directory=tmp_path, seed=0).metrics[0]
    assert 0 < row["gradient_norm"] < 100  # as it is without the scale
    made = optimisation_of(precision="float16")
    before = [weight.detach().clone() for weight in made.weights]
    made.begin(1)
    made.backward(sum(weight.sum() for weight in made.weights) * float("inf"))
    assert made.update() == 0
    assert all(torch.equal(old, new) for old, new in zip(before, made.weights, strict=True))
    assert made.scaler.get_scale() == 2**15 and not made.lost


def test_a_training_that_float16_cannot_hold_diverges(tmp_path, few_digits, lavit, monkeypatch):
    monkeypatch.setattr(Optimisation, "lost", True)
    with pytest.raises(TrainingDiverged, match="epoch 1"):
        train(lavit, few_digits, Training(precision="float16"), directory=tmp_path, seed=0)


@pytest.fixture(scope="module")
def hundred():
    return load("digits", limit=125)


@settings(max_examples=15)
@given(
    keys=st.fixed_dictionaries(
        {},
        optional={
            "recipe": st.sampled_from(["deit", "deit3", "finetune", "small_images"]),
            "optimizer": st.sampled_from(optimizers()),
            "schedule": st.sampled_from(["cosine", "tanh", "poly", "step", "wsd", "rsqrt", "constant"]),
            "warmup_prefix": st.booleans(),
            "warmup_epochs": st.sampled_from([0.1, 1.5, 5.0]),
            "accumulate": st.integers(1, 5),
            "clip_mode": st.sampled_from(["norm", "value", "agc"]),
            "bce": st.booleans(),
            "mixup": st.sampled_from([0.0, 0.8]),
            "cutmix": st.sampled_from([0.0, 1.0]),
            "mixup_off_epoch": st.integers(0, 1),
            "ema_warmup": st.booleans(),
            "layer_decay": st.sampled_from([0.5, 1.0]),
            "precision": st.sampled_from(["float32", "bfloat16", "float16"]),
            "augment": st.fixed_dictionaries(
                {},
                optional={
                    "auto_augment": st.sampled_from(["randaugment", "trivialaugment", "autoaugment", "three_augment"]),
                    "repeats": st.integers(1, 3),
                    "color_jitter": st.sampled_from([0.0, 0.3]),
                },
            ),
        },
    )
)
def test_any_combination_trains_and_is_finite(hundred, keys):
    threshold = {} if keys.get("bce", True) else {"bce_threshold": None}
    training = Training(epochs=1, batch_size=16, min_lr=0.0, warmup_lr=0.0, lr=1e-3, eps=None, **keys | threshold)
    with tempfile.TemporaryDirectory() as folder:
        row = train(load_genome(TINY), hundred, training, directory=Path(folder), seed=0).metrics[0]
    assert all(torch.tensor(float(value)).isfinite() for value in row.values())
