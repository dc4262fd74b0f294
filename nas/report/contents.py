"""What a description of a file of numbers is, the words that several files share, and every table (CSV) of a run."""

from __future__ import annotations

from dataclasses import dataclass, field

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


STATE = "complete, pruned (ended early), infeasible (over the budget, never trained), failed, or running"
VALIDATION = (
    "top-1 on the validation split after the last epoch, a fraction; agreement with the parent in a conversion of "
    "images without labels"
)
ENDED: Columns = {
    "state": STATE,
    "epochs": "epochs trained",
    "accuracy": VALIDATION,
    "accuracy_se": "standard error of accuracy, from the number of validation images; empty in runs of version 0.1",
    "seconds": "of training and evaluation, on its worker",
    "reason": "why it is not complete; empty if it is",
}
TRIAL: Columns = {
    "trial": "number of the trial, four digits, which is the name of its directory in trials/; 0000 is the base genome",
    "seed": "of its weights, batches and augmentation; derived from the run's seed",
    "hash": "12 hex digits over all of the genome that affects training; equal genomes have equal ones",
}
FORMAT = "of the file's format"
SEAL = "SHA-256 of all other keys: a value that has changed since is noticed. Remove the key to keep a change of yours"
SEALED: Columns = {
    "row_sha256": "12 hex digits over the other cells of the row: a value that has changed since is noticed"
}
SPEED: Columns = {
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
SCORE: Columns = {
    "kl": "mean over images of KL(parent ‖ model) of the class probabilities, in nats, before any repair",
    "agreement": "share of images whose most probable class is the parent's, before any repair",
    "delta_accuracy": "validation accuracy less the parent's, a fraction, before any repair",
    "delta_accuracy_se": "standard error of delta_accuracy, of paired differences over images",
}
SCORED: Columns = {
    "assembly": "the candidates in it, as JSON: layer to name; other layers are the parent's",
    **SCORE,
    "sha256": "12 hex digits over the row and the model that is converted; a changed row is scored again",
}
LAYER: Columns = {
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
TEST = "top-1 on the test split, a fraction; read once"
PARAMETERS = "a searched parameter, by its path in the genome: its value in this trial; empty where it is not active"

TABLES: dict[str, Contents] = {
    "trials.csv": Contents(
        "trials.csv",
        "A row per trial of a search, ablation or conversion, in order of their numbers.",
        TRIAL | ENDED | SEALED,
        metrics=True,
        rest=f"{PARAMETERS}; of an ablation, `arm` and the level of each factor; of a conversion, layers' candidates",
    ),
    "front.csv": Contents(
        "front.csv",
        "A row per winner: the complete trials that no other one beats in every objective, best accuracy first.",
        TRIAL
        | ENDED
        | {
            "winner": "its name in winners/: rank on the front, then the trial",
            "accuracy_test": TEST,
            "accuracy_test_se": "standard error of accuracy_test, from the number of test images",
            "accuracy_std": "with `repeat`: standard deviation of accuracy over the trainings of the genome",
            "accuracy_weights": "with `repeat`: accuracy of the training whose weights are kept; accuracy is the mean",
            "repeats": "with `repeat`: trainings of the genome that are complete",
        }
        | SEALED,
        metrics=True,
        rest=PARAMETERS,
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
        }
        | SEALED,
    ),
    "table.csv": Contents(
        "table.csv",
        "A row per cell of an ablation: one arm with one seed.",
        {key: text for key, text in (TRIAL | ENDED).items() if key not in ("accuracy", "accuracy_se")}
        | {
            "arm": "name of the arm: its row in the table",
            "seed": "of its weights, batches and augmentation; all arms share the seeds",
            "accuracy_validation": "top-1 on the validation split after the last epoch, a fraction",
            "accuracy": TEST,
            "test_images": "number of images in the test split",
            "mask_mass": "attention mass in the auxiliaries in the last epoch",
            "accuracy_before_switch": "validation accuracy of the last epoch with the auxiliaries",
            "accuracy_after_switch": "validation accuracy of the last epoch in the deployed graph, without them",
        }
        | SPEED
        | SEALED,
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
        }
        | SEALED,
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
        | SCORE
        | SEALED,
        rest="`delta_<metric>`: that metric less the parent's",
    ),
    "scores.csv": Contents(
        "scores.csv",
        "A row per assembly of a conversion that was compared with the parent.",
        SCORED,
    ),
    "shared.csv": Contents(
        "shared.csv",
        "A row per assembly of a conversion that was trained with others and then compared with the parent.",
        {column: text.replace("before any repair", "before its own repair") for column, text in SCORED.items()},
    ),
    "assemblies.csv": Contents(
        "assemblies.csv",
        "A row per assembly that a conversion has chosen, or compares with those.",
        {
            "arm": "chosen: by the exact choice; else a rival of `compare`",
            "within": "limit on the first cost of the objectives at which it was picked",
            "trial": "its number in trials.csv",
            "replaced": "number of layers that are not the parent's",
            "kl": SCORE["kl"],
            "delta_accuracy_before": SCORE["delta_accuracy"],
            "accuracy": VALIDATION + "; in the end",
            "delta_accuracy": "accuracy less that of trial 0000, the parent trained as long",
        }
        | SEALED,
        metrics=True,
    ),
    "diagnosis.csv": Contents("written by nas diagnose --csv", "A row per layer of the diagnosed model.", LAYER),
}
