"""The reference: every key is described, and the JSON Schemas accept what is valid. CITATION.cff."""

from __future__ import annotations

import json
import runpy
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

import nas
from nas.plain_yaml import parse_yaml, read_yaml
from nas.report.schemas import SCHEMAS

ROOT = Path(__file__).parents[2]
VALID = {
    "genome": [*sorted((ROOT / "nas/genome/presets").glob("*.yaml")), ROOT / "nas/cli/starters/genome.yaml"],
    "space": [*sorted((ROOT / "search_spaces").glob("*.yaml")), ROOT / "nas/cli/starters/space.yaml"],
    "ablation": sorted((ROOT / "ablations").glob("*.yaml")),
}
MORE = {
    "genome": "{classes: 2, stages: [{patch: 4, width: 8, heads: 1, layers: 'softmax x 2, less x 4'}]}",
    "space": "{base: lavit_digits, parameters: {drop_path: {float: [0, 1]}}, halving: {first: 2}, sampler: tpe}",
    "conversion": "{start: w.yaml, budget: {macs: 0.8x, latency: 5}, candidates: {r: {core: less}}, compare: [last]}",
}
WRONG = {
    "genome": "{classes: 2, stages: [{patch: 4, width: 8, heads: 1, depht: 2}]}",
    "space": "{base: lavit_digits, parameters: {drop_path: {float: [0, 1]}}, sampler: {name: tpe, pool: 3}}",
    "ablation": "{base: castling_digits, arms: {a: {}}, design: all}",
    "conversion": "{start: w.yaml, library: {rounds: none}}",
}


@pytest.fixture(scope="module")
def validators() -> dict[str, Draft202012Validator]:
    schemas = {kind: model.model_json_schema() for kind, model in SCHEMAS.items()}
    for schema in schemas.values():
        Draft202012Validator.check_schema(schema)
    return {kind: Draft202012Validator(schema) for kind, schema in schemas.items()}


def test_schemas_accept_what_is_valid_and_nothing_else(validators: dict[str, Draft202012Validator]) -> None:
    for kind, files in VALID.items():
        for file in files:
            assert [error.message for error in validators[kind].iter_errors(read_yaml(file))] == [], file
    for kind, text in MORE.items():
        assert [error.message for error in validators[kind].iter_errors(parse_yaml(text))] == [], kind
    for kind, text in WRONG.items():
        assert not validators[kind].is_valid(parse_yaml(text)), kind


@pytest.fixture(scope="module")
def reference() -> dict[str, Any]:
    return runpy.run_path(str(ROOT / "docs" / "reference.py"))


def test_every_key_is_described_and_on_a_page(reference: dict[str, Any]) -> None:
    shown = {heading for page in reference["PAGES"] for heading, _ in reference["definitions"](page)}
    for kind, model in SCHEMAS.items():
        schema = model.model_json_schema()
        for name, part in {"Keys": schema, **schema["$defs"]}.items():
            keys = reference["properties"](part)
            assert [key for key, value in keys.items() if not ({"description", "const"} & set(value))] == [], (
                kind,
                name,
            )
            assert reference["title_of"](name, part) in shown, (kind, name)


def test_the_pages_have_types_defaults_and_ranges(reference: dict[str, Any]) -> None:
    page = reference["keys_page"]
    assert "| `epochs` | whole number | `15` | ≥ 1, ≤ 1,000,000 | passes over the training images |" in page("training")
    assert "| `stages` | list of [Stage](#stage) | required |" in page("genome")
    assert "`trials` | whole number | `32` | ≥ 1, ≤ 1,000,000 |" in page("space")
    assert "## less {#less}" in page("blocks") and "## tpe {#tpe}" in page("space")
    assert "`metrics_sha256`" in reference["files_page"]()
    assert all(f"heading: nas.{name}\n" in reference["python_page"]() for name in nas.__all__)


def test_init_names_the_schema_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from nas.cli import app
    from nas.report.catalogue import headline

    monkeypatch.chdir(tmp_path)
    app(["init", "space"], standalone_mode=False)
    first, *_ = (tmp_path / "my_space.yaml").read_text().splitlines()
    assert first == "# yaml-language-server: $schema=space.schema.json"
    assert headline(tmp_path / "my_space.yaml").startswith("A search space")
    written = json.loads((tmp_path / "space.schema.json").read_text())
    capsys.readouterr()
    app(["schema", "space"], standalone_mode=False)
    assert json.loads(capsys.readouterr().out) == written
    assert Draft202012Validator(written).is_valid(read_yaml(tmp_path / "my_space.yaml"))


def test_citation() -> None:
    """The keys that CFF 1.2.0 requires, and the version of the package."""
    found = read_yaml(ROOT / "CITATION.cff")
    assert found["cff-version"] == "1.2.0" and {"message", "title", "authors"} <= set(found)
    assert found["authors"] == [{"name": "The nas-vit authors"}] and found["type"] == "software"
    assert found["version"] == nas.__version__ and found["license"] == "Apache-2.0"
    assert f"version = {{{nas.__version__}}}" in (ROOT / "docs" / "cite.md").read_text()
