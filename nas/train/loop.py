"""The training loop: a genome and images in, a directory with weights and metrics out.

Decisions:
- All randomness is seeded anew at each epoch, from the seed and the epoch's number. A checkpoint at the end of an epoch
  therefore holds no generator states. Within a long epoch there is one every so many minutes, with the state of the
  global generator and the losses so far. A resumed training computes exactly what an uninterrupted one does.
- Evaluation uses a second module, which holds the weight average (without EMA, a copy of the weights) in float32 and
  the default memory layout. Compilation, channels-last and bfloat16 apply to training only, so the accuracy in the
  table is that of weights.safetensors in a new process.
- The loop does not synchronise with the device within an epoch: losses are collected as tensors and read at its end.
  (In float16 the gradient scaler of some optimisers does.)
- Several processes may train one genome together (nas/train/ranks.py). All of them run this loop, on their own rows of
  each batch, and hold the same weights, averages and metrics; rank 0 alone reads and writes files.

Shapes: B images of a batch, C channels, H × W pixels, K classes, S steps of an epoch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torchvision.transforms import v2

from nas.data import ImageSet, check_fits, check_labelled
from nas.device import seed_generators
from nas.genome import Genome
from nas.heartbeat import beat
from nas.model import Model, auxiliaries_on, build
from nas.model.donor import Donor
from nas.model.inherit import Inherited, inherit
from nas.model.layer import AttentionTrace
from nas.model.pixels import metadata_of
from nas.seeds import derive
from nas.train.average import WeightAverage
from nas.train.checkpoint import TrainingFiles, fingerprint_of
from nas.train.epoch import Epoch
from nas.train.evaluation import evaluate
from nas.train.loss import TrainingLoss
from nas.train.optimisation import Optimisation
from nas.train.ranks import Ranks, check_shares
from nas.train.recipe import Training

ASKED = 50  # updates after which several ranks ask the first whether a checkpoint is due
CLOSED_FORM_TOKENS = 16_384  # of all images together: memory stays below 100 MB a layer


class TrainingDiverged(RuntimeError):  # noqa: N818  (an outcome of a trial, not a bug)
    """The loss or the gradient became NaN or infinite.

    `epoch` counts from 1; `step` is a batch, counted from 0 over the whole training.
    """

    def __init__(self, epoch: int, step: int):
        self.epoch, self.step = epoch, step
        super().__init__(epoch, step)  # the arguments, which pickling needs

    def __str__(self) -> str:
        return f"training diverged: loss or gradient is not finite in epoch {self.epoch} (step {self.step})"


@dataclass(frozen=True)
class Result:
    """A finished training. `accuracy` is validation top-1 (a fraction) of what weights.safetensors holds, None without
    validation images.

    `metrics` are the rows of metrics.csv, one per epoch; `seconds` is their total wall time, over all resumptions.
    """

    accuracy: float | None
    epochs: int
    seconds: float
    metrics: list[dict[str, Any]]

    @classmethod
    def of(cls, metrics: list[dict[str, Any]]) -> Result:
        return cls(metrics[-1].get("accuracy"), len(metrics), sum(row["seconds"] for row in metrics), metrics)


def train(
    genome: Genome,
    data: ImageSet,
    training: Training,
    *,
    directory: Path,
    seed: int,
    donor: Donor | None = None,
    teacher: Donor | None = None,
    device: str | torch.device = "cpu",
    threads: int | None = None,
    report: Callable[[dict[str, Any] | None], None] | None = None,
    until: int | None = None,
    ranks: Ranks = Ranks(),
    model: Model | None = None,
) -> Result:
    """Train `genome` on `data` and leave metrics.csv and weights.safetensors in `directory`.

    Called again with the same directory, it continues after the last epoch that was checkpointed, or returns at once if
    all is done. `report` gets each epoch's row when the checkpoint is on disk, and None for a checkpoint within an
    epoch; what it raises ends the training there.
    `until` ends this call after that epoch, on the way of the whole training's schedules; weights.safetensors comes
    with the last epoch. `donor` is the trained model whose weights it starts from. `teacher` is the model of
    `training.teacher`, whose file is then not read, and need not be on this machine. `threads` sets torch's number of
    threads for the process; the seed its global generator. `ranks`: this process is one of several that train the
    genome, all called with equal arguments; only rank 0 uses `directory` and `report`. `model`: what is trained, as it
    is, in place of one of the genome; `donor` then only says which model it is.

    Raises DataError if the images do not fit the genome, GenomeError if the donor does not, RunError if the directory
    belongs to another training, and TrainingDiverged.

        >>> train(load_genome("lavit_digits"), load("digits"), Training(), directory=Path("out"), seed=0).accuracy
    """
    # ------------------------------------------------------------------------------------------------------------------
    # Directory: finished, begun or new
    # ------------------------------------------------------------------------------------------------------------------
    check_labelled(data)
    check_shares(training, data, ranks.count)
    check_fits(data, size=genome.image.size, channels=genome.image.channels, classes=genome.classes)
    device = torch.device(device)
    if threads is not None:
        torch.set_num_threads(threads)
    files = TrainingFiles(Path(directory), fingerprint_of(genome, data, training, seed, donor, teacher))
    metrics = ranks.told(files.finished)
    if metrics is not None:
        return Result.of(metrics)
    checkpoint = ranks.told(files.load)

    # ------------------------------------------------------------------------------------------------------------------
    # Model and its evaluated copy
    # ------------------------------------------------------------------------------------------------------------------
    seed_generators(derive(seed, "weights"), device)
    if model is None:
        model, inherited = _begun(genome, data, training, donor, device, resumed=checkpoint is not None)
    else:
        model, inherited = model.to(device), ()
    evaluated = WeightAverage(ranks.agreed(model), decay=training.ema, use_warmup=training.ema_warmup)
    layout = torch.channels_last if training.channels_last else torch.contiguous_format
    model.to(memory_format=layout)
    parallel = ranks.parallel(model)
    forward = torch.compile(parallel) if training.compile else parallel
    precision = _autocast(training, device)

    # ------------------------------------------------------------------------------------------------------------------
    # Loss and optimisation; steps, updates and total are counts: batches and updates of an epoch, updates of all
    # ------------------------------------------------------------------------------------------------------------------
    steps = data.train.batch_count(training.batch_size, drop_last=True)
    updates = -(-steps // training.accumulate)
    total = updates * training.epochs
    criterion = TrainingLoss(genome, training, data, device, teacher)
    scheduled = model.has_auxiliaries
    tracing = criterion.reads_trace or scheduled
    optimisation = Optimisation(model, training, inherited, device, updates)

    # ------------------------------------------------------------------------------------------------------------------
    # Resume
    # ------------------------------------------------------------------------------------------------------------------
    rows: list[dict[str, Any]] = []
    within: dict[str, Any] = {}  # the epoch that the checkpoint is in
    if checkpoint is not None:
        rows, within = checkpoint["rows"], checkpoint.get("within", {})
        model.load_state_dict(checkpoint["model"])
        evaluated.module.load_state_dict(checkpoint["evaluated"])
        optimisation.load_state_dict(checkpoint)

    def save(within: dict[str, Any]) -> None:
        """Write a checkpoint, and report it. within: empty at the end of an epoch."""
        if ranks.first:
            state = {"model": model.state_dict(), "evaluated": evaluated.module.state_dict()}
            files.save(rows, state | optimisation.state_dict() | within)
            if report is not None:
                report(None if within else rows[-1])

    for epoch in range(len(rows), min(training.epochs, until or training.epochs)):
        # --------------------------------------------------------------------------------------------------------------
        # One epoch of training
        # --------------------------------------------------------------------------------------------------------------
        epoch_seed = derive(seed, "epoch", epoch)
        seed_generators(epoch_seed, device)  # of dropout, drop path and mixing; the split takes the seed itself
        batches = data.train.batches(
            training.batch_size,
            device=device,
            seed=epoch_seed,
            augment=training.augment,
            drop_last=True,
            sharing=lambda places: ranks.of_training(_apart(places, training.augment.repeats)),
            skip=within.get("step", 0),
        )
        mix = _mixing(training, genome.classes, epoch)
        current, within = Epoch(within, device, ranks), {}
        model.train()
        for step, (images_BCHW, labels_B) in enumerate(batches, current.step):
            beat()
            images_BCHW, labels = ranks.own(*mix(images_BCHW.contiguous(memory_format=layout), labels_B))
            first = step - step % training.accumulate  # of the batches of this update
            together = min(training.accumulate, steps - first)
            done = epoch * updates + first // training.accumulate + 1
            if step == first:
                optimisation.begin(done)
                if scheduled:
                    model.set_progress(done / total)
            last = step == first + together - 1
            ranks.exchange(parallel, last)
            with precision():
                if tracing:
                    logits_BK, trace = forward(images_BCHW, trace=True)
                else:
                    logits_BK, trace = forward(images_BCHW), AttentionTrace()
                terms = criterion(logits_BK, trace, labels, images_BCHW)
            optimisation.backward(terms["loss"] / together)
            if last:
                terms["gradient_norm"] = optimisation.update()
                if training.ema:
                    evaluated.update(model, step=done)
            if trace.mask_mass:
                terms["mask_mass"] = torch.stack([*trace.mask_mass.values()]).mean()
            current.add(terms)
            asked = last and step + 1 < steps and done % (ASKED if ranks.count > 1 else 1) == 0
            if asked and current.due(training.checkpoint_every):
                save({"within": current.state_dict()})

        series = current.series()
        norm_S = series["gradient_norm"].repeat_interleave(training.accumulate)[:steps]
        diverged_S = (series["loss"] + norm_S).isfinite().logical_not()
        diverged_S[-1] |= optimisation.lost
        if diverged_S.any():
            raise TrainingDiverged(epoch + 1, epoch * steps + int(diverged_S.nonzero()[0]))
        means = {name: values_S.mean().item() for name, values_S in series.items()}
        trained = current.seconds

        # --------------------------------------------------------------------------------------------------------------
        # Evaluation of the deployed graph, then with auxiliaries
        # --------------------------------------------------------------------------------------------------------------
        if not training.ema:
            evaluated.set(model)  # type: ignore[no-untyped-call]
        row: dict[str, Any] = {"epoch": epoch + 1, **means}
        if len(data.validation):
            row["accuracy"] = evaluate(evaluated.module, data.validation, device=device, ranks=ranks)
        if len(data.validation) and scheduled:
            evaluated.module.set_progress((epoch + 1) / training.epochs)
            with auxiliaries_on(evaluated.module):
                row["accuracy_with_auxiliary"] = evaluate(evaluated.module, data.validation, device=device, ranks=ranks)
        row["lr"] = optimisation.lr
        row["images_per_second_training"] = min(steps * training.batch_size, len(data.train)) / trained
        row["seconds"] = current.seconds
        rows.append(row)

        # --------------------------------------------------------------------------------------------------------------
        # Checkpoint, then report
        # --------------------------------------------------------------------------------------------------------------
        save({})

    if ranks.first and len(rows) == training.epochs:
        files.finish(evaluated.module.state_dict(), metadata_of(data))
    return Result.of(rows)


def _begun(
    genome: Genome, data: ImageSet, training: Training, donor: Donor | None, device: torch.device, *, resumed: bool
) -> tuple[Model, tuple[str, ...]]:
    """The model before its first step, and what learns at `inherited_lr`. A checkpoint replaces its values."""
    if donor is None:
        return build(genome).to(device), ()
    count = 0 if resumed else min(training.closed_form, max(1, CLOSED_FORM_TOKENS // genome.layout[0].tokens))
    images_BCHW = next(data.train.spread(count).batches(count, device=device))[0] if count else None
    found: Inherited[Model] = inherit(genome, donor, images_BCHW)
    slow = tuple(name for name in found.inherited + found.solved if name not in donor.young)
    return found.model.to(device), slow


def _autocast(training: Training, device: torch.device) -> Callable[[], AbstractContextManager[Any]]:
    """The context of the forward pass. `auto` ignores emulated bfloat16."""
    if training.precision == "float16":
        return lambda: torch.autocast(device.type, dtype=torch.float16)
    native = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
    if training.precision == "bfloat16" or (training.precision == "auto" and native):
        return lambda: torch.autocast(device.type, dtype=torch.bfloat16)
    return nullcontext


def _apart(places: Iterable[Tensor], repeats: int) -> Iterable[Tensor]:
    """The same batches in an order in which neighbours are no copies of one image, if there are three images or more.

    The sampler has copies side by side, mixing pairs neighbours, and an image that is mixed with itself is not mixed.
    DeiT's sampler deals the copies out to the GPUs in turn.
    """
    return (torch.cat([places_B[first::repeats] for first in range(repeats)]) for places_B in places)


def _mixing(training: Training, classes: int, epoch: int) -> Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """MixUp, CutMix, a random choice of the two for each batch, or neither. epoch: from 0, as timm counts them."""
    ended = 0 < training.mixup_off_epoch <= epoch
    ways = [
        way(alpha=alpha, num_classes=classes)
        for way, alpha in ((v2.MixUp, training.mixup), (v2.CutMix, training.cutmix))
        if alpha and not ended
    ]
    return v2.RandomChoice(ways) if ways else lambda images, labels: (images, labels)
