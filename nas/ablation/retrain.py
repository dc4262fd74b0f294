"""Retraining of a search's winners on training and validation images, for figures to publish.

A winner's validation accuracy is the best of many and therefore biased upwards. Here nothing is selected: the winners
and the base genome are the arms of an ablation, all are trained with the same seeds, and the test split is read once
per cell. Training, data, image size, workers, limits and the subset of `training.limit` are those of the search.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from nas.ablation.spec import Ablation, parse_ablation
from nas.engine.ledger import Ledger
from nas.engine.reading import hold_to_front, read_table
from nas.engine.record import read_record
from nas.engine.start import held_start
from nas.errors import RunError
from nas.genome import Genome, load_genome
from nas.genome.hash import UNSEEN
from nas.train.recipe import given_in

FROM_SEARCH = ("data", "image_size", "max_pixels", "training", "workers", "limits")  # keys of its spec


def retraining(directory: Path, *, from_scratch: bool = False) -> Ablation:
    """The ablation of the search in `directory`: arm `base`, then its winners by name, with `training.validation: 0`.

    A search that started from a trained model is retrained from the same weights, or with `from_scratch` from none.

    Raises RunError if the directory is not that of a search, has no winner yet, or has files of another run.

    >>> ablate(retraining(Path("results/lavit_split-digits")), Path("results/lavit_split-digits-retrained"))
    """
    record = read_record(directory)
    if record is None or record.get("kind") != "search":
        raise RunError("not the run of a search", file=directory)
    recorded = record["spec"]
    Ledger(directory, id=record.get("id"))  # holds run.yaml to the trials
    if not isinstance(recorded.get("base"), (str, dict)):
        raise RunError(
            "it does not say which base genome was searched around", file=directory / "run.yaml", path="spec"
        )
    base = load_genome(recorded["base"])
    winners = _winners(directory)
    arms = {name: _difference(base, winner) for name, winner in winners.items() if winner.hash != base.hash}
    spec = {key: value for key, value in recorded.items() if key in FROM_SEARCH}
    kept = held_start(directory)
    start = str(kept) if kept is not None and not from_scratch else None
    if kept is not None and spec.get("image_size") is None:
        spec["image_size"] = base.image.size  # the start's, which without it would be the data's
    return parse_ablation(
        {
            "name": f"{directory.name}-{'from-scratch' if from_scratch and kept is not None else 'retrained'}",
            "claim": f"The winners of {directory.name}, trained again on training and validation images"
            + (f", from the weights of {recorded.get('start')}" if start else ""),
            "base": recorded["base"],
            "start": start,
            "arms": {"base": {}} | arms,
            "split_seed": record.get("seed", 0),
        }
        | spec
        | {"training": given_in(spec.get("training") or {}) | {"validation": 0.0}}
    )


def _winners(directory: Path) -> dict[str, Genome]:
    """The winners that front.csv has, by name. Raises RunError if there is none, and for a file that is gone or another
    genome."""
    front, found = directory / "front.csv", {}
    rows = read_table(front, needed=["winner", "hash"], text=["winner", "hash"]) if front.exists() else None
    if rows is None or rows.empty:
        raise RunError("no winners to train: the search has not finished; resume it first", file=directory)
    for name, own in zip(rows["winner"], rows["hash"], strict=True):
        file = directory / "winners" / f"{name}.yaml"
        if not file.exists():
            raise RunError("gone, of a winner in front.csv; restore it, or resume the search", file=file)
        found[name] = load_genome(file)
        hold_to_front(found[name], own, file, "restore it, or resume the search")
    return found


def _difference(base: Genome, other: Genome) -> dict[str, Any]:
    """The top-level keys of `other` that differ from `base` and affect training."""
    ours, theirs = base.model_dump(mode="json"), other.model_dump(mode="json")
    return {key: value for key, value in theirs.items() if key not in UNSEEN and value != ours[key]}
