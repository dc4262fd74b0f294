"""Runs and trainings that start from a trained model: what begins where, and what is refused."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import load_file, save_file

import nas
from nas.ablation import ablate, parse_ablation
from nas.ablation.retrain import retraining
from nas.ablation.run import Cells
from nas.data import load
from nas.engine import Ledger, Pool, Signal
from nas.engine.events import ignore
from nas.engine.record import write_record
from nas.engine.single import train_genome
from nas.engine.start import NAME, check_start, held_start, keep_start
from nas.errors import DataError, RunError, SpecError
from nas.files import write_text
from nas.genome import Genome, load_genome
from nas.model import Donor, build, inherit
from nas.plain_yaml import dump_yaml, read_yaml
from nas.run_names import default_run
from nas.search import SearchSpec, search
from nas.timm.donor import absolute_start, read_donor
from nas.train import Training, evaluate, fitted, train
from nas.train.groups import parameter_groups

PIXELS = {"mean": [0.4], "std": [0.3]}


@pytest.fixture(scope="module")
def parent(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trained genome whose pixels are not those that the data would be given."""
    directory = tmp_path_factory.mktemp("parent")
    genome = load_genome("mixed_digits").edit({"preprocess": PIXELS})
    return train_genome(genome, out=directory, settings={"training.epochs": 6}, device="cpu", progress=False).file


def spec(start: Path | str, **keys: Any) -> SearchSpec:
    given = {
        "start": str(start),
        "parameters": {"stages.0.layers.1.core": {"choice": ["softmax", "less", "linear_angular"]}},
        "training": {"epochs": 1, "limit": 300, "lr": 1e-3},
        "trials": 3,
        "sampler": "grid",
        "workers": {"count": 1},  # which takes longer to start than to train
    }
    return SearchSpec.parse(given | keys)


def test_every_trial_of_a_search_starts_from_the_model(parent: Path, pool: Pool, tmp_path: Path) -> None:
    found = search(spec(parent), tmp_path / "run")
    assert found.trials["state"].tolist() == ["complete"] * 3
    assert found.trials["accuracy"].min() > 0.8  # an epoch of 3 steps from new weights is near 0.1
    assert read_donor(str(tmp_path / "run" / "start.yaml")).digest == read_donor(str(parent)).digest
    for winner in (tmp_path / "run" / "winners").glob("*.yaml"):
        assert load_genome(winner).preprocess.mean == (0.4,)  # type: ignore[union-attr]

    other = tmp_path / "other.yaml"
    state = load_file(parent.with_name("weights.safetensors"))
    save_file(state | {"head.bias": state["head.bias"] + 1.0}, other.with_suffix(".safetensors"))
    shutil.copy(parent, other)
    with pytest.raises(RunError, match="another model"):
        search(spec(other, trials=4), tmp_path / "run")
    again = search(spec(tmp_path / "run" / "start.yaml"), tmp_path / "run")  # the original may be gone
    assert again.trials.equals(found.trials)

    for from_scratch in (False, True):
        again_spec = retraining(tmp_path / "run", from_scratch=from_scratch)
        assert (again_spec.start is None) == from_scratch
        assert again_spec.name == ("run-from-scratch" if from_scratch else "run-retrained")


def test_losses_and_masks_are_searched_from_weights(pool: Pool, tmp_path: Path) -> None:
    start = train_genome("castling_digits", out=tmp_path / "castling", settings={"training.epochs": 2}, progress=False)
    space = {
        "parameters": {
            "stages.*.auxiliary.epsilon": {"choice": [0.5, 1.0]},
            "loss.diagonal.weight": {"choice": [0.01]},
        },
        "trials": 2,
    }
    found = search(spec(start.file, **space), tmp_path / "run")
    assert found.trials["state"].tolist() == ["complete"] * 2
    for trial in found.trials["trial"]:
        assert "mask_mass" in (tmp_path / "run" / "trials" / trial / "metrics.csv").read_text().splitlines()[0]


def test_arms_of_an_ablation_are_edits_of_the_model(parent: Path, pool: Pool, tmp_path: Path) -> None:
    ablation = {
        "start": str(parent),
        "arms": {"reuse": {"stages.1.layers.2.core": "less"}},
        "seeds": 1,
        "training": {"epochs": 1, "lr": 1e-3, "limit": 300},
        "workers": {"count": 1},
    }
    cells = ablate(parse_ablation(ablation), tmp_path / "runs" / "a")
    assert cells["accuracy"].min() > 0.8
    spec = parse_ablation(ablation)
    images = spec.task.load()
    arms = spec.arms_of(fitted(spec.genome(), images))
    for donor, copied in ((spec.donor_for(images), True), (None, False)):  # equal genomes and recipes
        answer = Cells(spec, arms, Ledger(tmp_path / "runs" / f"b{copied}"), images.digest, donor).next()
        assert (answer is Signal.DONE) == copied, (
            "a finished cell counts as one's own if it began from the same weights"
        )
    with pytest.raises(SpecError) as caught:
        ablate(parse_ablation(ablation | {"arms": {"wide": {"stages.1.width": 128}}}), tmp_path / "c")
    assert "arm wide" in str(caught.value) and "stages.1.width" in str(caught.value)


def test_a_resumed_training_from_weights_equals_an_uninterrupted_one(parent: Path, tmp_path: Path) -> None:
    donor, images = read_donor(str(parent)), load("digits", limit=300)
    genome = donor.genome.edit({"stages.0.layers.1.core": "linear_angular", "stages.1.layers.3.core": "less"})
    recipe = Training(epochs=3, lr=1e-3)
    for name, stops in (("whole", [3]), ("parts", [1, 3])):
        for until in stops:
            train(genome, images, recipe, directory=tmp_path / name, seed=1, donor=donor, until=until)
    whole, parts = (load_file(tmp_path / name / "weights.safetensors") for name in ("whole", "parts"))
    assert all(torch.equal(whole[name], parts[name]) for name in whole)
    with pytest.raises(RunError, match="start"):
        train(genome, images, recipe, directory=tmp_path / "whole", seed=1)


def test_inherited_weights_move_at_a_share_of_the_rate_and_deeper_ones_faster(parent: Path, tmp_path: Path) -> None:
    donor = read_donor(str(parent))
    genome = donor.genome.edit({"stages.0.layers.1.core": "less"})
    found = inherit(genome, donor)
    recipe = Training(layer_decay=0.5, inherited_lr=0.1)
    groups = parameter_groups(found.model, recipe, found.inherited)
    names = {parameter: name for name, parameter in found.model.named_parameters()}
    scale = {names[parameter]: group["lr_scale"] for group in groups for parameter in group["params"]}
    assert set(scale) == set(names.values())
    assert scale["head.weight"] == pytest.approx(0.1)
    assert scale["stages.1.layers.3.norm1.weight"] == pytest.approx(0.1 * 0.5)
    assert scale["stages.1.embed.proj.weight"] == scale["stages.1.layers.0.norm1.weight"] == pytest.approx(0.1 / 2**4)
    assert scale["stages.0.layers.1.attention.core.psi.weight"] == pytest.approx(1 / 2**6)
    assert scale["stages.0.embed.proj.weight"] == pytest.approx(0.1 / 2**8)

    frozen = Training(epochs=1, inherited_lr=0.0, closed_form=0, ema=0.0)
    train(genome, load("digits", limit=300), frozen, directory=tmp_path, seed=0, donor=donor)
    after = load_file(tmp_path / "weights.safetensors")
    for name in found.inherited:
        assert torch.equal(after[name], donor.state[name]) or name.endswith("qkv.weight") or "qkv.bias" in name, name
    assert any(not torch.equal(after[name], found.model.state_dict()[name]) for name in found.fresh)


def test_a_head_is_kept_reordered_or_new(parent: Path) -> None:
    donor = read_donor(str(parent))
    names = donor.genome.class_names
    assert names is not None
    assert donor.for_classes(names)[0] is donor
    turned, _ = donor.for_classes(names[::-1])
    assert torch.equal(turned.state["head.bias"], donor.state["head.bias"].flip(0))
    for others in (names[:7], tuple(f"class {name}" for name in names)):
        fresh, said = donor.for_classes(others)
        assert "head.weight" not in fresh.state and "new" in said
        assert inherit(donor.genome.edit({"classes": len(others)}), fresh).fresh == ("head.weight", "head.bias")


def test_a_timm_folder_is_a_start_with_its_own_pixels(tmp_path: Path) -> None:
    args = {"img_size": 8, "patch_size": 2, "in_chans": 1, "embed_dim": 32, "depth": 3, "num_heads": 2}
    pixels = {"mean": [0.5], "std": [0.25], "input_size": [1, 8, 8], "interpolation": "bicubic", "crop_pct": 1.0}
    torch.manual_seed(0)
    theirs = timm.create_model("vit_tiny_patch16_224", num_classes=10, **args).eval()
    folder = tmp_path / "vit"
    folder.mkdir()
    save_file(theirs.state_dict(), folder / "model.safetensors")
    config = {"architecture": "vit_tiny_patch16_224", "num_classes": 10, "pretrained_cfg": pixels, "model_args": args}
    write_text(folder / "config.json", json.dumps(config))
    donor = read_donor(f"local-dir:{folder}")
    assert donor.genome.preprocess.mean == (0.5,)  # type: ignore[union-attr]
    found = nas.inherit(donor.genome, f"local-dir:{folder}")
    x_BCHW = torch.randn(2, 1, 8, 8)
    torch.testing.assert_close(found.model.eval()(x_BCHW), theirs(x_BCHW), atol=1e-5, rtol=1e-4)
    result = train_genome(
        start=f"local-dir:{folder}", out=tmp_path / "tuned", settings={"training.epochs": 1}, progress=False
    )
    assert read_yaml(result.file)["preprocess"]["mean"] == [0.5]
    tuned = build(result.file, weights=True)
    images = load("digits", preprocess=tuned.genome.preprocess)
    assert evaluate(tuned, images.validation) == result.accuracy


@pytest.mark.parametrize(
    ("start", "genome", "data", "message"),
    [
        ("{parent}", "lavit_micro_32", "digits", "image.channels"),
        ("{folder}/nothing.yaml", None, "digits", "no such file"),
        ("{folder}/alone.yaml", None, "digits", "weights cannot be read"),
        ("{folder}/pickle.yaml", None, "digits", "pickle"),
        ("{folder}/weights.pth", None, "digits", "timm:NAME@FILE"),
        ("timm:resnet18", None, "digits", "checkpoint"),
        ("{folder}/rgb.yaml", None, "digits", "channel"),
    ],
)
def test_a_start_that_does_not_fit_is_one_message(
    start: str, genome: str | None, data: str, message: str, parent: Path, tmp_path: Path
) -> None:
    for name in ("alone", "pickle"):
        shutil.copy(parent, tmp_path / f"{name}.yaml")
    torch.save({"w": torch.zeros(1)}, tmp_path / "pickle.safetensors")
    torch.save({"w": torch.zeros(1)}, tmp_path / "weights.pth")
    rgb = build(load_genome("mixed_digits").edit({"image.channels": 3}))
    write_text(tmp_path / "rgb.yaml", rgb.genome.to_yaml())
    save_file(rgb.state_dict(), tmp_path / "rgb.safetensors")
    with pytest.raises((SpecError, DataError)) as caught:
        train_genome(genome, data, start=start.format(parent=parent, folder=tmp_path), out=tmp_path / "out")
    assert message in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_a_parameter_that_the_weights_do_not_fit_is_refused_before_anything_is_trained(
    parent: Path, tmp_path: Path
) -> None:
    with pytest.raises(SpecError) as caught:
        search(spec(parent, parameters={"stages.1.width": {"choice": [64, 128]}}), tmp_path / "run")
    assert "parameters.stages.1.width" in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_paths_of_a_start_are_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert absolute_start("a.yaml") == f"{tmp_path}/a.yaml"
    assert absolute_start("a.yaml", Path("/x")) == "/x/a.yaml"
    assert absolute_start("timm:resnet18@w.pth", Path("/x")) == "timm:resnet18@/x/w.pth"
    assert absolute_start("local-dir:vit") == f"local-dir:{tmp_path}/vit"


def test_a_donor_is_known_by_its_genome_and_every_value(parent: Path) -> None:
    donor = read_donor(str(parent))
    state = {name: tensor.clone() for name, tensor in donor.state.items()}
    assert Donor(donor.genome, state).digest == donor.digest
    state["head.bias"][3] += 1e-6
    assert Donor(donor.genome, state).digest != donor.digest
    other = donor.genome.edit({"preprocess": PIXELS | {"crop": 0.9}})
    assert Donor(other, dict(donor.state)).digest != donor.digest


def test_a_run_that_was_killed_as_it_began_goes_on_or_begins_anew(
    parent: Path, pool: Pool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*arguments: Any, **options: Any) -> None:
        raise KeyboardInterrupt

    directory, other = tmp_path / "run", tmp_path / "a\nb"
    with monkeypatch.context() as patched:
        patched.setattr("nas.engine.runs.write_record", killed)  # its copy of the start is there, its run.yaml is not
        with pytest.raises(KeyboardInterrupt):
            search(spec(parent), directory)
    shutil.copytree(parent.parent, other)
    state = load_file(other / "weights.safetensors")
    save_file(state | {"head.bias": state["head.bias"] + 1.0}, other / "weights.safetensors")
    with monkeypatch.context() as patched:
        patched.setattr("nas.search.run._train", killed)
        with pytest.raises(KeyboardInterrupt):
            search(spec(other / "genome.yaml"), directory)
    donor = read_donor(str(other / "genome.yaml"))
    assert read_donor(str(directory / "start.yaml")).digest == donor.digest != read_donor(str(parent)).digest
    check_start(spec(other / "genome.yaml"), directory)


def test_settings_of_the_base_beside_a_start_are_refused(parent: Path) -> None:
    ablation = parse_ablation(
        {"base": {"stages": [{"patch": 2, "width": 8, "heads": 1, "depth": 1}]}, "arms": {"a": {}}}
    )
    written = spec(parent, base=ablation.base)
    for change in ({"base.layer_scale": 0.1}, {"base": "lavit_digits"}):
        with pytest.raises(SpecError, match=r"base.* has no effect with `start`"):
            written.with_settings(change)
        with pytest.raises(SpecError, match=r"base.* has no effect with `start`"):
            ablation.with_settings(change | {"start": str(parent)})
    assert written.with_settings({"base": "lavit_digits", "start": None}).start is None


def test_winners_are_retrained_at_the_size_of_the_start(tmp_path: Path) -> None:
    base = {"name": "mine", "image": {"size": 16, "channels": 1}, "classes": 10}
    base |= {"stages": [{"patch": 4, "width": 8, "heads": 1, "depth": 1}]}
    write_text(tmp_path / "winners" / "w1-0000.yaml", dump_yaml(base))
    write_text(tmp_path / "front.csv", f"winner,hash\nw1-0000,{Genome.model_validate(base).hash}\n")
    for start, size in (("/gone/w.yaml", 16), (None, None)):
        write_record(
            tmp_path,
            id="0123456789abcdef",
            kind="search",
            seed=0,
            spec={"base": base, "data": "digits", "start": start},
        )
        assert retraining(tmp_path, from_scratch=True).image_size == size


def test_a_start_that_has_changed_is_not_retrained_from(parent: Path, tmp_path: Path) -> None:
    donor = read_donor(str(parent))
    for file in (parent, parent.with_name("weights.safetensors")):
        shutil.copyfile(file, tmp_path / Path(NAME).with_suffix(".yaml" if file == parent else ".safetensors"))
    kept = tmp_path / NAME
    for digest in (donor.digest, "of another model"):
        spec = {"base": donor.genome.model_dump(mode="json"), "data": "digits", "start": str(parent)}
        write_record(tmp_path, id="0123456789abcdef", kind="search", seed=0, spec=spec, start=digest)
        if digest == donor.digest:
            assert held_start(tmp_path) == kept
            continue
        with pytest.raises(RunError, match=r"start\.safetensors: not the model that the run started from"):
            held_start(tmp_path)


DAMAGES: dict[str, Callable[[Path], object]] = {
    "no genome": lambda run: (run / NAME).unlink(),
    "no weights": lambda run: (run / "start.safetensors").unlink(),
    "a genome cut off": lambda run: (run / NAME).write_text("stages: [{patch"),
    "weights cut off": lambda run: os.truncate(run / "start.safetensors", 999),
    "other weights": lambda run: save_file(
        {key: 2 * tensor for key, tensor in load_file(run / "start.safetensors").items()}, run / "start.safetensors"
    ),
}


@pytest.mark.parametrize("kind", DAMAGES)
def test_a_kept_model_that_is_damaged_is_written_anew_from_the_original(
    parent: Path, tmp_path: Path, kind: str
) -> None:
    images, given = load("digits", limit=300), spec(parent)
    assert given.donor is not None
    keep_start(given, tmp_path, images, ignore)
    plain = {"base": given.donor.genome.model_dump(mode="json"), "data": "digits", "start": str(parent)}
    write_record(tmp_path, id="0123456789abcdef", kind="search", seed=0, spec=plain, start=given.donor.digest)
    DAMAGES[kind](tmp_path)
    with pytest.raises(RunError, match=r"start\..*restore it; or the same run, started again, writes it anew"):
        held_start(tmp_path)
    check_start(given, tmp_path)
    keep_start(given, tmp_path, images, ignore)
    assert held_start(tmp_path) == tmp_path / NAME


def test_the_default_name_of_a_run_says_where_it_starts(parent: Path) -> None:
    folder = parent.parent.name
    assert default_run(spec(parent, name="mine")) == f"mine-digits-from-{folder}"
    assert default_run(spec("runs/a/winners/w1-0007.yaml", name="mine")) == "mine-digits-from-w1-0007"
    assert default_run(spec("local-dir:a/vit", name="mine")) == "mine-digits-from-vit"


def test_weights_may_lie_elsewhere(parent: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "genome.yaml").write_text(parent.read_text())
    weights = parent.with_name("weights.safetensors")
    weights = weights if weights.exists() else parent.with_suffix(".safetensors")
    (tmp_path / "w@1.safetensors").write_bytes(weights.read_bytes())
    monkeypatch.chdir(tmp_path)
    spelled = absolute_start("genome.yaml@w@1.safetensors")
    assert spelled == f"{tmp_path}/genome.yaml@{tmp_path}/w@1.safetensors"
    assert read_donor(spelled).digest == read_donor(str(parent)).digest
    with pytest.raises(SpecError, match=r"missing\.safetensors"):
        read_donor("genome.yaml@missing.safetensors")
