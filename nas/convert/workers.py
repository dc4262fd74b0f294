"""The workers' part of a conversion: pieces of the library, and scores of assemblies. The driver writes their answers.

A task trains some pieces for one round, with one pass of the parent for all of them, or scores some assemblies. Tasks
are small and hold no state, so that a killed conversion goes on where the last task ended. One whose worker dies or
stalls is tried once more (nas/engine/actors.py); nothing can be chosen without its answer, so after that the run ends.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from nas.convert.candidates import Assembly, Candidate, Place
from nas.convert.library import Distillation, begin, converted, distil
from nas.convert.score import Score, Scorer
from nas.data import ImageSet
from nas.engine.actors import RETRIES, Actors, Call
from nas.engine.training import images_of
from nas.errors import RunError
from nas.model import Donor, Model
from nas.train import Task

Content = dict[str, Any]  # of a piece (`Piece.content`)
States = Mapping[str, Mapping[str, Tensor]]  # of the pieces' attention, by the piece's name


@dataclass(frozen=True)
class Common:
    """What every task needs. donor: its genome is `listed`. scored: validation images at most."""

    donor: Donor
    candidates: Mapping[str, Candidate]
    task: Task
    library: Distillation
    scored: int
    device: str
    threads: int

    def images(self) -> ImageSet:
        return images_of(self.task, self.donor.genome.image.size)

    def parent(self) -> Model:
        torch.set_num_threads(self.threads)
        return self.donor.model().to(self.device)


def run_round(common: Common, places: Sequence[Place], contents: Sequence[Content | None]) -> list[Content]:
    """Train pieces for one more round. contents: of the round before, None for new pieces; all have had as many."""
    parent, images = common.parent(), common.images()
    count = common.library.closed_form
    start_BCHW = next(images.train.spread(count).batches(count))[0] if count and contents[0] is None else None
    options: dict[str, list[str]] = {}
    for layer, candidate in places:
        options.setdefault(layer, []).append(candidate)
    pieces = {
        (piece.layer, piece.candidate): piece for piece in begin(common.donor, options, common.candidates, start_BCHW)
    }
    for place, content in zip(places, contents, strict=True):
        if content is not None:
            pieces[place].resume(content)
        pieces[place].attention.to(common.device)
    ordered = [pieces[place] for place in places]
    distil(parent, ordered, images.train, images.validation.spread(common.scored), common.library)
    return [piece.content() for piece in ordered]


def run_scores(common: Common, assemblies: Sequence[Assembly], states: States, base: Donor | None) -> list[Score]:
    """The scores of assemblies on validation images. base: what the pieces are put into; None: the parent."""
    scorer = Scorer(common.parent(), common.images().validation.spread(common.scored))
    models = (converted(base or common.donor, each, common.candidates, states) for each in assemblies)
    return [scorer(model.to(common.device)) for model in models]


class Crew(Actors):
    """Runs tasks on the workers of a run, a few at once: a context inside `session(...)`.

    >>> with Crew(common, pool, Limits(), print) as crew:
    ...     crew.each("labelling images", run_labels, [("train",), ("test",)], answers.__setitem__)
    """

    common: Common

    def each(
        self,
        what: str,
        work: Callable[..., Any],
        tasks: Iterable[tuple[Any, ...]],
        done: Callable[[int, Any], None],
    ) -> None:
        """Run `work(common, *task)` for every task; `done(number, answer)` is called in the driver as they end.

        what: the work, in words. Raises RunError if the workers of a task died or stalled, and again in its retry.
        """

        def lost(number: int, reasons: list[str]) -> None:
            if len(reasons) <= RETRIES:
                self.say(f"{what}: {reasons[-1]}; it is tried once more")
                return
            why = "; then ".join(dict.fromkeys(reasons))
            raise RunError(f"{what}: {why}, in {len(reasons)} attempts; the same command resumes from what is there")

        self.run([Call(work, task) for task in tasks], done, lost)
