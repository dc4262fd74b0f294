"""What the benchmarks of conversions share: a parent, its library, and the repair of one assembly, all in this process.

Everything is done by the product's own functions. CPU seconds are of this process.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import torch

from nas.convert.candidates import DEFAULT, Assembly, Candidate, Place, listed, offered
from nas.convert.library import Distillation, Piece, begin, converted, distil, transplanted
from nas.convert.plan import Parts
from nas.convert.score import Score, Scorer
from nas.convert.sharing import Sharing, Together, trained_together
from nas.convert.spec import TEACHER, ConversionSpec, recipe
from nas.convert.workers import Common, States
from nas.data import ImageSet, load
from nas.genome import Genome, load_genome
from nas.metrics import estimator
from nas.model import Donor, Model
from nas.timm.donor import read_donor
from nas.train import Training, evaluate, train

SCORED = 2000  # validation images at most


class Repaired(NamedTuple):
    """accuracy: on validation. kl: from the parent, there. test: accuracy on the test split, for the record only."""

    accuracy: float
    kl: float
    test: float


@dataclass(frozen=True)
class Parent:
    """A trained model with its file, the images that it knows, and the CPU seconds that it took."""

    file: Path
    images: ImageSet
    seconds: float

    @cached_property
    def donor(self) -> Donor:
        donor = read_donor(str(self.file))
        return replace(donor, genome=listed(donor.genome))

    def parts(self, candidates: Mapping[str, Candidate] = DEFAULT) -> Parts:
        genome = self.donor.genome
        return Parts(genome, offered(genome, candidates), candidates, estimator())


def trained_parent(genome: Genome, images: ImageSet, training: Training, folder: Path, *, seed: int) -> Parent:
    """The same folder, genome and seed again: read, not trained."""
    begun = time.process_time()
    train(genome, images, training, directory=folder, seed=seed)
    (folder / "genome.yaml").write_text(genome.to_yaml())
    return Parent(folder / "genome.yaml", images, time.process_time() - begun)


def parents(folder: Path, count: int) -> list[Parent]:
    """mixed_digits on digits, 30 epochs, by seed."""
    images, genome = load("digits", seed=0), load_genome("mixed_digits")
    recipe = Training(epochs=30)
    return [trained_parent(genome, images, recipe, folder / str(seed), seed=seed) for seed in range(count)]


class Library:
    """The pieces of a parent, trained; scores and repairs of assemblies of them."""

    def __init__(
        self,
        parent: Parent,
        candidates: Mapping[str, Candidate] = DEFAULT,
        how: Distillation | None = None,
        rounds: int | None = None,
    ):
        """rounds: those that are trained, all by default; 0 leaves the pieces at their start."""
        self.parent, self.candidates, self.how = parent, candidates, how or Distillation()
        self.parts = parent.parts(candidates)
        self.pieces = self._trained(self.how.rounds if rounds is None else rounds)
        self.base = parent.donor
        self.states: States = {piece.name: piece.attention.state_dict() for piece in self.pieces}
        self.scorer = Scorer(parent.donor.model(), parent.images.validation.spread(SCORED))

    def _trained(self, rounds: int) -> list[Piece]:
        images, how, model = self.parent.images, self.how, self.parent.donor.model()
        count = how.closed_form
        start_BCHW = next(images.train.spread(count).batches(count))[0] if count else None
        pieces = begin(self.parent.donor, self.parts.options, self.candidates, start_BCHW)
        for _ in range(rounds):
            distil(model, pieces, images.train, images.validation.spread(SCORED), how)
        return pieces

    def model(self, assembly: Assembly) -> Model:
        return converted(self.base, assembly, self.candidates, self.states)

    def together(self, assemblies: Sequence[Assembly], sharing: Sharing, *, seed: int) -> Library:
        """The library after these assemblies were trained together."""
        spec = ConversionSpec.parse({"start": str(self.parent.file)})
        training, threads = sharing.recipe(spec.training, self.parent.file), torch.get_num_threads()
        common = Common(self.parent.donor, self.candidates, spec.task, self.how, SCORED, "cpu", threads)
        after = copy(self)
        with tempfile.TemporaryDirectory() as folder:
            work = Together(Path(folder), None, training, assemblies, self.states, True, seed)
            after.base, after.states = trained_together(common, self.parent.images, work, Path(folder))
        return after

    def scores(self, assemblies: Sequence[Assembly]) -> list[Score]:
        return [self.scorer(self.model(each)) for each in assemblies]

    def singles(self) -> dict[Place, Score]:
        places = self.parts.replacements()
        return dict(zip(places, self.scores([{layer: name} for layer, name in places]), strict=True))

    @property
    def accuracy(self) -> float:
        """The parent's, on validation."""
        return float((self.scorer.parent_NK.argmax(1) == self.scorer.labels_N).double().mean())

    @property
    def test(self) -> float:
        """The parent's, on test."""
        return evaluate(self.parent.donor.model(), self.parent.images.test)

    def kept(self, assembly: Assembly) -> Repaired:
        """An assembly as it is."""
        model, known = self.model(assembly), self.parent.images
        return Repaired(evaluate(model, known.validation), self.scorer(model).kl, evaluate(model, known.test))

    def repaired(
        self,
        assembly: Assembly,
        *,
        seed: int,
        images: int | None = None,
        teacher: dict[str, Any] | None = None,
        **changes: Any,
    ) -> Repaired:
        """An assembly after its repair.

        images: of the training split, evenly spaced; all by default. teacher, changes: of the recipe.
        """
        if teacher is not None:
            changes["teacher"] = TEACHER | {"model": str(self.parent.file)} | teacher
        spec = ConversionSpec.parse({"start": str(self.parent.file), "training": changes})
        known = self.parent.images
        data = known if images is None else replace(known, train=known.train.spread(images))
        donor = transplanted(self.model(assembly), assembly)
        with tempfile.TemporaryDirectory() as folder:
            training = recipe(spec, self.parent.file)
            found = train(
                donor.genome, data, training, directory=Path(folder), seed=seed, donor=donor,
                threads=torch.get_num_threads(),
            )  # fmt: skip
            (Path(folder) / "genome.yaml").write_text(donor.genome.to_yaml())
            model = read_donor(str(Path(folder) / "genome.yaml")).model()
            assert found.accuracy is not None
            return Repaired(found.accuracy, self.scorer(model).kl, evaluate(model, known.test))


def row(
    what: str, at: str, value: float, interval: tuple[float, float] | None, bar: float | None, *, upper: bool
) -> dict[str, Any]:
    """A row of the table of benchmarks. upper: the bar is the most that is allowed."""
    low, high = interval or (None, None)
    fine = None if bar is None else (value <= bar if upper else value >= bar)
    return {
        "what": what,
        "against": "—",
        "at": at,
        "about": "conversion",
        "bar": bar,
        "upper": upper,
        "ratio": {"value": value, "low": low, "high": high},
        "met": fine,
        "limit": "docs/findings.md says what limits it",
    }
