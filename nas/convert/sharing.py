"""`sharing:` of a conversion: before the repair, promising assemblies are trained together, with shared weights.

    library, scores ─▶ the assemblies that the scores promise ─▶ one training of all (nas/convert/supernet.py)
                    ─▶ each compared anew ─▶ the most accurate at every level of cost ─▶ repair

A short repair brings a converted model back to its parent, and no further. Where the parent would gain from more
training, or hybrids are better than it, one training that all assemblies share gives them that for the price of one. It
learns from labels, at the rate of a training from new weights, with MixUp. After it accuracy chooses, and no longer the
distance from the parent, which the models have left; `repair: false` leaves them so.

    results/<run>/library/shared/    metrics.csv, weights.safetensors; checkpoints while it runs; result.json, last
    results/<run>/shared.csv         scores after it, as in scores.csv

It is one training in one worker; a killed one goes on from its checkpoint, as a trial does. accuracy in its metrics.csv
is that of the parent's own layers. result.json has the digests of the other two: what has changed is named, since it is
the dearest part of a conversion, and a copy of it may be somewhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import ConfigDict, Field

from nas.convert.candidates import Assembly, key_of
from nas.convert.supernet import Supernet
from nas.convert.workers import Common, States
from nas.data import ImageSet
from nas.engine.digests import AGAIN, check_ended, digests_of
from nas.engine.storage import Storage
from nas.engine.version import VERSION
from nas.engine.worker import Report, StorageError, alone, workplace
from nas.errors import RunError
from nas.files import write_sealed
from nas.keys import Keys
from nas.model import Donor
from nas.train import Training

FOLDER = "shared"  # in library/
LOCK = ".lock"


class Sharing(Keys):
    """How assemblies are trained together. Off by default. What it has no key for is as in `training:`."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
    epochs: int = Field(
        0, ge=0, le=1_000_000, description="passes over the training images, each batch through one assembly; 0: none"
    )
    assemblies: int = Field(80, ge=1, le=10_000, description="so many at most, those that the scores promise")
    lr: float = Field(4e-3, gt=0, description="peak learning rate")
    mixup: float = Field(0.8, ge=0, description="alpha of MixUp; 0 is off")
    label_smoothing: float = Field(0.1, ge=0, lt=1, description="probability that is spread over all classes")
    weight: float = Field(0.0, ge=0, le=1, description="share of the teacher's answers in the loss; 0: labels alone")

    def recipe(self, training: Training, teacher: Path) -> Training:
        """That of the shared training. training: of the repair. teacher: the parent, unless the repair has another."""
        named = training.model_dump(mode="json")
        own = self.model_dump(include={"epochs", "lr", "mixup", "label_smoothing"}) | {"warmup_epochs": 1.5}
        alone = {"recipe": None, "compile": False, "layer_decay": 1.0}  # members have neither one graph nor one depth
        taught = (named["teacher"] or {"model": str(teacher), "kind": "soft"}) | {"weight": self.weight, "hidden": None}
        return Training.model_validate(named | own | alone | {"teacher": taught if self.weight else None})


@dataclass(frozen=True)
class Together:
    """What is trained together, and where. states: of the pieces' attention. taught: by the parent, if at all."""

    folder: Path
    storage: Storage | None
    training: Training
    assemblies: Sequence[Assembly]
    states: States
    taught: bool
    seed: int


def run_together(common: Common, work: Together) -> tuple[Donor, States] | str:
    """A worker's task: `trained_together` in a folder of the run.

    Returns the problem, if the folder cannot be used or the training diverges. Raises RunError for files that are
    damaged, or of another training.
    """
    from nas.train import TrainingDiverged  # in the worker; the driver does without

    try:
        with workplace(work.folder, work.storage, FOLDER, there=work.folder.name) as (directory, keep):
            directory.mkdir(exist_ok=True)
            (directory / LOCK).touch()
            with alone(directory, LOCK):
                made = trained_together(common, common.images(), work, directory, report=lambda row: keep(False))
            keep(True)
    except StorageError as error:
        return str(error)
    except OSError as error:
        return str(StorageError.of(error))
    except RunError as error:
        message = error.message.replace(AGAIN, "delete its folder to have all of it trained again")
        raise RunError(message, file=f"{_home(work)}/{Path(str(error.file)).name}", path=error.path) from None
    except TrainingDiverged as error:
        return f"the shared {error}; begin another run with a lower sharing.lr"
    return made


def _home(work: Together) -> str:
    """Where the user finds the files: with a storage, a worker sees a copy in a folder of its own."""
    if work.storage is None:
        return str(work.folder / FOLDER)
    return f"{work.storage.uri}/{work.storage.run}/{work.folder.name}/{FOLDER}"


def trained_together(
    common: Common, images: ImageSet, work: Together, directory: Path, *, report: Report | None = None
) -> tuple[Donor, States]:
    """The parent and the pieces after their training, which is begun, continued, or read from the directory.

    Raises TrainingDiverged, and RunError if the directory belongs to another training, or has not what it ended with.
    """
    from nas.model.build import load_weights  # in the worker; the driver does without
    from nas.train import train

    check_ended(directory)
    net = Supernet(common.donor, work.assemblies, common.candidates, work.states)
    start = Donor(common.donor.genome, net.state_dict(), frozenset(map(key_of, work.assemblies)))
    train(
        start.genome,
        images,
        work.training,
        directory=directory,
        seed=work.seed,
        donor=start,
        teacher=common.donor if work.taught and work.training.teacher is not None else None,
        device=common.device,
        threads=common.threads,
        report=report,
        model=net,
    )
    if not (ended := directory / "result.json").exists():
        write_sealed(ended, {"version": VERSION} | digests_of(directory))
    load_weights(net.cpu(), directory / "weights.safetensors")
    return net.taken_apart(net.state_dict())
