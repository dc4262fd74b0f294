"""docs/search.md, held to the code: keys, names, options, and the YAML that it shows."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from nas.metrics import METRICS
from nas.plain_yaml import parse_yaml
from nas.search import SearchSpec
from nas.search.run import MAY_DIFFER
from nas.search.samplers import SAMPLERS
from nas.search.schedulers import SCHEDULERS
from nas.train import Training

PAGE = (Path(__file__).parents[2] / "docs" / "search.md").read_text()
SMALLEST = {"base": "lavit_digits", "parameters": {"stages.0.split": {"int": [1, 3]}}}


def test_every_key_sampler_scheduler_and_metric_is_named() -> None:
    named = set(re.findall(r"`(\w+)[:`]", PAGE))
    options = {key for kind in (SAMPLERS, SCHEDULERS) for name in kind for key in kind[name].Options.model_fields}
    assert {*SearchSpec.model_fields, *SAMPLERS, *METRICS, *options - {"name"}} - named == set()
    assert all(re.search(rf"name: {name}\b|scheduler: {name}\b", PAGE) for name in SCHEDULERS)


@pytest.mark.parametrize("text", re.findall(r"(?s)```yaml\n(.*?)```", PAGE))
def test_the_yaml_is_valid(text: str) -> None:
    spec = SearchSpec.parse(SMALLEST | parse_yaml(text))
    if spec.scheduler.name == "halving":
        assert SCHEDULERS["halving"](spec.scheduler, spec.training.epochs).rungs == [3, 9, 27]  # type: ignore[attr-defined]


def test_the_defaults_in_the_table_of_keys() -> None:
    spec = SearchSpec.parse(SMALLEST)
    for key in ("data", "sampler", "scheduler", "trials", "repeat", "keep", "seed"):
        value = getattr(spec, key)
        stated = re.search(rf"\| `{key}` \| `?(\w+)`? \|", PAGE)
        assert stated and stated[1] == str(getattr(value, "name", value)), key
    assert f"{Training().epochs} epochs" in PAGE


def test_which_metrics_can_be_budgets_and_which_keys_may_differ_in_a_continued_run() -> None:
    assert {name for name, metric in METRICS.items() if not metric.budget} == {"accuracy"}
    resumed = PAGE.split("## Interruptions")[1].split("may differ as well")[0]
    keys = {*SearchSpec.model_fields} | {f"training.{key}" for key in Training.model_fields}
    assert set(re.findall(r"`([\w.]+)`", resumed)) & keys == MAY_DIFFER
