"""The named recipes against a loop that is made of timm's own pieces: the same losses, step by step."""

from __future__ import annotations

import pytest
import torch
from timm.loss import BinaryCrossEntropy, SoftTargetCrossEntropy
from timm.models import model_parameters
from timm.optim import create_optimizer_v2, param_groups_layer_decay, param_groups_weight_decay
from timm.scheduler import CosineLRScheduler
from timm.utils import ModelEmaV3, dispatch_clip_grad
from torchvision.transforms import v2

from nas.genome import load_genome
from nas.seeds import derive
from nas.timm.face import TimmModel  # with the group_matcher that timm's layer-wise decay asks for
from nas.train import Training, evaluate, loop, train

SEED = 3


@pytest.fixture(scope="module")
def plain():
    """One stage, as a ViT has it: timm's layer-wise decay takes a later stage's embedding for a layer of its own."""
    stage = {"patch": 2, "width": 16, "heads": 2, "mlp_ratio": 2.0, "depth": 3}
    return load_genome(
        {"name": "plain", "image": {"size": 8, "channels": 1}, "classes": 10, "drop_path": 0.1, "stages": [stage]}
    )


def timms_groups(model, training):
    """The last norm moves at the rate of the head, as in BEiT and MAE; timm has it at that of the last layer."""
    spared = model.no_weight_decay()
    if training.layer_decay == 1:
        return param_groups_weight_decay(model, training.weight_decay, no_weight_decay_list=spared)
    last = [*model.norm.parameters()]
    groups = param_groups_layer_decay(
        model, training.weight_decay, no_weight_decay_list=spared, layer_decay=training.layer_decay
    )
    for group in groups:
        group["params"] = [weight for weight in group["params"] if not any(weight is other for other in last)]
    return [*groups, {"params": last, "weight_decay": 0.0, "lr_scale": 1.0}]


def timms(genome, data, training):
    """The losses of the first epoch, and the accuracy of the weight average."""
    torch.manual_seed(derive(SEED, "weights"))
    model = TimmModel(genome)
    ema = ModelEmaV3(model, decay=training.ema, use_warmup=training.ema_warmup)
    options = {} if training.eps is None else {"eps": training.eps}
    groups = timms_groups(model, training)
    optimizer = create_optimizer_v2(groups, training.optimizer, training.peak_lr, **options)
    steps = len(data.train) // training.batch_size
    updates = -(-steps // training.accumulate)
    total, warmup = (
        updates * training.epochs,
        min(round(training.warmup_epochs * updates), updates * training.epochs // 2),
    )
    schedule = CosineLRScheduler(
        optimizer, total - warmup if training.warmup_prefix else total, training.min_lr, warmup_t=warmup,
        warmup_lr_init=training.warmup_lr, warmup_prefix=training.warmup_prefix, t_in_epochs=False,
    )  # fmt: skip
    mix = v2.RandomChoice(
        [v2.MixUp(alpha=training.mixup, num_classes=10), v2.CutMix(alpha=training.cutmix, num_classes=10)]
    )
    soft = BinaryCrossEntropy(0.0, training.bce_threshold) if training.bce else SoftTargetCrossEntropy()
    losses = []
    seed = derive(SEED, "epoch", 0)
    torch.manual_seed(seed)
    batches = list(data.train.batches(training.batch_size, seed=seed, augment=training.augment, drop_last=True))
    model.train()
    for update in range(updates):
        group = batches[update * training.accumulate : (update + 1) * training.accumulate]
        schedule.step_update(update + 1)
        optimizer.zero_grad()
        for images, labels in group:
            apart = sorted(range(len(images)), key=lambda row: row % training.augment.repeats)
            images, labels = mix(images[apart], labels[apart])
            labels = labels * (1 - training.label_smoothing) + training.label_smoothing / 10
            loss = soft(model(images), labels)
            (loss / len(group)).backward()
            losses.append(loss.item())
        if training.clip:
            exclude = training.clip_mode == "agc"
            dispatch_clip_grad(model_parameters(model, exclude_head=exclude), training.clip, training.clip_mode)
        optimizer.step()
        ema.update(model, step=update + 1)
    return losses, evaluate(ema.module, data.validation)


@pytest.mark.parametrize(
    ("recipe", "given"),
    [
        ("deit", {"ema": 0.99, "lr": 0.02}),
        ("finetune", {"ema": 0.9, "ema_warmup": False, "lr": 0.02}),
        ("deit3", {"ema": 0.9, "lr": 0.2, "accumulate": 2, "clip": 0.02, "clip_mode": "agc"}),
        ("finetune", {"ema": 0.9, "optimizer": "sgd", "clip": 1e-3, "clip_mode": "value", "bce": True}),
    ],
)
def test_one_epoch_is_that_of_timms_pieces(tmp_path, few_digits, plain, monkeypatch, recipe, given):
    training = Training(recipe=recipe, epochs=2, batch_size=30, **given)
    losses = []
    criterion = loop.TrainingLoss.__call__

    def recorded(*arguments):
        terms = criterion(*arguments)
        losses.append(terms["loss"].item())
        return terms

    monkeypatch.setattr(loop.TrainingLoss, "__call__", recorded)
    result = train(plain, few_digits, training, directory=tmp_path, seed=SEED, until=1)
    expected, accuracy = timms(plain, few_digits, training)
    assert len(losses) == 5
    assert losses == pytest.approx(expected, abs=1e-5)
    assert result.accuracy == accuracy
