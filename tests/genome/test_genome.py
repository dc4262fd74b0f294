"""Genomes: YAML → Genome → YAML is the identity, edits reach every part, hashes see what training sees."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nas.blocks import registered
from nas.errors import GenomeError
from nas.genome import Genome, list_presets, load_genome
from nas.plain_yaml import parse_yaml

BASE = {
    "image": {"size": 16, "channels": 3},
    "classes": 4,
    "stages": [
        {"patch": 4, "width": 24, "heads": 3, "depth": 3, "split": 1},
        {"patch": 2, "width": 32, "heads": 2, "depth": 1},
    ],
}

numbers = st.floats(0, 10, allow_nan=False)
schedules = st.one_of(
    numbers,
    st.fixed_dictionaries({"start": numbers, "end": numbers}, optional={"shape": st.sampled_from(["linear", "step"])}),
)
less = st.fixed_dictionaries(
    {"block": st.just("less")},
    optional={
        "transform": st.sampled_from(["dense", "low_rank", "conv", "identity"]),
        "rank": st.integers(1, 8),
        "per_head": st.booleans(),
        "bias": st.booleans(),
    },
)
angular = st.fixed_dictionaries(
    {"block": st.just("linear_angular")}, optional={"constant": st.sampled_from(["own", "mean"])}
)
masked = st.fixed_dictionaries(
    {"block": st.just("masked_softmax")},
    optional={"epsilon": schedules, "weight": schedules, "top_k": st.integers(1, 9)},
)
local = st.one_of(
    st.just("depthwise"), st.fixed_dictionaries({"block": st.just("depthwise"), "dimensions": st.just(2)})
)
repeat = {"repeat": st.integers(1, 3)}
asking = st.fixed_dictionaries(
    {"core": st.one_of(st.just("softmax"), angular)}, optional={"auxiliary": masked, "local": local, **repeat}
)
reusing = st.fixed_dictionaries({"core": less}, optional={"local": local, **repeat})
baselines = st.fixed_dictionaries(  # those that take any grid, with a class token or without
    {"core": st.sampled_from(["relu_linear", "focused_linear", "hydra"])}, optional={"local": local, **repeat}
)
runs = st.tuples(asking, st.lists(st.one_of(asking, reusing, baselines), max_size=3)).map(
    lambda pair: [pair[0], *pair[1]]
)


@st.composite
def stages(draw: Any, first: bool) -> dict[str, Any]:
    heads = draw(st.sampled_from([1, 2, 4]))
    stage: dict[str, Any] = {"patch": 2 if first else draw(st.sampled_from([1, 2])), "width": 8 * heads, "heads": heads}
    stage |= {"mlp": draw(st.sampled_from(["plain", "depthwise", "relu_depthwise", "swiglu"]))}
    if stage["patch"] == 2 and draw(st.booleans()):
        stage |= {"kernel": 3}
    if draw(st.booleans()):
        return stage | {"layers": draw(runs)}
    depth = draw(st.integers(1, 4))
    stage |= {"depth": depth}
    return stage | ({"split": draw(st.integers(1, depth))} if draw(st.booleans()) else {})


newer = st.fixed_dictionaries(  # keys that 0.1 did not have; heads here are 8 wide
    {},
    optional={
        "position": st.sampled_from(["absolute", "grid", "none"]),
        "rotary": st.one_of(st.none(), st.fixed_dictionaries({"temperature": st.floats(2, 1e4)})),
        "registers": st.integers(0, 3),
        "embed_bias": st.booleans(),
        "norm_pre": st.booleans(),
        "last_norm": st.sampled_from(["tokens", "pooled"]),
        "norm_eps": st.sampled_from([1e-6, 1e-5]),
        "qk_norm": st.booleans(),
    },
)


@st.composite
def genomes(draw: Any) -> dict[str, Any]:
    found = [draw(stages(True))] + [draw(stages(False)) for _ in range(draw(st.integers(0, 2)))]
    overlap = any("kernel" in stage for stage in found[1:])
    return {
        "name": draw(st.sampled_from(["", "true", "1e3", "a: b", "off", "naïve"])),
        "image": {"size": 8, "channels": draw(st.integers(1, 4))},
        "classes": draw(st.integers(1, 20)),
        "stages": found,
        "merging": "plain" if overlap else draw(st.sampled_from(["plain", "normed"])),
        "drop_path": draw(st.sampled_from([0.0, 0.1, 1e-5])),
        "layer_scale": draw(st.sampled_from([None, 0.1])),
        "stem": draw(st.sampled_from(["patch", "conv"])),
        "embed_norm": draw(st.booleans()),
        "stage_norm": draw(st.booleans()),
        "pool": draw(st.sampled_from(["mean", "token", "patches"])),
        **draw(newer),
        "loss": {"diagonal": {"variant": draw(st.sampled_from(["off", "hinge"])), "weight": draw(st.floats(0, 1))}},
    }


@settings(max_examples=60, deadline=None)
@given(genomes())
def test_yaml_round_trip_is_the_identity(data: dict[str, Any]) -> None:
    genome = Genome.parse(data)
    text = genome.to_yaml()
    again = Genome.from_yaml(text)
    assert again == genome
    assert again.to_yaml() == text
    assert again.hash == genome.hash


@settings(max_examples=30, deadline=None)
@given(genomes())
def test_hash_ignores_names_and_shorthand_and_sees_the_rest(data: dict[str, Any]) -> None:
    genome = Genome.parse(data)
    assert genome.edit({"name": "other", "notes": "n"}).hash == genome.hash
    written_out = Genome.parse(genome.model_dump(mode="json"))
    assert written_out.hash == genome.hash
    assert genome.edit({"classes": genome.classes + 1}).hash != genome.hash


def test_split_is_shorthand_for_runs() -> None:
    stage = {"patch": 4, "width": 24, "heads": 3}
    short = Genome.parse(BASE | {"stages": [stage | {"depth": 6, "split": 2}]})
    for layers in (
        ["softmax x 2", "less x 4"],
        "softmax × 2, less × 4",
        [{"core": "softmax", "repeat": 2}, *["less"] * 4],
    ):
        assert Genome.parse(BASE | {"stages": [stage | {"layers": layers}]}).hash == short.hash


@pytest.mark.parametrize("name", list_presets())
def test_presets_load_and_say_what_they_are(name: str) -> None:
    genome = load_genome(name)
    assert genome.name == name
    assert Genome.from_yaml(genome.to_yaml()) == genome


@pytest.mark.parametrize(
    ("changes", "check"),
    [
        ({"stages.0.split": 2}, lambda g: g.stages[0].split == 2),
        ({"stages.*.heads": 1}, lambda g: [s.heads for s in g.stages] == [1, 1]),
        ({"stages.0.tail": "less", "stages.0.tail.transform": "conv"}, lambda g: g.stages[0].tail.transform == "conv"),
        ({"stages.0.local": "depthwise", "stages.0.local.kernel": 5}, lambda g: g.stages[0].local.kernel == 5),
        ({"loss.diagonal.variant": "hinge"}, lambda g: g.loss.diagonal.active),
        (
            {"stages.1.auxiliary": "masked_softmax", "stages.1.auxiliary.epsilon.end": 1.0},
            lambda g: g.stages[1].auxiliary.epsilon.value(1.0) == 1.0,
        ),
    ],
)
def test_edits(changes: dict[str, Any], check: Any) -> None:
    genome = Genome.parse(BASE)
    assert check(genome.edit(changes))
    assert genome == Genome.parse(BASE)


def test_an_edit_of_one_run_leaves_the_others() -> None:
    genome = load_genome("mixed_digits").edit({"stages.1.layers.2.core": "less", "stages.1.layers.2.core.rank": 3})
    assert [run.core.block for run in genome.stages[1].layers or ()] == ["softmax", "softmax", "less", "softmax"]
    assert genome.stages[1].layers[2].core.rank == 3  # type: ignore[index,attr-defined]


STAGE: dict[str, Any] = {"patch": 4, "width": 24, "heads": 3, "depth": 2}
BAD = {
    "unknown key": ({"stages": [STAGE | {"hedas": 3}]}, "stages.0.hedas", "did you mean heads"),
    "misspelt block": ({"stages": [STAGE | {"core": "sofmax"}]}, "stages.0.core", "did you mean softmax"),
    "unknown option": (
        {"stages": [STAGE | {"core": {"block": "less", "ranks": 3}}]},
        "stages.0.core.ranks",
        "did you mean rank",
    ),
    "bad option value": (
        {"stages": [STAGE | {"tail": {"block": "less", "rank": 0}, "split": 1}]},
        "stages.0.tail.rank",
        "found 0",
    ),
    "heads": ({"stages": [STAGE | {"heads": 5}]}, "stages.0.heads", "do not divide width 24"),
    "image size": ({"image": {"size": 18}}, "stages.0.patch", "does not divide the side 18"),
    "no scores": ({"stages": [STAGE | {"split": 0}]}, "stages.0.tail", "none"),
    "layers twice": ({"stages": [STAGE | {"layers": ["softmax"]}]}, "stages.0.depth", "`layers` lists"),
    "split beyond depth": ({"stages": [STAGE | {"split": 3}]}, "stages.0.split", "more than depth 2"),
    "auxiliary without q": (
        {
            "stages": [
                {k: v for k, v in STAGE.items() if k != "depth"}
                | {"layers": ["softmax", {"core": "less", "auxiliary": "masked_softmax"}]}
            ]
        },
        "stages.0.layers.1.auxiliary",
        "less projects v",
    ),
    "even kernel": (
        {"stages": [STAGE | {"local": {"block": "depthwise", "kernel": 4}}]},
        "stages.0.local.kernel",
        "odd",
    ),
    "run text": (
        {"stages": [{"patch": 4, "width": 24, "heads": 3, "layers": ["softmax x two"]}]},
        "stages.0.layers.0",
        "softmax x 2",
    ),
    "not a number": ({"stages": [STAGE | {"width": "wide"}]}, "stages.0.width", "'wide'"),
    "stem of odd patches": (
        {"image": {"size": 12}, "stem": "conv", "stages": [STAGE | {"patch": 3}]},
        "stages.0.patch",
        "2, 4, 8, 16, ..., found 3",
    ),
    "stem without a convolution": (
        {"stem": "conv", "stages": [STAGE | {"patch": 1}]},
        "stages.0.patch",
        "found 1",
    ),
    "stem without channels": (
        {"stem": "conv", "stages": [STAGE | {"patch": 8, "width": 3}]},
        "stages.0.width",
        "at least 4",
    ),
    "stem with a kernel": ({"stem": "conv", "stages": [STAGE | {"kernel": 7}]}, "stages.0.kernel", "remove `kernel`"),
    "no hidden channels": ({"stages": [STAGE | {"mlp_ratio": 0.04}]}, "stages.0.mlp_ratio", "0.04 of width 24"),
    "one score to normalise": (
        {
            "stages": [
                STAGE | {"patch": 8, "heads": 1},
                {"patch": 2, "width": 8, "heads": 1, "depth": 1, "attention_residual": "flat"},
            ]
        },
        "stages.1.attention_residual",
        "a single one",
    ),
    "missing": ({"stages": [{"width": 24, "heads": 3, "depth": 1}]}, "stages.0.patch", "required"),
}


@pytest.mark.parametrize("case", BAD)
def test_mistakes_name_key_path_and_what_is_allowed(case: str) -> None:
    change, path, hint = BAD[case]
    with pytest.raises(GenomeError) as caught:
        Genome.parse(BASE | change, file="g.yaml")
    message = str(caught.value)
    assert message.startswith(f"g.yaml: {path}: ") and hint in message, message


@pytest.mark.parametrize(
    ("changes", "path"),
    [
        ({"stages.7.split": 1}, "stages.7.split"),
        ({"stages.0.local.kernel": 3}, "stages.0.local.kernel"),
        ({"stages.0.splt": 1}, "stages.0.splt"),
        ({"loss.diagonal.variant": "prnted"}, "loss.diagonal.variant"),
    ],
)
def test_bad_edits_name_their_path(changes: dict[str, Any], path: str) -> None:
    with pytest.raises(GenomeError, match=path.replace(".", r"\.")):
        Genome.parse(BASE).edit(changes)


def test_json_schema_lists_blocks_and_fields() -> None:
    schema = Genome.model_json_schema()
    text = str(schema)
    assert all(name in text for name in registered("core"))
    assert {"stages", "image", "loss"} <= set(schema["properties"])


def test_yaml_reads_scalars_as_people_mean_them() -> None:
    assert parse_yaml("a: off\nb: 1e-3\nc: true\nd: 12") == {"a": "off", "b": 0.001, "c": True, "d": 12}


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        ({"stages.0.depth": 2_000_000}, "stages.0.depth: .* 1,000"),
        ({"stages.0.layers": ["softmax x 600", "less x 600"]}, "stages.0.layers: .*at most 1000 layers"),
        ({"stages.0.width": 10**18}, "stages.0.width: .* 65,536"),
        ({"classes": 10**12}, "classes: .* 1000000"),
    ],
)
def test_counts_are_bounded_before_anything_is_laid_out(edit, message):
    base = {"image": {"size": 8, "channels": 1}, "stages": [{"patch": 1, "width": 8, "heads": 1}]}
    settings = {"stages.0.depth": 1} | edit
    if "stages.0.layers" in edit:
        del settings["stages.0.depth"]
    for path, value in settings.items():
        *parents, last = path.split(".")
        target = base["stages"][0] if parents else base
        target[last] = value
    with pytest.raises(GenomeError, match=message):
        Genome.parse(base)


def test_positions_that_a_core_cannot_take_are_refused() -> None:
    genome = load_genome("pvt_micro_32")
    with pytest.raises(GenomeError, match=r"stages\.0\.core: spatial_reduction makes its keys itself.*rotary"):
        genome.edit({"rotary": {}})
    with pytest.raises(GenomeError, match=r"stages\.0\.core: spatial_reduction makes its keys itself.*qk_norm"):
        genome.edit({"qk_norm": True})
    with pytest.raises(GenomeError, match=r"stages\.1\.kernel: .*do not overlap"):
        load_genome("pvt_v2_b0").edit({"merging": "normed"})
    with pytest.raises(GenomeError, match=r"stages\.0\.heads: .*that 4 divides, found 6"):
        Genome.parse({"rotary": {}, "stages": [{"patch": 16, "width": 12, "heads": 2, "depth": 1}]})


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("m.pt2", "an exported model, which cannot be read back"),
        ("m.onnx", "an exported model, which cannot be read back"),
        ("m.safetensors", "weights alone"),
        ("folder", "a folder"),
        ("local-dir:folder", "a model of timm or torchvision"),
        ("timm:resnet18@w.pth", "a model of timm or torchvision"),
    ],
)
def test_a_model_of_another_form_is_called_what_it_is(
    name: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for file in ("m.pt2", "m.onnx", "m.safetensors"):
        (tmp_path / file).write_bytes(b"PK\x03\x04\xff\xfe")
    (tmp_path / "folder").mkdir()
    with pytest.raises(GenomeError, match=said) as caught:
        load_genome(name)
    assert "expected a genome: a .yaml file, or a preset's name" in str(caught.value)
