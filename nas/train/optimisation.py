"""Optimiser, schedule and gradient scaler of a training: timm's and torch's own, by name.

    update u = 1 … U:    lr(u) by timm's schedule · the group's lr_scale;    gradients clipped;    one optimiser step

An update follows `accumulate` batches, whose gradients are averaged; schedule, weight average and step counts go by
updates. The last update of an epoch takes the batches that are left, averaged over as many, as in timm's train.py.
timm sets the rate of the next update after each one. Here u counts from 1, so that no update is made at a rate of 0.

float16 cannot hold small gradients. torch's GradScaler multiplies the loss, divides the gradients again, and leaves out
an update whose gradients overflow; schedule and average go on, as in timm. Such an update counts as a gradient of 0.

Adaptive clipping (Brock et al., 2021) leaves the classifier alone, as in the paper and in timm.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from typing import Any

import torch
from timm.optim import create_optimizer_v2
from timm.scheduler import create_scheduler_v2
from timm.scheduler.scheduler import Scheduler
from timm.utils import dispatch_clip_grad
from torch import Tensor

from nas.model import Model
from nas.train.groups import parameter_groups
from nas.train.recipe import Training


class Optimisation:
    """What turns gradients into updates of the model's weights. updates: per epoch.

    >>> optimisation = Optimisation(model, training, (), device, updates=20)
    >>> optimisation.begin(1)
    >>> optimisation.backward(loss)
    >>> optimisation.update()
    """

    def __init__(
        self, model: Model, training: Training, inherited: Collection[str], device: torch.device, updates: int
    ):
        self.training, self.weights = training, list(model.parameters())
        self.body = [weight for name, weight in model.named_parameters() if not name.startswith("head.")]
        self.optimizer = _optimizer(model, training, inherited)
        self.schedule = _schedule(self.optimizer, training, updates)
        self.scaler = torch.amp.GradScaler(device.type, enabled=training.precision == "float16")

    def begin(self, update: int) -> None:
        """Before the first batch of an update, which is counted from 1 over the whole training."""
        self.schedule.step_update(update)
        self.optimizer.zero_grad()

    def backward(self, loss: Tensor) -> None:
        self.scaler.scale(loss).backward()

    def update(self) -> Tensor:
        """Clip, and move the weights. Returns the norm of the gradients before they are clipped."""
        clip, mode = self.training.clip, self.training.clip_mode
        self.scaler.unscale_(self.optimizer)
        norm = torch.nn.utils.clip_grad_norm_(self.weights, clip if clip and mode == "norm" else math.inf)
        if clip and mode != "norm":
            dispatch_clip_grad(self.body if mode == "agc" else self.weights, clip, mode)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        return torch.where(norm.isfinite(), norm, 0) if self.scaler.is_enabled() else norm

    @property
    def lost(self) -> bool:
        """Whether gradients overflow although the loss is made smaller: float16 cannot train this any more."""
        return self.scaler.is_enabled() and self.scaler.get_scale() < 1

    @property
    def lr(self) -> float:
        """The highest learning rate of all groups."""
        highest: float = max(group["lr"] for group in self.optimizer.param_groups)
        return highest

    def state_dict(self) -> dict[str, Any]:
        """The part of a checkpoint that is the optimiser's; the schedule follows from the update's number."""
        scaler = {"scaler": self.scaler.state_dict()} if self.scaler.is_enabled() else {}
        return {"optimizer": self.optimizer.state_dict()} | scaler

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """state: a whole checkpoint."""
        self.optimizer.load_state_dict(state["optimizer"])
        if self.scaler.is_enabled():
            self.scaler.load_state_dict(state["scaler"])


def _optimizer(model: Model, training: Training, inherited: Collection[str]) -> torch.optim.Optimizer:
    options: dict[str, Any] = {"fused": True} if training.optimizer == "adamw" else {}
    given = {"momentum": training.momentum, "betas": training.betas, "eps": training.eps}
    options |= {key: value for key, value in given.items() if value is not None}
    groups = parameter_groups(model, training, inherited)
    return create_optimizer_v2(groups, opt=training.optimizer, lr=training.peak_lr, **options)


def _schedule(optimizer: torch.optim.Optimizer, training: Training, updates: int) -> Scheduler:
    """timm's schedule with its durations in updates, which it is told are epochs of one update each."""
    total = updates * training.epochs
    warmup = min(round(training.warmup_epochs * updates), total // 2)
    rate = 1.0 if training.schedule == "poly" else 0.1
    schedule: Scheduler
    schedule, _ = create_scheduler_v2(
        optimizer,
        training.schedule,
        num_epochs=total - warmup if training.warmup_prefix else total,
        decay_epochs=_decay(training, updates, total - warmup),
        decay_rate=training.decay_rate or rate,
        min_lr=training.min_lr,
        warmup_lr=training.warmup_lr,
        warmup_epochs=warmup,
        warmup_prefix=training.warmup_prefix,
        stable_timescale=max(warmup, 1),
        step_on_epochs=False,
        updates_per_epoch=1,
    )
    return schedule


def _decay(training: Training, updates: int, length: int) -> int:
    """decay_epochs in updates: the interval of `step`, or the end of `wsd` and `rsqrt`, which have `length` updates."""
    if training.schedule == "step":
        return max(1, round((training.decay_epochs or 90) * updates))
    decay = training.decay_epochs or 0.2
    return min(max(1, round(decay * (length if decay < 1 else updates))), length)
