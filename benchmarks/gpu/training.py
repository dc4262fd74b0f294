"""Trainings on the GPU: precisions, compilation and memory formats against plain float32, and weights read back.

All modes of a comparison train the same genome on the same batches from the same weights, in turns, twice. Compared are
the training losses of the second epoch: later ones say less, since differences in the last bits grow from step to step.
Images/s are those of the epochs after the first one, which compiles and warms up. The second turn of float32 says what
the device disagrees with itself by.
"""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import Any

import torch

from benchmarks.gpu.check import Found, Place, Skipped, apart
from nas.data import load
from nas.genome import load_genome
from nas.model import build
from nas.train import Training, fitted, train
from nas.train.evaluation import predicted

PRESETS = {"lavit_digits": 8, "castling_digits": 8, "mixed_micro_32": 32}  # and the side of the digits
ROUNDS = 2
EPOCHS = 4
COMPARED = 1  # of the epochs, from 0
BASE = "float32"
Mode = dict[str, Any]  # keys of the recipe


def bfloat16(place: Place) -> Found:
    """Losses within 3 %: bfloat16 has 8 bits of precision, and two epochs have 36 steps."""
    if not place.rehearsal and not torch.cuda.is_bf16_supported(including_emulation=False):
        raise Skipped("this GPU has no bfloat16; `precision: auto` trains in float32 on it")
    return compared(place, {"bfloat16": {"precision": "bfloat16"}}, bar=0.03)


def compiled(place: Place) -> Found:
    """Losses within 2 %: the same arithmetic in another order."""
    return compared(place, {"compiled": {"precision": "float32", "compile": True}}, bar=0.02)


def float16(place: Place) -> Found:
    """Losses within 3 %, with the gradient scaler, and in channels-last. `train` raises if a loss is not finite."""
    modes = {
        "float16": {"precision": "float16"},
        "channels-last": {"precision": "float32", "channels_last": True},
        "float16, channels-last": {"precision": "float16", "channels_last": True},
    }
    return compared(place, modes, bar=0.03)


def compared(place: Place, modes: dict[str, Mode], *, bar: float) -> Found:
    """Train small presets in float32 and in each mode. bar: on the relative difference of the losses."""
    sizes = {"lavit_digits": 8} if place.rehearsal else PRESETS
    rows = [row for name, side in sizes.items() for row in _rows(name, side, modes, place)]
    for row in rows:
        row["apart"] = apart(row["loss"], row["reference"])
    wrong = [
        f"{row['preset']} in {row['mode']} has a loss of {row['loss']:.4f}, in {BASE} of {row['reference']:.4f}"
        for row in rows
        if not row["apart"] <= bar
    ]
    worst, itself = max(row["apart"] for row in rows), max(row["itself"] for row in rows)
    speeds = ", ".join(f"{row['preset']} {row['mode']} {row['speed']:.2f}×" for row in rows)
    text = f"losses within {worst:.2%} of {BASE} (bar {bar:.0%}; {BASE} of itself {itself:.2%}); images/s {speeds}"
    return Found(text, wrong, {"bar": bar, "rows": rows})


def _rows(preset: str, side: int, modes: dict[str, Mode], place: Place) -> list[dict[str, Any]]:
    losses: dict[str, list[float]] = {}
    last: dict[str, float] = {}
    rates: dict[str, list[float]] = {}
    for turn in range(1 if place.rehearsal else ROUNDS):
        for mode, keys in {BASE: {"precision": "float32"}, **modes}.items():
            metrics = trained(preset, side, keys, place, f"{preset}-{mode}-{turn}")
            losses.setdefault(mode, []).append(metrics[COMPARED]["loss"])
            last[mode] = metrics[-1]["loss"]
            rates.setdefault(mode, []).extend(row["images_per_second_training"] for row in metrics[1:])
    speed = {mode: statistics.median(values) for mode, values in rates.items()}
    return [
        {
            "preset": preset,
            "mode": mode,
            "loss": max(losses[mode], key=lambda loss: apart(loss, losses[BASE][0])),
            "reference": losses[BASE][0],
            "itself": apart(losses[BASE][-1], losses[BASE][0]),
            "last": [last[mode], last[BASE]],
            "images_per_second": speed[mode],
            "speed": speed[mode] / speed[BASE],
        }
        for mode in modes
    ]


def trained(preset: str, side: int, keys: Mode, place: Place, folder: str) -> list[dict[str, Any]]:
    """The epochs of a training on digits, resized to that side; its files are below the place's folder."""
    small = {"epochs": 2, "limit": 128, "batch_size": 16} if place.rehearsal else {"epochs": EPOCHS}
    training = Training.model_validate(small | keys)
    images = load("digits", size=side, limit=training.limit, validation=training.validation)
    genome = fitted(load_genome(preset), images)
    return train(genome, images, training, directory=place.folder / folder, seed=0, device=place.device).metrics


def weights(place: Place) -> Found:
    """Saved weights answer on the GPU as the training said, and on the CPU alike, but for an image or so of a tie."""
    metrics = trained("castling_digits", 8, {}, place, "saved")
    validation = load("digits", limit=128 if place.rehearsal else None).validation
    file = Path(place.folder / "saved" / "weights.safetensors")
    answers = {}
    for device in (place.device, "cpu"):
        model = build("castling_digits", weights=file).to(device)
        answers[device] = predicted(model, validation, device=device)
    right = float((answers[place.device] == validation.labels_N).float().mean())
    differ = int((answers[place.device] != answers["cpu"]).sum())
    said = metrics[-1]["accuracy"]
    wrong = [f"the training said {said:.4f}, the saved weights have {right:.4f}"] if abs(said - right) > 1e-6 else []
    if differ > 1:
        wrong.append(f"{differ} of {len(validation)} images are another class on the CPU")
    text = f"accuracy {right:.4f} as the training said; {differ} of {len(validation)} answers differ on the CPU"
    return Found(text, wrong, {"said": said, "read": right, "differ": differ, "images": len(validation)})
