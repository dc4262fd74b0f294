"""Assemblies that are trained together: each is the model that it would be alone, and a killed training goes on."""

from __future__ import annotations

import copy
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nas.convert.candidates import DEFAULT, KEEP, Assembly, listed, offered
from nas.convert.library import Distillation, begin, converted, transplanted
from nas.convert.run import convert
from nas.convert.sharing import Sharing, Together, run_together, trained_together
from nas.convert.supernet import Supernet
from nas.convert.workers import Common, States
from nas.data import ImageSet, load
from nas.engine import Pool
from nas.engine.events import Event
from nas.engine.storage import Storage
from nas.errors import GenomeError, RunError, SpecError
from nas.genome import load_genome
from nas.model import Donor, Model, build
from nas.model.pyramid import auxiliaries_on
from nas.report import write_report
from nas.train import Task, Training, evaluate
from tests.convert.small import spec
from tests.report.described import undescribed, unsealed

RECIPE = Training(epochs=2, batch_size=32, mixup=0.8)
MEMBERS: list[Assembly] = [
    {},
    {"stages.0.layers.1": "reuse_conv", "stages.0.layers.2": "reuse_low_rank"},  # the second maps what the first made
    {"stages.0.layers.0": "linear_local", "stages.1.layers.1": "reuse"},
    {"stages.0.layers.2": "reuse_low_rank", "stages.1.layers.1": "reuse", "stages.1.layers.2": "linear"},
]


@pytest.fixture(scope="module")
def images() -> ImageSet:
    return load("digits", limit=300)


@pytest.fixture(scope="module")
def donor() -> Donor:
    torch.manual_seed(0)
    return Donor.of(build(listed(load_genome("mixed_digits"))))


@pytest.fixture(scope="module")
def states(donor: Donor) -> States:
    pieces = begin(donor, offered(donor.genome, DEFAULT), DEFAULT, None)
    for number, piece in enumerate(pieces):  # psi and theta begin at the identity, which hides a wrong one
        torch.manual_seed(number)
        with torch.no_grad():
            for parameter in piece.attention.parameters():
                parameter.add_(0.1 * torch.randn_like(parameter))
    return {piece.name: piece.attention.state_dict() for piece in pieces}


def some(count: int = 5) -> torch.Tensor:
    return torch.randn(count, 1, 8, 8, generator=torch.Generator().manual_seed(0))


def alone(donor: Donor, assembly: Assembly, states: States) -> Model:
    return transplanted(converted(donor, assembly, DEFAULT, states), assembly).model()


def drawn(assemblies: st.DataObject, donor: Donor) -> list[Assembly]:
    options = offered(donor.genome, DEFAULT)
    every = st.fixed_dictionaries({layer: st.sampled_from(names) for layer, names in options.items()})
    return assemblies.draw(st.lists(every, min_size=1, max_size=3))


@given(assemblies=st.data())
@settings(max_examples=15, deadline=None)
def test_each_member_is_the_model_that_the_assembly_makes_alone(
    assemblies: st.DataObject, donor: Donor, states: States
) -> None:
    chosen = drawn(assemblies, donor)
    try:
        net = Supernet(donor, chosen, DEFAULT, states).eval()
    except GenomeError:  # some candidates make no sense behind others
        return
    for assembly, member in zip(chosen, net.members, strict=True):
        assert torch.equal(member.eval()(some()), alone(donor, assembly, states)(some()))
    assert torch.equal(net(some()), donor.model()(some())), "evaluation is the parent's"


def test_what_one_member_learns_all_have(donor: Donor, states: States) -> None:
    net = Supernet(donor, MEMBERS, DEFAULT, states).train()
    before = copy.deepcopy(net.state_dict())
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    net.members[1](some()).square().sum().backward()
    optimizer.step()
    changed = {name for name, tensor in net.state_dict().items() if not torch.equal(tensor, before[name])}
    pieces = {name.split(".")[1] for name in changed if name.startswith("pieces.")}
    assert pieces == {"stages/0/layers/1-reuse_conv", "stages/0/layers/2-reuse_low_rank"}
    assert "head.weight" in changed and "stages.0.layers.0.attention.qkv.weight" in changed
    base, after = net.eval().taken_apart(net.state_dict())
    for assembly, member in zip(MEMBERS, net.members, strict=True):
        assert torch.equal(member.eval()(some()), alone(base, assembly, after)(some()))


def test_every_tensor_is_in_the_state_once(donor: Donor, states: States) -> None:
    net = Supernet(donor, MEMBERS, DEFAULT, states)
    named = {f"{layer}-{name}" for each in MEMBERS for layer, name in each.items()}
    expected = len(donor.state) + sum(len(states[name]) for name in named)
    assert len(net.state_dict()) == expected
    own = {id(parameter) for parameter in net.parameters()}
    assert all(id(parameter) in own for member in net.members for parameter in member.parameters())
    assert len(own) == len(list(net.parameters()))


def test_a_copy_is_evaluated_and_has_no_members(donor: Donor, states: States) -> None:
    net = Supernet(donor, MEMBERS, DEFAULT, states).eval()
    other = copy.deepcopy(net)
    assert torch.equal(other(some()), net(some())) and not other.members
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.zero_()
    assert torch.equal(net(some()), donor.model()(some()))
    assert all(member(some()).any() for member in net.members)


def test_conversion_to_another_type_reaches_the_members(donor: Donor, states: States) -> None:
    net = Supernet(donor, MEMBERS, DEFAULT, states).double()
    for assembly, member in zip(MEMBERS, net.members, strict=True):
        expected = alone(donor, assembly, states).double()(some().double())
        assert torch.equal(member.eval()(some().double()), expected)


def test_members_follow_the_schedule_of_the_auxiliaries() -> None:
    torch.manual_seed(0)
    parent = Donor.of(build(listed(load_genome("castling_digits"))))
    assert parent.model().has_auxiliaries
    net = Supernet(parent, [{}], DEFAULT, {})
    member = net.members[0].eval()
    with auxiliaries_on(member):
        net.set_progress(0.0)
        early = member(some())
        net.set_progress(0.9)
        assert not torch.equal(member(some()), early)


def common(donor: Donor, folder: Path) -> Common:
    return Common(donor, DEFAULT, Task("digits", Training(limit=300)), Distillation(), 50, "cpu", 1)


def work(folder: Path, donor: Donor, states: States, **changes: Any) -> Together:
    recipe = RECIPE.model_copy(update={"teacher": Sharing(epochs=2, weight=0.3).recipe(RECIPE, Path("parent")).teacher})
    return replace(Together(folder, None, recipe, MEMBERS, states, True, 3), **changes)


@pytest.fixture(scope="module")
def ended(donor: Donor, states: States, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files of a shared training that has ended."""
    folder = tmp_path_factory.mktemp("library")
    run_together(common(donor, folder), work(folder, donor, states))
    return folder / "shared"


def same(a: tuple[Donor, States], b: tuple[Donor, States]) -> bool:
    (base, states), (other, others) = a, b
    pairs = [(base.state, other.state), *((states[name], others[name]) for name in states)]
    return states.keys() == others.keys() and all(
        one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one) for one, two in pairs
    )


def test_a_killed_shared_training_goes_on_and_ends_the_same(
    donor: Donor, states: States, images: ImageSet, tmp_path: Path
) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    parts = common(donor, tmp_path)
    whole = trained_together(parts, images, work(here, donor, states), here)
    assert not same(whole, (donor, {name: states[name] for name in whole[1]}))

    def kill(row: dict[str, Any] | None) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        trained_together(parts, images, work(there, donor, states), there, report=kill)
    assert len(pd.read_csv(there / "metrics.csv")) == 1
    assert same(trained_together(parts, images, work(there, donor, states), there), whole)
    assert (here / "weights.safetensors").read_bytes() == (there / "weights.safetensors").read_bytes()
    with pytest.raises(RunError, match="belongs to another training"):
        trained_together(parts, images, work(there, donor, states, assemblies=MEMBERS[:2]), there)


def _changed(file: Path) -> None:
    """Another finite number in the last tensor: safetensors loads it all the same."""
    blob = bytearray(file.read_bytes())
    blob[-3] ^= 1
    file.write_bytes(blob)


def _cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-40])


@pytest.mark.parametrize("damage", [_changed, _cut, Path.unlink], ids=["changed", "cut", "gone"])
@pytest.mark.parametrize("name", ["weights.safetensors", "metrics.csv"])
@pytest.mark.parametrize("stored", [False, True])
def test_a_shared_training_that_has_ended_is_what_it_ended_with(
    name: str, damage: Callable[[Path], object], stored: bool, ended: Path, donor: Donor, states: States, tmp_path: Path
) -> None:
    """Trained again it would cost hours, and believed it would be wrong: the file is named, and all stays as it is."""
    folder = Path(shutil.copytree(ended, tmp_path / "run" / "library" / "shared"))
    damage(folder / name)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    storage = Storage(str(tmp_path), "run") if stored else None
    with pytest.raises(RunError, match="delete its folder to have all of it trained again") as caught:
        run_together(common(donor, tmp_path), work(folder.parent, donor, states, storage=storage))
    assert str(caught.value).startswith(f"{folder / name}: ")
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_a_kill_before_the_last_file_loses_nothing(ended: Path, donor: Donor, states: States, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(ended, tmp_path / "shared"))
    before = {path.name: (path.stat().st_ino, path.read_bytes()) for path in folder.glob("[mw]*")}
    (result := folder / "result.json").unlink()
    run_together(common(donor, tmp_path), work(tmp_path, donor, states))
    assert result.read_bytes() == (ended / "result.json").read_bytes()
    assert {path.name: (path.stat().st_ino, path.read_bytes()) for path in folder.glob("[mw]*")} == before


def test_a_folder_that_cannot_be_used_is_told(donor: Donor, states: States, tmp_path: Path) -> None:
    (tmp_path / "shared").write_text("not a folder")
    told = run_together(common(donor, tmp_path), work(tmp_path, donor, states))
    assert isinstance(told, str) and "cannot be written" in told


def test_a_training_that_diverges_is_told(donor: Donor, states: States, tmp_path: Path) -> None:
    steep = RECIPE.model_copy(update={"lr": 1e30, "clip": 0.0})
    told = run_together(common(donor, tmp_path), work(tmp_path, donor, states, training=steep))
    assert isinstance(told, str) and told.startswith("the shared training diverged: ") and "sharing.lr" in told


def test_the_recipe_is_the_repairs_but_for_what_sharing_says() -> None:
    repair = Training(epochs=3, batch_size=16, lr=1e-3, compile=True, layer_decay=0.7)
    made = Sharing(epochs=9, mixup=0.4, weight=0.3).recipe(repair, Path("/parent.yaml"))
    assert (made.epochs, made.batch_size, made.lr, made.mixup) == (9, 16, 4e-3, 0.4)
    assert not made.compile and made.layer_decay == 1.0
    assert made.teacher is not None and (made.teacher.source, made.teacher.weight) == ("/parent.yaml", 0.3)
    assert Sharing(epochs=9, weight=0).recipe(repair, Path("/parent.yaml")).teacher is None
    own = repair.model_copy(update={"teacher": made.teacher.model_copy(update={"model": "/other.yaml", "hidden": 1.0})})
    taught = Sharing(epochs=9, weight=0.6).recipe(own, Path("/parent.yaml")).teacher
    assert taught is not None and (taught.source, taught.weight, taught.hidden) == ("/other.yaml", 0.6, None)


def test_labels_alone(donor: Donor, states: States, images: ImageSet, tmp_path: Path) -> None:
    """A shared training without a teacher."""
    alone = work(tmp_path, donor, states, training=Sharing(epochs=1, weight=0).recipe(RECIPE, tmp_path))
    trained_together(common(donor, tmp_path), images, alone, tmp_path / "shared")
    assert "distillation" not in pd.read_csv(tmp_path / "shared" / "metrics.csv").columns


SHARED: dict[str, Any] = {"sharing": {"epochs": 2, "assemblies": 6}, "compare": []}


@pytest.mark.parametrize("stored", [False, True])
def test_a_conversion_with_a_shared_training(stored: bool, parent: Path, pool: Pool, tmp_path: Path) -> None:
    """Interrupted behind the shared training, which is not done again; with a storage, the machine is lost as well."""
    said: list[str] = []

    def interrupt(event: Event) -> None:
        said.append(event.data.get("text", ""))
        if said[-1].startswith("repairing"):
            raise KeyboardInterrupt

    keys = SHARED | ({"storage": str(tmp_path / "storage")} if stored else {})
    run, kept = tmp_path / "run", tmp_path / "storage" / "run" if stored else tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        convert(spec(parent, **keys), run, on_event=interrupt)
    (together,) = (text for text in said if "together" in text)
    assert together == "training 7 assemblies together, 2 epochs"
    weights, scores = kept / "library" / "shared" / "weights.safetensors", run / "shared.csv"
    before = weights.stat().st_mtime_ns, scores.read_bytes()
    assert len(pd.read_csv(scores)) == 7
    if stored:
        shutil.rmtree(run)

    said.clear()
    found = convert(spec(parent, **keys), run, on_event=lambda event: said.append(event.data.get("text", "")))
    assert (weights.stat().st_mtime_ns, scores.read_bytes()) == before
    assert not [text for text in said if text.startswith("comparing")]
    assert found.trials["state"].tolist() == ["complete"] * len(found.trials) and len(found.trials) >= 2
    assert (found.trials.iloc[0][found.sensitivity["layer"].unique()] == KEEP).all()
    winner = run / "winners" / f"{found.front['winner'].iloc[0]}.yaml"
    validation = spec(run / "start.yaml").task.load().validation
    assert evaluate(build(winner, weights=True), validation) == found.front["accuracy"].iloc[0]
    assert write_report(run).exists()
    assert undescribed(run) == unsealed(run) == []

    scores.unlink()  # measured again, and the same
    again = convert(spec(parent, **keys), run)
    assert scores.read_bytes() == before[1]
    pd.testing.assert_frame_equal(again.trials, found.trials)
    with pytest.raises(RunError, match=r"spec\.sharing\.epochs"):
        convert(spec(parent, **keys | {"sharing": {"epochs": 3, "assemblies": 6}}), run)


@pytest.mark.parametrize(
    ("keys", "path"),
    [
        ({"sharing": {"epochs": 2}, "compare": ["last"]}, "compare"),
        ({"sharing": {"epochs": -1}}, "sharing.epochs"),
        ({"sharing": {"weight": -0.1}}, "sharing.weight"),
        ({"sharing": {"members": 3}}, "sharing.members"),
        ({"sharing": {"epochs": 2, "lr": 1e-6}, "compare": []}, "sharing: min_lr 1e-05 is above lr 1e-06"),
    ],
)
def test_a_mistake_names_its_key(keys: dict[str, Any], path: str, parent: Path) -> None:
    with pytest.raises(SpecError) as caught:
        spec(parent, **keys)
    assert path in str(caught.value)
