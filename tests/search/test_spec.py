from __future__ import annotations

from pathlib import Path

import pytest

from nas.errors import SpaceError, SpecError
from nas.paths import parse_settings
from nas.plain_yaml import read_yaml
from nas.search import SearchSpec, list_spaces, load_space
from nas.search.recorded import upgrade_spec

V0_1 = Path(__file__).parents[1] / "fixtures" / "v0_1"
MINIMAL = "base: lavit_digits\nparameters:\n  stages.0.split: {int: [1, 3]}\n"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "mine.yaml"
    path.write_text(MINIMAL)
    return path


def use(file: Path) -> None:
    spec = load_space(file)
    spec.space(spec.genome())


def refused(file: Path, text: str) -> SpecError:
    file.write_text(text)
    with pytest.raises(SpecError) as caught:
        use(file)
    assert caught.value.file == file or Path(str(caught.value.file)).name == file.name
    return caught.value


def test_a_space_in_three_lines(file: Path) -> None:
    spec = load_space(file)
    assert spec.name == "mine"
    assert spec.objectives == {"accuracy": "max", "macs": "min"}
    assert spec.sampler.name == "cost_aware"
    assert [p.path for p in spec.expanded()] == ["stages.0.split"]


def test_the_shipped_spaces() -> None:
    assert {"castling", "lavit_split", "mixed"} <= set(list_spaces())
    with pytest.raises(SpaceError, match=r"no space called 'lavit_spilt'.*did you mean lavit_split"):
        load_space("lavit_spilt")


@pytest.mark.parametrize(
    ("line", "path", "message"),
    [
        ("trails: 3", "trails", "unknown key.*did you mean trials"),
        ("trials: 0", "trials", "expected at least 1, found 0"),
        ("training: {epoch: 3}", "training.epoch", "did you mean epochs"),
        ("budget: {mac: 3}", "budget.mac", "did you mean macs"),
        ("budget: {macs: -3}", "budget.macs", "expected more than 0, found -3"),
        ("objectives: {acuracy: max}", "objectives.acuracy", "did you mean accuracy"),
        ("objectives: {accuracy: min}", "objectives.accuracy", "expected max"),
        ("sampler: tpee", "sampler.name", "did you mean tpe"),
        ("sampler: {name: gp, lags: 3}", "sampler.lags", "did you mean lag"),
        ("sampler: {name: random, population: 5}", "sampler.population", "the sampler random takes no.*allowed: lag"),
        ("sampler: {name: tpe, startup: 0}", "sampler.startup", "expected at least 1, found 0"),
        ("sampler: {name: [tpe]}", "sampler.name", "no sampler is called"),
        ("sampler: 3", "sampler", "expected the name of a sampler"),
        ("scheduler: halve", "scheduler.name", "did you mean halving"),
        ("scheduler: {name: full, first: 2}", "scheduler.first", "takes no 'first'; it has no options"),
        ("scheduler: {name: halving, factor: 1}", "scheduler.factor", "expected at least 2, found 1"),
        ("scheduler: {name: halving, first: 15}", "scheduler.first", "is the whole training of 15"),
        ("halving: {frist: 2}", "halving.frist", "did you mean first"),
        ("halving: 2", "halving", "expected a mapping such as"),
        ("halving: {first: 2}\nscheduler: full", "halving", "leave one of them out"),
        ("workers: {gpus: 1}", "workers.gpus", "did you mean gpu"),
    ],
)
def test_a_wrong_key_is_named_with_its_path(file: Path, line: str, path: str, message: str) -> None:
    error = refused(file, MINIMAL + line)
    assert error.path == path
    with pytest.raises(SpecError, match=message):
        raise error


@pytest.mark.parametrize(
    ("text", "path", "message"),
    [
        ("", "", "a space is a mapping"),
        ("- 1", "", "a space is a mapping"),
        ("parameters: {a: {choice: [1]}}", "base", "give a genome, or with `start:` a trained model"),
        ("base: x\nparameters: {}", "parameters", "at least 1"),
        ("base: lavit_digit\nparameters: {a: {choice: [1]}}", "base", "did you mean lavit_digits"),
        (
            "base: lavit_digits\nparameters: {stages.0.splt: {choice: [1]}}",
            "parameters.stages.0.splt",
            "did you mean split",
        ),
        ("base: lavit_digits\nparameters: {'a.{0,}': {choice: [1]}}", "parameters.a.{0,}", "expected braces"),
        ("base: !!python/object/apply:os.system ['true']\nparameters: 1", "", "tags are not read"),
        ("base: lavit_digits\nbase: x", "", "given twice"),
    ],
)
def test_a_space_that_is_none_is_refused(file: Path, text: str, path: str, message: str) -> None:
    error = refused(file, text)
    assert error.path == path
    with pytest.raises(SpecError, match=message):
        raise error


def test_settings_reach_any_key(file: Path) -> None:
    file.write_text(MINIMAL + "sampler: random\ntraining: {epochs: 5}\n")
    settings = "training.batch_size=16 budget.macs=2e8 sampler.lag=3 trials=7 data=cifar10"
    settings += " objectives={accuracy: max} parameters.stages.1.split={int: [1, 2]}"
    spec = load_space(file).with_settings(parse_settings([settings]))
    assert (spec.training.epochs, spec.training.batch_size, spec.budget.limits["macs"]) == (5, 16, 200_000_000)
    assert (spec.sampler.name, spec.sampler.lag, spec.trials, spec.data) == ("random", 3, 7, "cifar10")
    assert list(spec.objectives) == ["accuracy"]
    assert [p.path for p in spec.expanded()] == ["stages.0.split", "stages.1.split"]
    assert spec.name == "mine"


HALVING = {"name": "halving", "first": 2, "factor": 4}


@pytest.mark.parametrize(
    ("line", "settings", "scheduler"),
    [
        ("", [], {"name": "full"}),
        ("scheduler: full", [], {"name": "full"}),
        ("halving: null", [], {"name": "full"}),
        ("scheduler: halving", [], {"name": "halving", "first": None, "factor": 2}),
        ("scheduler: {name: halving, first: 2, factor: 4}", [], HALVING),
        ("halving: {first: 2, factor: 4}", [], HALVING),
        ("", ["halving.first=2", "halving.factor=4"], HALVING),
        ("scheduler: full", ["halving.first=2", "halving.factor=4"], HALVING),
        ("halving: {first: 1, factor: 4}", ["halving.first=2"], HALVING),
        ("halving: {first: 1, factor: 4}", ["scheduler.first=2"], HALVING),
        ("halving: {first: 1}", ["halving=null"], {"name": "full"}),
        ("halving: {first: 1}", ["scheduler=full"], {"name": "full"}),
    ],
)
def test_halving_is_short_for_a_scheduler(
    file: Path, line: str, settings: list[str], scheduler: dict[str, object]
) -> None:
    file.write_text(MINIMAL + line)
    spec = load_space(file).with_settings(parse_settings(settings))
    dumped = spec.model_dump(mode="json")
    assert dumped["scheduler"] == scheduler
    assert "halving" not in dumped
    assert SearchSpec.parse(dumped).scheduler == spec.scheduler


@pytest.mark.parametrize(("run", "space"), [("halving", "halving"), ("interrupted", "halving"), ("timed", "timed")])
def test_the_spec_of_a_run_of_version_0_1_in_todays_keys(run: str, space: str) -> None:
    record = read_yaml(V0_1 / run / "run.yaml")["spec"]
    upgraded = upgrade_spec(record)
    spec = load_space(V0_1 / f"{space}.yaml")
    settled = spec.sampler.model_copy(update={"lag": 2})
    assert upgraded["sampler"] == settled.model_dump(mode="json"), "without the population, which tpe does not have"
    assert upgraded["scheduler"] == spec.model_dump(mode="json")["scheduler"]
    later = SearchSpec.model_fields.keys() - upgraded.keys()
    assert later == {"start", "limits", "max_pixels", "track"}, "keys that came later"
    assert upgrade_spec(upgraded) == upgraded
    SearchSpec.parse(upgraded)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("training.epoch=3", "--set: training.epoch: unknown key.*did you mean epochs"),
        ("trials=many", "--set: trials: .*found 'many'"),
        ("base.x=1", r"--set: base.x: cannot be set: base is a string \('lavit_digits'\)"),
    ],
)
def test_a_wrong_setting_is_named(file: Path, setting: str, message: str) -> None:
    with pytest.raises(SpecError, match=message):
        load_space(file).with_settings(parse_settings([setting]))


def test_a_base_in_place_and_a_base_in_a_file_beside(file: Path) -> None:
    genome = (
        "{image: {size: 8, channels: 1}, classes: 10, stages: [{patch: 2, width: 32, heads: 2, depth: 2, split: 1}]}"
    )
    text = "parameters: {stages.0.split: {int: [1, 2]}}\nbase: "
    (file.parent / "own.yaml").write_text(genome)
    file.write_text(text + "own.yaml")
    beside = load_space(file).genome()
    file.write_text(text + genome)
    assert load_space(file).genome().hash == beside.hash


def test_a_space_survives_its_own_dump(file: Path) -> None:
    spec = load_space("lavit_split")
    assert SearchSpec.parse(spec.model_dump(mode="json")).model_dump() == spec.model_dump()
