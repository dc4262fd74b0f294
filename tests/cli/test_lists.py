"""What `nas` says of itself and of what there is: version, completion, lists, files to start from, stacks, picks."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import nas as package
from nas.ablation import load_ablation
from nas.blocks.base import BLOCKS
from nas.genome import list_presets, load_genome
from nas.plain_yaml import parse_yaml
from nas.profiling import cost
from nas.search import SearchSpec, list_spaces, load_space
from nas.shipped import ABLATIONS

PUBLISHED = Path(__file__).parents[2] / "results" / "published"


def test_version(nas):
    assert nas("--version").out == f"nas {package.__version__}\n"


@pytest.mark.parametrize(
    ("words", "names"),
    [
        ("nas search mi", ["mixed"]),
        ("nas ablate lavit_pl", ["lavit_plugin", "lavit_plugin_32"]),
        ("nas cost deit_t", ["deit_tiny"]),
        ("nas report mi", ["mine"]),
        ("nas sea", ["search"]),
    ],
)
def test_the_shell_completes_names_without_torch(tmp_path: Path, words: str, names: list[str]) -> None:
    (tmp_path / "results" / "mine").mkdir(parents=True)
    (tmp_path / "results" / "mine" / "run.yaml").touch()
    code = "import sys, nas.cli\ntry: nas.cli.main()\nfinally: assert 'torch' not in sys.modules"
    asked = {"_NAS_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": str(words.count(" "))}
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.argv = ['nas']\n{code}"],
        cwd=tmp_path, env=os.environ | asked, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.stdout.split(), done.stderr) == (names, "")


def test_lists_have_a_line_about_each(nas):
    found = {verb: json.loads(nas(verb, "--json").out) for verb in ("spaces", "ablations", "presets", "blocks")}
    names = {verb: [entry["name"] for entry in entries] for verb, entries in found.items()}
    assert names["spaces"] == list_spaces()
    assert names["ablations"] == list(ABLATIONS.files)
    assert names["presets"] == list_presets()
    assert sorted(names["blocks"]) == sorted(name for registry in BLOCKS.values() for name in registry)
    for verb, entries in found.items():
        assert all(len(entry["about"]) > 10 and "\n" not in entry["about"] for entry in entries), verb
        table = nas(verb).out
        assert all(name in table for name in names[verb])
    claims = {entry["name"]: entry["about"] for entry in found["ablations"]}
    assert claims["lavit_parts"] == load_ablation("lavit_parts").claim
    lavit = next(entry for entry in found["spaces"] if entry["name"] == "lavit_split")
    assert lavit["about"].startswith("LaViT (CVPR 2024): how early") and lavit["about"].endswith("help?")


def test_lists_have_the_users_own(nas, tmp_path):
    for folder, text in (("search_spaces", "# Mine. More of it.\na: 1\n"), ("ablations", "a: [\n")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "mine.yaml").write_text(text)
    assert "mine         Mine." in re.sub(" *\n", "\n", nas("spaces").out)
    assert re.search(r"mine +not readable: line 2", nas("ablations").out)
    os.mkfifo(tmp_path / "search_spaces" / "pipe.yaml")
    assert re.search(r"pipe +not readable: a pipe or a device", nas("spaces").out)


@pytest.mark.parametrize("kind", ["space", "genome"])
def test_what_init_writes_is_valid_and_so_is_every_key_that_it_offers(nas, tmp_path, kind):
    answer = nas("init", kind)
    file = tmp_path / f"my_{kind}.yaml"
    assert answer.code == 0 and f"my_{kind}.yaml" in answer.out
    text = file.read_text()
    offered = re.sub("^#:(?! |$)", "", text, flags=re.MULTILINE)
    assert offered.count("\n#") < text.count("\n#") - 4
    for written in (text, offered):
        file.write_text(written)
        if kind == "space":
            space = load_space(file)
            assert space.space(space.genome()).parameters
        else:
            assert load_genome(file).classes == 10
    again = nas("init", kind)
    assert again.code == 2 and "not overwritten" in again.err
    assert file.read_text() == offered
    assert nas("init", kind, "here.txt").code == 2
    assert json.loads(nas("init", kind, "new/mine.yml", "--json").out)["file"] == "new/mine.yml"


def test_defaults_that_the_space_offers_are_the_defaults(nas, tmp_path):
    nas("init", "space")
    lines = re.findall(r"^#:(\w+: .*)$", (tmp_path / "my_space.yaml").read_text(), re.MULTILINE)
    offered = {key: value for line in lines for key, value in parse_yaml(line).items()}
    fields = SearchSpec.model_fields
    assert {key for key in ("repeat", "keep", "seed") if offered[key] != fields[key].default} == set()
    assert offered["sampler"] == fields["sampler"].default.name


def test_show_draws_the_stack(nas):
    lines = nas("show", "lavit_digits").out.splitlines()
    total = cost("lavit_digits")
    assert len(lines) == 1 + len(total.layers) + 2 + 1  # heading, stages, total
    cores = [line.split()[1] for line in lines if "layers." in line]
    assert cores == ["softmax", "softmax", "less", "softmax", "softmax", "less", "less"]
    assert "4×4 tokens, width 32, 2 heads" in lines[1]
    found = json.loads(nas("show", "lavit_digits", "--json").out)
    assert [layer["macs"] for layer in found["genomes"][0]["layers"]] == [layer.macs for layer in total.layers]


def test_show_times_each_layer(nas):
    found = json.loads(nas("show", "lavit_digits", "castling_digits", "--time", "--device", "cpu", "--json").out)
    assert found["timing"]["threads"] == 1 and found["timing"]["batch_size"] == 1
    for genome in found["genomes"]:
        assert all(row["seconds"] > 0 for row in genome["layers"] if not row["name"].endswith(".residual"))
    first = sum(row["seconds"] for row in found["genomes"][0]["layers"])
    assert first > 0.2 * found["timing"]["median_seconds"], "the rows are parts of the whole"
    lines = nas("show", "lavit_digits", "--time", "--device", "cpu").out.splitlines()
    assert lines[0].split()[-1] == "ms" and "ms: a batch of 1, cpu, float32, 1 thread" in lines[-1]


def test_show_compares_two_genomes(nas):
    answer = nas("show", "lavit_digits", "lavit_digits", "--set", "stages.1.split=3 drop_path=0.1 stages.0.heads=4")
    marked = [line.split()[0] for line in answer.out.splitlines() if "≠" in line]
    assert marked == ["stages.0", "layers.2"]
    assert sorted(answer.out.splitlines()[-2:]) == ["drop_path: 0.0 → 0.1", "stages.0.heads: 2 → 4"]
    assert "all other keys are equal" in nas("show", "lavit_digits", "lavit_digits").out
    every = json.loads(nas("show", "lavit_digits", "castling_digits", "--json").out)
    assert every["differences"] == [{"path": "qkv_bias", "old": True, "new": False}]
    assert nas("show", "lavit_digits", "pvt_tiny").code == 0  # other stages


def test_pick_names_the_winner_and_how_to_load_it(nas):
    run = PUBLISHED / "cifar10-search-mixed"
    answer = nas("pick", run, "macs=17_000_000", "throughput=1000")
    assert answer.out.startswith("w2-0005: accuracy 34.90 %, 16.6 M MACs, 642 k params, 1,037 images/s; test 35.91 %\n")
    assert "not kept" in answer.out  # published runs have no weights
    for limits, message in {
        ("macs=1000",): "no winner is within the limits; the nearest, w4-0007: macs 16,024,832 is over",
        ("run=1",): "limits: run: unknown key",
        ("macs",): "limits: expected KEY=VALUE, found 'macs'",
        ("macs=1 macs=2",): "limits: macs: is set twice",
    }.items():
        refused = nas("pick", run, *limits)
        assert (refused.code, refused.out) == (2, "")
        assert message in refused.err
