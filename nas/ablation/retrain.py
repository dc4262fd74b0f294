"""Retraining of a search's winners from scratch on training and validation images, for figures to publish.

A winner's validation accuracy is the best of many and therefore biased upwards. Here nothing is selected: the winners
and the base genome are the arms of an ablation, all are trained with the same seeds, and the test split is read once
per cell. Training, data, image size, workers and the subset of `training.limit` are those of the search.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from nas.ablation.spec import Ablation, parse_ablation
from nas.engine.record import read_record
from nas.errors import RunError
from nas.genome import Genome, load_genome

FROM_SEARCH = ("data", "image_size", "max_pixels", "training", "workers")  # keys of its spec


def retraining(directory: Path) -> Ablation:
    """The ablation of the search in `directory`: arm `base`, then its winners by name, with `training.validation: 0`.

    Raises RunError if the directory is not that of a search, or has no winner yet.

    >>> ablate(retraining(Path("results/lavit_split-digits")), Path("results/lavit_split-digits-retrained"))
    """
    record = read_record(directory)
    if record is None or record.get("kind") != "search":
        raise RunError("not the run of a search", file=directory)
    recorded = record["spec"]
    if "base" not in recorded:
        raise RunError(
            "it does not say which base genome was searched around", file=directory / "run.yaml", path="spec"
        )
    base = load_genome(recorded["base"])
    winners = {file.stem: load_genome(file) for file in sorted((directory / "winners").glob("*.yaml"))}
    if not winners:
        raise RunError("no winners to train: the search has not finished; resume it first", file=directory)
    arms = {name: _difference(base, winner) for name, winner in winners.items() if winner.hash != base.hash}
    spec = {key: value for key, value in recorded.items() if key in FROM_SEARCH}
    return parse_ablation(
        {
            "name": f"{directory.name}-retrained",
            "claim": f"The winners of {directory.name}, trained again on training and validation images",
            "base": recorded["base"],
            "arms": {"base": {}} | arms,
            "split_seed": record.get("seed", 0),
        }
        | spec
        | {"training": spec.get("training", {}) | {"validation": 0.0}}
    )


def _difference(base: Genome, other: Genome) -> dict[str, Any]:
    """The top-level keys of `other` that differ from `base`."""
    ours, theirs = base.model_dump(mode="json"), other.model_dump(mode="json")
    return {key: value for key, value in theirs.items() if key != "name" and value != ours[key]}
