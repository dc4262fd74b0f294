"""The benchmarks measure what they say: references equal our blocks, rows are complete, pages render. No timings."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from benchmarks import blocks_castling, blocks_less, convert_latency, cost, large_index, table
from benchmarks.contest import Contest, met, run_contest
from benchmarks.layers import Released, attentions, random_tokens
from benchmarks.machine import Setting, described
from benchmarks.measure import peak_bytes, ratio
from nas.convert.candidates import DEFAULT, KEEP, assembled, offered
from nas.genome import Genome
from nas.model.layer import Carry
from nas.profiling import LatencyTable
from nas.profiling.parts import parts

TINY = Setting(threads=1, seconds=0.01, least=3)


def test_the_released_form_is_our_layer() -> None:
    layer = attentions(16, 32, 2, [{"core": "linear_angular", "local": "depthwise"}])[0].eval()
    x_BNC = random_tokens(2, 16, 32)
    with torch.inference_mode():
        torch.testing.assert_close(Released(32, 2).load(layer)(x_BNC), layer(x_BNC, Carry())[0], rtol=1e-4, atol=1e-5)


def eager(contest: Contest) -> Contest:
    """Without the compiled contenders, which take a minute each to build."""
    kept = {name: build for name, build in contest.contenders.items() if "compiled" not in name}
    return Contest(contest.at, kept, contest.claims, contest.train, contest.training)


def test_every_claim_becomes_a_row() -> None:
    contests = blocks_less.contests(
        [blocks_less.Size(2, 16, 32, 2, 1.5)],
        [blocks_less.Size(2, 9, 32, 2, None)],
        [blocks_less.Size(2, 16, 32, 2, 0.9)],
    )
    contests.append(eager(blocks_castling.contest(blocks_castling.Size(2, 16, 32, 2, 1.4, None, 1.8))))
    for contest in contests:
        result = run_contest(contest, TINY)
        assert [row["what"] for row in result["rows"]] == [claim.what for claim in contest.claims]
        assert all(row["ratio"]["value"] > 0 for row in result["rows"])


@pytest.mark.parametrize(
    ("value", "bar", "upper", "expected"),
    [(1.5, 1.4, False, True), (1.3, 1.4, False, False), (1.9, 1.8, True, False), (1.0, None, False, None)],
)
def test_bars_are_held_to_the_median(value: float, bar: float | None, upper: bool, expected: bool | None) -> None:
    assert met(value, bar, upper) is expected


def test_ratio_and_memory() -> None:
    found = ratio([2.0, 2.2, 2.1], [1.0, 1.1, 1.05])
    assert found.value == pytest.approx(2.0)
    assert found.low <= found.value <= found.high
    assert peak_bytes(lambda: torch.empty(250_000), device="cpu") >= 1_000_000


def test_the_page_is_made_of_the_files(tmp_path: Path) -> None:
    file = {"group": "cost", "setting": TINY.label, "machine": described(TINY), "results": cost.run(TINY, count=20)}
    (tmp_path / "cpu-float32-cost.json").write_text(json.dumps(file))
    table.write(tmp_path, tmp_path / "page.md")
    assert "genomes per second" in (tmp_path / "page.md").read_text()


def test_a_layout_for_latency_is_the_products_choice(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a table by hand, in which linear layers take a third of the time of all others."""

    def table_of(genome: Genome, setting: Setting) -> LatencyTable:
        options = offered(genome, DEFAULT)
        models = [assembled(genome, {layer: name}, DEFAULT) for layer, names in options.items() for name in names]
        seconds = {key: 1.0 if "linear_angular" in key else 3.0 for each in models for key in parts(each).values()}
        return LatencyTable(seconds, "by hand", 1, 1)

    monkeypatch.setattr(convert_latency, "_table", table_of)
    found = convert_latency._chosen(convert_latency.Case(16, 0.667), TINY)
    assert len([name for name in found["layout"] if name not in (KEEP, "reuse")]) >= 4
    slow, fast = ["softmax", "reuse", "reuse_low_rank", "reuse_conv"], ["linear", "linear_local"]
    assert found["milliseconds"] == pytest.approx(dict.fromkeys(slow, 3000) | dict.fromkeys(fast, 1000))
    assert [row["bar"] is None for row in found["rows"]] == [False, True, True, True]
    assert found["rows"][1]["ratio"]["value"] == pytest.approx(16 / 24)


def test_a_large_set_without_files() -> None:
    raw = large_index.synthetic(2500, "large")
    assert raw.train.labels.tolist() == [0] * 1000 + [1] * 1000 + [2] * 500
    assert raw.train.original(2499, 3).shape == (3, 8, 8)
    assert raw.train.where(2499).startswith("/data/imagenet/train/n00000002/n00000002_")  # type: ignore[attr-defined]
    found = {10**7: {"index": 2**29, "epoch": 2**31, "seconds": [3.0, 4.0]}, 10**6: {"seconds": [1.0, 2.0, 0.5]}}
    made = {(row["what"], row["at"]): row["met"] for row in large_index.rows(found)}
    assert list(made.values()) == [True, None, False, None, None, True]
