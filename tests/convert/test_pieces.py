"""Pieces of a library that were changed after they were written are trained again, and no others; without Ray."""

from __future__ import annotations

import logging
import math
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
import torch

from nas.convert.candidates import DEFAULT, Place, listed
from nas.convert.library import Distillation
from nas.convert.measuring import Measuring
from nas.convert.plan import Parts
from nas.convert.shelf import Shelf, packed, unpacked
from nas.convert.workers import Common, Content, Crew
from nas.files import SEAL
from nas.genome import load_genome
from nas.metrics import estimator
from nas.model import Donor, Model
from nas.train import Task, Training

ROUNDS = 2
HURT = ("stages.1.layers.2", "linear_local")
PLACES = [*(("stages.0.layers.1", name) for name in DEFAULT), HURT]
Change = Callable[[Content], Any]


class Alone(Crew):
    """Does the work in this process, and counts the rounds of each piece."""

    def __init__(self, common: Common):
        self.common, self.trained = common, list[Place]()

    @property
    def pool(self) -> Any:
        return type("Pool", (), {"places": 1})

    def each(
        self, what: str, work: Callable[..., Any], tasks: Iterable[tuple[Any, ...]], done: Callable[[int, Any], None]
    ) -> None:
        for number, (places, contents) in enumerate(tasks):
            self.trained += places
            done(number, work(self.common, places, contents))


@pytest.fixture(scope="module")
def crew() -> Alone:
    torch.manual_seed(0)
    donor = Donor.of(Model(listed(load_genome("mixed_digits"))))
    how = Distillation(rounds=ROUNDS, images=64, batch_size=16, closed_form=16)
    return Alone(Common(donor, DEFAULT, Task("digits", Training(limit=200)), how, 50, "cpu", 1))


@pytest.fixture(scope="module")
def whole(crew: Alone, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("whole")
    assert trained(crew, run) == PLACES * ROUNDS
    return run


def trained(crew: Alone, run: Path, say: Callable[[str], None] = lambda text: None) -> list[Place]:
    """The pieces that a call trained, once for each round."""
    options: dict[str, list[str]] = {}
    for layer, name in PLACES:
        options.setdefault(layer, []).append(name)
    parts = Parts(crew.common.donor.genome, options, DEFAULT, estimator())
    crew.trained = []
    Measuring(parts, Shelf(run, "this"), crew, ROUNDS, say).library()
    return crew.trained


def copied(whole: Path, run: Path, change: Change, place: Place = HURT) -> Path:
    """A copy of a run with a change in the content of one piece, as another program would write it."""
    shutil.copytree(whole, run)
    file = run / "library" / f"{'-'.join(place)}.pt"
    content = unpacked(file.read_bytes())
    change(content)
    file.write_bytes(packed(content))
    return run


def unsealed(content: Content) -> None:
    content.pop(SEAL, None)


def pieces(run: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in (run / "library").iterdir()}


def weights(how: Callable[[torch.Tensor], torch.Tensor]) -> Change:
    """A change of the largest of the weights."""

    def change(content: Content) -> None:
        name = max(content["attention"], key=lambda name: content["attention"][name].numel())
        content["attention"][name] = how(content["attention"][name])

    return change


def moments(how: Callable[[dict[str, Any]], Any]) -> Change:
    return lambda content: how(content["optimizer"]["state"][0])


FORMS = {
    "not a number": weights(lambda weight: weight * math.nan),
    "float16": weights(torch.Tensor.half),
    "other shape": weights(lambda weight: weight[:1]),
    "no tensor": weights(torch.Tensor.tolist),
    "one weight less": lambda content: content["attention"].popitem(),
    "one weight more": lambda content: content["attention"].update(more=torch.ones(1)),
    "no weights": lambda content: content.pop("attention"),
    "rounds in words": lambda content: content.update(rounds="x"),
    "too many rounds": lambda content: content.update(rounds=10**9),
    "no round": lambda content: content.update(rounds=0, errors=content["errors"][:1]),
    "another round": lambda content: content.update(rounds=1),
    "rounds missing": lambda content: content.pop("rounds"),
    "no errors": lambda content: content.update(errors=[]),
    "infinite error": lambda content: content["errors"].append(content["errors"].pop() * math.inf),
    "no optimiser": lambda content: content.update(optimizer=None),
    "optimiser missing": lambda content: content.pop("optimizer"),
    "no state": lambda content: content["optimizer"].update(state={}),
    "no moment": moments(lambda state: state.pop("exp_avg")),
    "other moment": moments(lambda state: state.update(exp_avg=state["exp_avg"][:1])),
    "infinite moment": moments(lambda state: state.update(exp_avg_sq=state["exp_avg_sq"] / 0)),
    "setting": lambda content: content["optimizer"]["param_groups"][0].update(betas="x"),
    "no settings": lambda content: content["optimizer"].update(param_groups=[]),
}
VALUES = {
    "three times": weights(lambda weight: weight * 3),
    "other error": lambda content: content["errors"].append(content["errors"].pop() / 2),
    "other moments": moments(lambda state: state.update(exp_avg=-state["exp_avg"])),
    "no run": lambda content: content.pop("parent"),
    "seal": lambda content: content.update({SEAL: "0" * 64}),
}


@pytest.mark.parametrize("change", [*FORMS.values(), *VALUES.values()], ids=[*FORMS, *VALUES])
def test_a_piece_that_was_changed_is_trained_again(
    change: Change, crew: Alone, whole: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run = copied(whole, tmp_path / "run", change)
    assert trained(crew, run) == [HURT] * ROUNDS
    check_named_once(caplog)
    assert pieces(run) == pieces(whole)


@pytest.mark.parametrize("change", FORMS.values(), ids=FORMS)
def test_a_piece_of_before_that_has_another_form_is_trained_again(
    change: Change, crew: Alone, whole: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run = copied(whole, tmp_path / "run", lambda content: (unsealed(content), change(content)))
    assert trained(crew, run) == [HURT] * ROUNDS
    check_named_once(caplog)
    assert pieces(run) == pieces(whole)


def check_named_once(caplog: pytest.LogCaptureFixture) -> None:
    (record,) = [each for each in caplog.records if each.levelno >= logging.WARNING]
    assert f"{'-'.join(HURT)}.pt is damaged (" in record.message
    assert record.message.endswith("): the piece is trained again")


@pytest.mark.parametrize("place", PLACES)
def test_a_piece_of_before_that_has_its_form_is_believed(
    place: Place, crew: Alone, whole: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert trained(crew, copied(whole, tmp_path / "run", unsealed, place)) == []
    assert not caplog.text


@pytest.mark.parametrize("change", [unsealed, lambda content: None], ids=["before", "now"])
def test_a_piece_goes_on_with_the_round_that_was_begun(
    change: Change, crew: Alone, whole: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def stop(text: str) -> None:
        if "round 2" in text:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        trained(crew, tmp_path / "half", stop)
    run = copied(tmp_path / "half", tmp_path / "run", change)
    assert trained(crew, run) == PLACES
    assert not caplog.text
    assert pieces(run) == pieces(whole)


def test_a_piece_whose_training_diverged_is_believed(
    crew: Alone, whole: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run = copied(whole, tmp_path / "run", weights(lambda weight: weight * math.nan))
    (file,) = run.rglob(f"{'-'.join(HURT)}.pt")
    content = unpacked(file.read_bytes())
    Shelf(run, "this").keep_piece(HURT, {key: content[key] for key in ("attention", "optimizer", "rounds", "errors")})
    assert trained(crew, run) == []
    assert not caplog.text
