"""Labels for a conversion whose images have none: the parent's answers, one for each image.

    results/<run>/labels.json      the parent's classes, and its answer for each image of each split

The parent sees each image once, decoded and normalised as in evaluation, before the run's record is written: a run that
has begun has its labels, and goes on with the same ones. With them accuracy is agreement with the parent, which agrees
with itself on every image. The repair does not learn from them: it is distillation alone.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from pydantic import ValidationError

from nas.convert.sharing import Sharing
from nas.convert.workers import Common, Crew
from nas.data import ImageSet, Labels
from nas.data.labels import SPLITS
from nas.errors import RunError, SpaceError, wording
from nas.files import read_sealed, write_sealed
from nas.genome import Genome
from nas.train import Training, predicted

FILE = "labels.json"
MEANING = "agreement with the parent"  # what accuracy is, as run.yaml says it


def named(images: ImageSet, parent: Genome) -> ImageSet:
    """Images without labels, with the parent's classes; numbers where the parent has no names for them."""
    return replace(images, classes=parent.class_names or tuple(str(number) for number in range(parent.classes)))


def check_recipe(training: Training, sharing: Sharing) -> None:
    """Raise SpaceError if anything would learn from labels: the repair, or the shared training before it."""
    weights = {"training.teacher.weight": training.teacher.weight} if training.teacher is not None else {}
    weights |= {"sharing.weight": sharing.weight} if sharing.epochs else {}
    for path, weight in weights.items():
        if weight < 1:
            message = "the images have no labels, so that all has to be learned from the teacher"
            raise SpaceError(f"{message}: expected 1, found {weight}", path=path)


def kept_labels(directory: Path) -> Labels | None:
    """The labels of the run in `directory`; None where it has no file of them. Raises RunError for a damaged one."""
    file = directory / FILE
    try:
        return read_sealed(file, Labels.model_validate) if file.exists() else None
    except ValidationError as error:
        what = wording(error.errors()[0])
    except (OSError, ValueError) as error:
        what = str(error.strerror if isinstance(error, OSError) else error)
    message = f"damaged ({what}); restore it, or delete it, and the model labels the images again"
    raise RunError(message, file=file)


def check_labels(labels: Labels, parent: str, directory: Path) -> None:
    """Raise RunError for the labels of another model. parent: digest of the model that is converted."""
    if labels.parent not in (None, parent):
        message = "the answers of another model; restore it, or delete it, and the model labels the images again"
        raise RunError(message, file=directory / FILE)


def label(crew: Crew, images: ImageSet, directory: Path) -> Labels:
    """Have the parent label the images on the workers, and write the answers into the run directory.

    images: from `named`. Raises RunError if a worker dies or stalls, and again in its retry.
    """
    answers: dict[int, list[int]] = {}
    crew.each("labelling images", run_labels, [(name,) for name in SPLITS], answers.__setitem__)
    train, validation, test = (tuple(answers[number]) for number in range(len(SPLITS)))
    labels = Labels(
        classes=images.classes,
        images=crew.common.task.digest,
        parent=crew.common.donor.digest,
        train=train,
        validation=validation,
        test=test,
    )
    write_sealed(directory / FILE, labels.model_dump(mode="json"))
    return labels


def run_labels(common: Common, split: str) -> list[int]:
    """A worker's task: the parent's answers for the images of a split."""
    answers: list[int] = predicted(common.parent(), getattr(common.images(), split), device=common.device).tolist()
    return answers
