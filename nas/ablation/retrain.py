"""A search's winners trained again, from scratch, on training and validation images together: the figures to publish.

A winner's validation accuracy is the best of many, and so it flatters. Here nothing is selected any more: the winners
and the base genome are the arms of an ablation, every one of them is trained with the same seeds, and the test split is
read once a cell. Training, data, image size, workers and the draw of `training.limit` are the search's.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from nas.ablation.spec import Ablation, parse_ablation
from nas.engine.record import read_record
from nas.errors import RunError
from nas.genome import Genome, load_genome

TAKEN = ("data", "image_size", "training", "workers")  # of the search's spec


def retraining(directory: Path) -> Ablation:
    """The ablation of the search in `directory`: arm `base`, then its winners by name, with `training.validation: 0`.

    Raises RunError if the directory is no search's, or has no winner yet.

    >>> ablate(retraining(Path("results/lavit_split-digits")), Path("results/lavit_split-digits-retrained"))
    """
    record = read_record(directory)
    if record is None or record.get("kind") != "search":
        raise RunError("not the run of a search", file=directory)
    base = load_genome(record["spec"]["base"])
    winners = {file.stem: load_genome(file) for file in sorted((directory / "winners").glob("*.yaml"))}
    if not winners:
        raise RunError("no winners to train: the search has not come to its end", file=directory)
    arms = {name: _difference(base, winner) for name, winner in winners.items() if winner.hash != base.hash}
    spec = {key: value for key, value in record["spec"].items() if key in TAKEN}
    return parse_ablation(
        {
            "name": f"{directory.name}-retrained",
            "claim": f"The winners of {directory.name}, trained again on training and validation images",
            "base": record["spec"]["base"],
            "arms": {"base": {}} | arms,
            "split_seed": record["seed"],
        }
        | spec
        | {"training": spec["training"] | {"validation": 0.0}}
    )


def _difference(base: Genome, other: Genome) -> dict[str, Any]:
    """The keys, whole, that make `other` of `base`."""
    ours, theirs = base.model_dump(mode="json"), other.model_dump(mode="json")
    return {key: value for key, value in theirs.items() if key != "name" and value != ours[key]}
