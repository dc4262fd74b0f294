"""Every file of numbers that a run writes, and what each column (CSV) or key (JSON, run.yaml) of it is.

The one place where they are described: the reference of the docs (docs/reference.py) and the glossary of the report
page are made from `FILES`. A test reads the files of real runs and fails on a column that has no description.

A metric is described by the head of its own file (nas/metrics), and so is a plug-in's; its measured value, such as
`throughput_measured`, likewise. A file whose further columns are named by the user (searched parameters, factors) says
in `rest` what they are.

    >>> describe_column("front.csv", "macs")
    'Multiply-accumulates of one image in the deployed graph, by formula.'
"""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass, field

from nas.metrics import METRICS

Columns = dict[str, str]


@dataclass(frozen=True)
class Contents:
    """place: the file's path in a run. about: what a row, or the whole file, is. columns: what each one is.

    metrics: every metric in use is a column too. rest: what all further columns are; None: there are none.
    """

    place: str
    about: str
    columns: Columns
    metrics: bool = field(default=False, kw_only=True)
    rest: str | None = field(default=None, kw_only=True)


_STATE = "complete, pruned (ended early), infeasible (over the budget, never trained), failed, or running"
_VALIDATION = (
    "top-1 on the validation split after the last epoch, a fraction; agreement with the parent in a conversion of "
    "images without labels"
)
_ENDED: Columns = {
    "state": _STATE,
    "epochs": "epochs trained",
    "accuracy": _VALIDATION,
    "accuracy_se": "standard error of accuracy, from the number of validation images; empty in runs of version 0.1",
    "seconds": "of training and evaluation, on its worker",
    "reason": "why it is not complete; empty if it is",
}
_TRIAL: Columns = {
    "trial": "number of the trial, four digits, which is the name of its directory in trials/; 0000 is the base genome",
    "seed": "of its weights, batches and augmentation; derived from the run's seed",
    "hash": "12 hex digits over all of the genome that affects training; equal genomes have equal ones",
}
_FORMAT = "of the file's format"
_SEAL = "SHA-256 of all other keys: a value that has changed since is noticed. Remove the key to keep a change of yours"
_SPEED: Columns = {
    "images_per_second": "of the deployed model, by stopwatch; the arm's first cell is timed, in turns with other arms",
    "median_seconds": "of one batch",
    "batch_size": "images in a timed batch",
    "batches": "timed batches",
    "device": "that the time was taken on",
    "dtype": "of weights and images while timed",
    "threads": "of torch while timed",
    "compiled": "whether the timed model went through torch.compile",
    "spread": "median over fastest tenth of the timed batches: about 1.1 on a quiet machine, above 1.5 if disturbed",
}
_SCORE: Columns = {
    "kl": "mean over images of KL(parent ‖ model) of the class probabilities, in nats, before any repair",
    "agreement": "share of images whose most probable class is the parent's, before any repair",
    "delta_accuracy": "validation accuracy less the parent's, a fraction, before any repair",
    "delta_accuracy_se": "standard error of delta_accuracy, of paired differences over images",
}
_LAYER: Columns = {
    "layer": "path of the layer in the genome",
    "core": "its core block",
    "tokens": "number of tokens N",
    "heads": "number of heads",
    "exact": "whether the figures are of the matrix that the layer applies; else of the softmax of its scores",
    "similarity": "cosine of the attention weights with those of the layer before, head by head",
    "centred": "the same of the weights less 1/N: similarity beyond that of uniform attention",
    "best_head": "similarity with the most similar head of the layer before",
    "diagonal": "attention of a token to itself, as a multiple of uniform attention",
    "near": "attention to the 3×3 tokens around a token, as a multiple of uniform attention",
    "entropy": "of the rows of attention weights over log N: 1 is uniform",
    "psi": "‖Ψ − I‖ / ‖I‖ (Frobenius) of a less layer's query map: 0 is plain reuse",
    "theta": "‖Θ − I‖ / ‖I‖ (Frobenius) of its key map",
    "mask_start": "attention mass in the auxiliary at the start of its schedule",
    "mask_end": "attention mass in the auxiliary at the end of its schedule",
}
_TEST = "top-1 on the test split, a fraction; read once"
_PARAMETERS = "a searched parameter, by its path in the genome: its value in this trial; empty where it is not active"

FILES: dict[str, Contents] = {
    "trials.csv": Contents(
        "trials.csv",
        "A row per trial of a search, ablation or conversion, in order of their numbers.",
        _TRIAL | _ENDED,
        metrics=True,
        rest=f"{_PARAMETERS}; of an ablation, `arm` and the level of each factor; of a conversion, layers' candidates",
    ),
    "front.csv": Contents(
        "front.csv",
        "A row per winner: the complete trials that no other one beats in every objective, best accuracy first.",
        _TRIAL
        | _ENDED
        | {
            "winner": "its name in winners/: rank on the front, then the trial",
            "accuracy_test": _TEST,
            "accuracy_test_se": "standard error of accuracy_test, from the number of test images",
            "accuracy_std": "with `repeat`: standard deviation of accuracy over the trainings of the genome",
            "accuracy_weights": "with `repeat`: accuracy of the training whose weights are kept; accuracy is the mean",
            "repeats": "with `repeat`: trainings of the genome that are complete",
        },
        metrics=True,
        rest=_PARAMETERS,
    ),
    "metrics.csv": Contents(
        "trials/<id>/metrics.csv",
        "A row per epoch of a training. Losses and norms are means over the steps of the epoch.",
        {
            "epoch": "number of the epoch, from 1",
            "loss": "what is minimised: the sum of all terms",
            "cross_entropy": "of labels (smoothed, mixed) and logits, in nats",
            "diagonal_loss": "LaViT's diagonal loss before its weight, mean over less layers",
            "distillation": "of the teacher's answers (`training.teacher`), before its weight",
            "hidden": "of the teacher's hidden states, before its weight",
            "gradient_norm": "L2 norm of all gradients before clipping",
            "mask_mass": "attention mass in the auxiliaries, mean over layers",
            "accuracy": "top-1 on the validation split, a fraction, of the averaged weights in the deployed graph",
            "accuracy_with_auxiliary": "the same with the auxiliaries as their schedule has them in this epoch",
            "lr": "largest learning rate of the parameter groups at the end of the epoch",
            "images_per_second_training": "training images of the epoch over the seconds of its steps",
            "seconds": "of the epoch, evaluation included",
        },
    ),
    "hypervolume.csv": Contents(
        "hypervolume.csv",
        "A row per ended trial, in order of ending: what the search had found by then.",
        {
            "run": "search, or baseline: the random search beside it",
            "trials": "ended so far",
            "worker_seconds": "of training spent so far, on all workers together",
            "hypervolume": "dominated by the front so far, as a share of what all runs of the file reach together",
        },
    ),
    "table.csv": Contents(
        "table.csv",
        "A row per cell of an ablation: one arm with one seed.",
        {key: text for key, text in (_TRIAL | _ENDED).items() if key not in ("accuracy", "accuracy_se")}
        | {
            "arm": "name of the arm: its row in the table",
            "seed": "of its weights, batches and augmentation; all arms share the seeds",
            "accuracy_validation": "top-1 on the validation split after the last epoch, a fraction",
            "accuracy": _TEST,
            "test_images": "number of images in the test split",
            "mask_mass": "attention mass in the auxiliaries in the last epoch",
            "accuracy_before_switch": "validation accuracy of the last epoch with the auxiliaries",
            "accuracy_after_switch": "validation accuracy of the last epoch in the deployed graph, without them",
        }
        | _SPEED,
        metrics=True,
        rest="a factor of the ablation: its level in this arm",
    ),
    "mask.csv": Contents(
        "mask.csv",
        "A row per arm with an auxiliary, seed and epoch of an ablation.",
        {
            "arm": "name of the arm",
            "seed": "of the training",
            "epoch": "number of the epoch, from 1",
            "mask_mass": "attention mass in the auxiliaries, mean over layers",
            "accuracy_with_auxiliary": "top-1 on the validation split with the auxiliaries, a fraction",
            "accuracy": "top-1 on the validation split in the deployed graph, a fraction",
        },
    ),
    "sensitivity.csv": Contents(
        "sensitivity.csv",
        "A row per layer and candidate of a conversion: what replacing this layer alone does to the model, unrepaired.",
        {
            "layer": "path of the layer in the genome",
            "candidate": "name of what stands in its place",
            "local_error": "squared error of the trained piece's output relative to the parent's, on held-out images",
            "delta_ms": "latency less the parent's, milliseconds for one image, from a table of timings",
            "delta_macs": "MACs of the deployed model less the parent's",
            "delta_params": "parameters of the deployed model less the parent's",
        }
        | _SCORE,
        rest="`delta_<metric>`: that metric less the parent's",
    ),
    "scores.csv": Contents(
        "scores.csv",
        "A row per assembly of a conversion that was compared with the parent.",
        {"assembly": "the candidates in it, as JSON: layer to name; other layers are the parent's"}
        | _SCORE
        | {"sha256": "12 hex digits over the row and the model that is converted; a changed row is scored again"},
    ),
    "assemblies.csv": Contents(
        "assemblies.csv",
        "A row per assembly of a conversion that was repaired.",
        {
            "arm": "chosen: by the exact choice; else a rival of `compare`",
            "within": "limit on the first cost of the objectives at which it was picked",
            "trial": "its number in trials.csv",
            "replaced": "number of layers that are not the parent's",
            "kl": _SCORE["kl"],
            "delta_accuracy_before": _SCORE["delta_accuracy"],
            "accuracy": _VALIDATION + "; after repair",
            "delta_accuracy": "accuracy less that of trial 0000, the parent trained as long",
        },
        metrics=True,
    ),
    "diagnosis.csv": Contents("written by nas diagnose --csv", "A row per layer of the diagnosed model.", _LAYER),
    "trial.json": Contents(
        "trials/<id>/trial.json",
        "What is to be trained; written before the training.",
        {
            "version": _FORMAT,
            "sha256": _SEAL,
            "number": "of the trial",
            "seed": _TRIAL["seed"],
            "hash": _TRIAL["hash"] + "; empty if the parameters make no valid genome",
            "parameters": "searched parameters and their values; in an ablation `arm` and the levels of its factors",
            "note.draw": "of a search: number of the suggestion, -1 for the base; of a conversion: -1 for the parent",
            "note.margin": "largest relative distance to the budget: negative within, 0.25 is 25 % over",
            "note.layers": "of a search: the genome in one line",
            "note.from": "of a search with `warm_start`: the trial of an earlier run that this one was taken from",
            "note.arm": "of an ablation: name of the arm",
            "note.cell": "of an ablation: digest of genome, recipe, data and seed, by which equal cells are found",
            **{f"note.{key}": f"of a conversion: {text}" for key, text in _SCORE.items()},
            "created": "time in UTC, ISO 8601",
        },
        metrics=True,
    ),
    "result.json": Contents(
        "trials/<id>/result.json",
        "How a trial ended; written last, so a trial without it is unfinished.",
        {
            "version": _FORMAT,
            "sha256": _SEAL,
            **_ENDED,
            "finished": "time in UTC, ISO 8601",
            "metrics_sha256": "SHA-256 of the metrics.csv that it ended with; null if there is none",
            "weights_sha256": "SHA-256 of the weights.safetensors that it ended with; null if there is none",
        },
        metrics=True,
    ),
    "rungs.json": Contents(
        "trials/<id>/rungs.json",
        "Where a scheduler paused the training: epochs to the keys of result.json, with the state paused.",
        {"sha256": _SEAL},
        rest="number of epochs trained: the result until then, with the keys of result.json",
    ),
    "test.json": Contents(
        "trials/<id>/test.json",
        "The trained model on the test split.",
        {
            "sha256": _SEAL,
            "accuracy": _TEST,
            "test_images": "number of images in the test split",
            "hash": "of the trial that it is about",
            "seed": "of the trial that it is about",
            "confusion": "list of [class, class answered, images], without zeros; classes by index",
        },
    ),
    "speed.json": Contents(
        "trials/<id>/speed.json",
        "The stopwatch on an arm of an ablation.",
        _SPEED
        | {"deployed_graph": "key of the graph after deployment, which other arms may have as well", "sha256": _SEAL},
    ),
    "winner.json": Contents(
        "winners/<name>.json",
        "A winner's results, beside its genome and weights.",
        {
            "version": _FORMAT,
            "sha256": _SEAL,
            "run": "name of the run",
            "trial": _TRIAL["trial"],
            "accuracy": _VALIDATION,
            "accuracy_se": _ENDED["accuracy_se"],
            "accuracy_weights": "with `repeat`: accuracy of the training whose weights these are",
            "accuracy_test": _TEST,
            "accuracy_test_se": "standard error of accuracy_test",
            "measured": "metrics by stopwatch, by their names; what front.csv has as `<metric>_measured`",
            "weights_sha256": "SHA-256 of the winner's .safetensors",
            "classes": "list of {class, images, accuracy} on test, in the order of the model's answers",
            "confusion": "list of [class, class answered, test images], without zeros; classes by index",
            "layers": "list of {name, what, macs, params, ms} of the deployed graph's layers; ms if a table has times",
            "timing": "what ms was taken under",
        },
        metrics=True,
    ),
    "gain.json": Contents(
        "gain.json",
        "What a search gained over random search of the same length.",
        {
            "sha256": _SEAL,
            "gain": "hypervolume over that of random search, less 1: 0.12 is 12 % more",
            "low": "lower end of its 95 % interval; null if measured",
            "high": "upper end of its 95 % interval; null if measured",
            "how": "measured (with `baseline: random`) or estimated by the sampler's model",
            "trials": "of each side",
        },
    ),
    "latency.json": Contents(
        "latency.json, latency-1.json",
        "Timings of the parts of all models of the space, at batch size 64 and 1.",
        {
            "sha256": _SEAL,
            "seconds": "of one batch, by part: kind and settings of the part, as JSON",
            "device": "that they were timed on",
            "threads": "of torch while timed",
            "batch_size": "images in a timed batch",
        },
    ),
    "target.json": Contents(
        "target.json",
        "Timings of another device, from nas latency: the run's copy of `budget.table`.",
        {
            "version": _FORMAT,
            "sha256": _SEAL,
            "seconds": "of one batch, by part; with onnx only sums over whole models are determined",
            "device": "that they were timed on: the name of the processor or GPU",
            "runtime": "torch or onnx: what ran the models",
            "versions": "of nas, torch and onnxruntime there",
            "threads": "on the CPU while timed",
            "batch_size": "images in a timed batch",
            "image": "channels, height, width",
            "classes": "of the timed models",
            "space": "that was timed",
            "base": "hash of its base genome on the data",
            "checked": "whole models timed there: genome in one line, measured and predicted seconds of one batch",
            "models": "with onnx: how often each model that was timed has each part; null with torch",
        },
    ),
    "labels.json": Contents(
        "labels.json",
        "The parent's answers for images that have no labels.",
        {
            "sha256": _SEAL,
            "classes": "names of the parent's classes",
            "images": "16 hex digits over the images of the splits",
            "train": "class of each training image, as an index into classes",
            "validation": "the same of each validation image",
            "test": "the same of each test image",
        },
    ),
    "diagnosis.json": Contents(
        "written by nas diagnose --json",
        "Attention statistics of a trained model.",
        {
            "images": "validation images looked at",
            "accuracy": "top-1 on them, a fraction",
            "layers": "a mapping for each layer, with the columns of diagnosis.csv",
        },
    ),
    "run.yaml": Contents(
        "run.yaml",
        "The record of a run: all that it was started with.",
        {
            "version": _FORMAT,
            "name": "of the run: its directory's",
            "kind": "search, ablation or conversion",
            "seed": "from which all others are derived",
            "accuracy": "what accuracy is, where the images have no labels",
            "spec": "the space, ablation or conversion, with every default written out",
            "plugins": "files of the user's own parts, with their digests",
            "versions": "of Python, nas, and the packages that results depend on",
            "hardware": "of the driver's machine",
            "created": "time in UTC, ISO 8601",
            "command": "as typed",
            "commit": "of the source, `+` for local changes; null outside a checkout",
            "data": "what was loaded: images, classes, splits, what was left out",
            "sha256": _SEAL,
        },
    ),
}


def describe_column(file: str, column: str) -> str | None:
    """What a column or key of a file of `FILES` is; None if nothing says so.

    >>> describe_column("front.csv", "throughput_measured")
    'Images per second of the deployed graph at batch size 64: from a table of timings; for winners, measured.'
    """
    contents = FILES[file]
    if column in contents.columns:
        return contents.columns[column]
    if contents.metrics and (name := column.removesuffix("_measured")) in METRICS:
        return describe_metric(name)
    return contents.rest


def describe_metric(name: str) -> str:
    """The first line of the metric's file, without the reference to its formula's.

    >>> describe_metric("params")
    'Parameters of the deployed graph, by formula.'
    """
    value = METRICS[name].value
    module = value.__module__ if value is not None else f"nas.metrics.{name}"
    line = (sys.modules[module].__doc__ or METRICS[name].axis).strip().partition("\n")[0]
    return re.sub(r" \(nas/[\w/.]+\)", "", line)
