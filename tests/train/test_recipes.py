from __future__ import annotations

import pickle

import pytest
from pydantic import ValidationError

import nas
from nas.ablation.retrain import retraining
from nas.convert.spec import REPAIR, ConversionSpec
from nas.engine.single import training_of
from nas.errors import SpecError
from nas.plain_yaml import read_yaml
from nas.search.spec import SearchSpec
from nas.train import Training
from nas.train.checkpoint import recipe_of
from nas.train.recipe import given_in
from nas.train.recipes import RECIPES

SPACE = {"base": "lavit_digits", "parameters": {"stages.0.split": {"int": [0, 3]}}}


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_fills_in_what_is_not_given(name):
    made = Training(recipe=name, epochs=300, augment={"erase": 0.5})
    assert made.given() == {"recipe": name, "epochs": 300, "augment": {"erase": 0.5}}
    assert made.augment.repeats == RECIPES[name].get("augment", {}).get("repeats", 1)
    assert Training.model_validate(made.given()) == made == pickle.loads(pickle.dumps(made))
    recorded = made.model_dump(mode="json")
    assert Training.model_validate(recorded) == made and recorded["recipe"] == name
    assert given_in(recorded) == made.given()


def test_what_is_given_counts_more_than_the_recipe():
    made = Training(recipe="deit", lr=0.25, augment={"repeats": 1})
    assert (made.lr, made.mixup, made.augment.repeats, made.augment.min_area) == (0.25, 0.8, 1, 0.08)


def test_small_images_are_the_defaults_and_a_name_changes_no_training():
    assert recipe_of(Training(recipe="small_images")) == recipe_of(Training())
    assert recipe_of(Training(recipe="deit")) != recipe_of(Training())


def test_the_defaults_have_the_fingerprint_that_they_had_before_there_were_recipes():
    before = {
        "epochs", "batch_size", "lr", "min_lr", "warmup_epochs", "weight_decay", "clip", "label_smoothing", "mixup",
        "cutmix", "ema", "teacher", "augment", "precision", "compile", "channels_last", "validation", "limit",
    }  # fmt: skip
    assert set(recipe_of(Training())) == before
    assert set(recipe_of(Training())["augment"]) == {"crop_padding", "min_area", "flip", "erase"}


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"recipe": "diet"}, r"no recipe 'diet'; allowed: deit, .*did you mean deit\?"),
        ({"optimizer": "adamww"}, r"no optimizer 'adamww'; .*did you mean adamw\?"),
        ({"optimizer": "sgd", "eps": 1e-8}, "sgd has none: set it to null"),
        ({"betas": [0.9, 0.99, 0.999]}, "adamw has 2"),
        ({"decay_rate": 0.5}, "the schedule cosine has none"),
        ({"schedule": "rsqrt", "warmup_epochs": 0}, "expected more than 0"),
        ({"bce_threshold": 0.2}, "set bce, or leave it out"),
        ({"bce": True, "bce_threshold": 0}, "with label smoothing every class is above 0"),
        (
            {"recipe": "deit", "batch_size": 1},
            r"min_lr 1e-05 is above lr 9\.7.*e-07, which lr becomes at this batch size",
        ),
    ],
)
def test_refuses(keys, message):
    with pytest.raises(ValidationError, match=message):
        Training.model_validate(keys)


def test_an_unknown_recipe_of_a_setting_names_the_key():
    with pytest.raises(SpecError, match=r"--set: training\.recipe: no recipe 'diet'"):
        SearchSpec.parse(SPACE).with_settings({"training.recipe": "diet"})


def test_a_setting_chooses_a_recipe_under_the_keys_of_the_file():
    space = SearchSpec.parse(SPACE | {"training": {"epochs": 15, "lr": 0.004, "augment": {"flip": False}}})
    chosen = space.with_settings({"training.recipe": "deit", "training.augment.erase": 0.1}).training
    assert (chosen.epochs, chosen.lr, chosen.mixup) == (15, 0.004, 0.8)  # 15 and 0.004 are defaults, and yet given
    assert (chosen.augment.flip, chosen.augment.erase, chosen.augment.min_area) == (False, 0.1, 0.08)
    again = space.with_settings({"training.recipe": "deit"}).with_settings({"training.recipe": "finetune"}).training
    assert (again.layer_decay, again.augment.repeats) == (0.65, 1)
    assert training_of({"training.recipe": "deit3", "training.epochs": 3}).given() == {"recipe": "deit3", "epochs": 3}


def test_a_conversion_lays_a_recipe_over_its_own():
    spec = ConversionSpec.parse({"start": "winner.yaml", "training": {"epochs": 4}})
    assert spec.training.lr == REPAIR["lr"] and spec.training.given() == {"epochs": 4}
    chosen = spec.with_settings({"training.recipe": "finetune"}).training
    assert (chosen.epochs, chosen.closed_form, chosen.layer_decay, chosen.lr) == (4, 0, 0.65, 5e-4)
    with pytest.raises(SpecError, match=r"training\.recipe: no recipe"):
        spec.with_settings({"training.recipe": "fine"})


def test_a_run_goes_on_with_what_the_recipe_said_then(monkeypatch):
    space = SearchSpec.parse(SPACE | {"training": {"recipe": "deit", "epochs": 4}})
    begun = space.model_dump(mode="json")
    monkeypatch.setitem(RECIPES, "deit", RECIPES["deit"] | {"lr": 1.0, "augment": {}})
    later = SearchSpec.parse(SPACE | {"training": {"recipe": "deit", "epochs": 4}})
    assert later.training.lr == 1.0
    assert later.resumed(begun).training == space.training
    changed = later.with_settings({"training.weight_decay": 0.3}).resumed(begun).training
    assert (changed.lr, changed.weight_decay) == (5e-4, 0.3)
    assert later.resumed(None) is later


def test_a_search_with_a_recipe_records_it_resumes_and_is_retrained(tmp_path, monkeypatch, pool):
    monkeypatch.chdir(tmp_path)
    settings = {"training.recipe": "deit", "training.epochs": 1, "training.limit": 120, "training.lr_base_size": 16,
                "trials": 1, "training.batch_size": 48, "workers.count": 1}  # fmt: skip
    nas.run_search("lavit_split", "short", settings=settings)
    record = read_yaml(tmp_path / "results/short/run.yaml")["spec"]["training"]
    assert (record["recipe"], record["mixup"], record["epochs"]) == ("deit", 0.8, 1)
    monkeypatch.setitem(RECIPES, "deit", RECIPES["deit"] | {"mixup": 0.3})
    assert len(nas.run_search("lavit_split", "short", settings=settings | {"trials": 2}).trials) == 2
    again = retraining(tmp_path / "results/short")
    assert (again.training.mixup, again.training.validation) == (0.8, 0)
    assert again.with_settings({"training.recipe": "deit3"}).training.optimizer == "lamb"
