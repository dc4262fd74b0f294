"""Figures for papers: one function each, as PNG, SVG and PDF, from published runs and from small ones."""

from __future__ import annotations

import re
import shutil
from itertools import pairwise
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.figure import Figure

import nas
from nas.cli import app
from nas.engine import Ledger
from nas.errors import RunError, SpecError
from nas.report.mask import mask_curves
from nas.report.plots import look
from tests.report.synthetic import add_trial, write_facts, write_run

PUBLISHED = Path(__file__).parents[2] / "results" / "published"
SEARCH, CONVERSION = PUBLISHED / "cifar10-search-mixed", PUBLISHED / "cifar10-repaired"
ABLATION = PUBLISHED / "cifar10-castling_mask"


@pytest.mark.parametrize(
    ("run", "draw"),
    [
        *((SEARCH, name) for name in ("front", "hypervolume")),
        *((CONVERSION, name) for name in ("front", "sensitivity", "repair")),
        *((ABLATION, name) for name in ("arms", "mask")),
    ],
)
def test_each_figure_of_a_published_run_is_one_function(run: Path, draw: str) -> None:
    figure = getattr(nas.plots, draw)(str(run))
    assert isinstance(figure, Figure) and all(axes.has_data() for axes in figure.axes)


def test_a_front_over_another_cost(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run")
    assert nas.plots.front(run).axes[0].get_xlabel().startswith("MACs")
    assert nas.plots.front(run, "params").axes[0].get_xlabel() != nas.plots.front(run).axes[0].get_xlabel()
    (bars,) = nas.plots.importances(run).axes
    assert [label.get_text() for label in bars.get_yticklabels()] == [
        "stages.0.split"
    ] and "24 trials" in bars.get_xlabel()
    assert len(nas.plots.learning_curves(run).axes[0].get_legend_handles_labels()[0]) > 1
    with pytest.raises(RunError, match=r"have no 'latency'"):
        nas.plots.front(run, "latency")


def test_all_are_written_as_text_without_a_date_and_twice_the_same(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", trials=6)
    app(["report", str(run), "--figures"], standalone_mode=False)
    names = {"accuracy_macs", "accuracy_throughput", "hypervolume", "learning_curves"}
    written = {file.name for file in (run / "figures").iterdir()}
    assert written == {f"{name}.{end}" for name in names for end in ("png", "svg", "pdf")}
    svg, pdf = (run / "figures" / f"accuracy_macs.{end}" for end in ("svg", "pdf"))
    for file in (svg, pdf):
        again = nas.plots.save(nas.plots.front(run), tmp_path / f"again{file.suffix}")
        assert file.read_bytes() == again.read_bytes()
    assert re.search(r"<text[^>]*>validation accuracy \(%\)</text>", svg.read_text())
    assert "dc:date" not in svg.read_text()
    assert b"/CreationDate" not in pdf.read_bytes() and b"/FontFile2" in pdf.read_bytes()
    assert b"/Type3" not in pdf.read_bytes()


def test_a_published_ablation_gets_figures_beside_its_table(tmp_path: Path) -> None:
    run = shutil.copytree(ABLATION, tmp_path / "run")
    written = nas.write_report(run, figures=True)
    names = ["table.md", "table.tex", "table.html", "arms.svg", "arms.pdf", "mask.svg", "mask.pdf"]
    assert [file.name for file in written] == names


@given(st.integers(2, 40), st.integers(0, 400))
def test_no_two_arms_share_colour_and_dash(count: int, first: int) -> None:
    looks = [look(first + number) for number in range(count)]
    assert len({(each["color"], each["linestyle"]) for each in looks}) == count
    assert all(one["marker"] != two["marker"] for one, two in pairwise(looks))


def test_no_two_arms_of_a_drawn_figure_share_colour_and_dash() -> None:
    rows = [(f"arm {arm:02}", epoch, 0.5, 0.4, 0.4) for arm in range(40) for epoch in (1, 2)]
    figure = mask_curves(
        pd.DataFrame(rows, columns=["arm", "epoch", "mask_mass", "accuracy_with_auxiliary", "accuracy"])
    )
    lines = [line for line in figure.axes[0].lines if str(line.get_label()).startswith("arm")]
    assert len({(line.get_color(), str(line._unscaled_dash_pattern)) for line in lines}) == 40  # type: ignore[attr-defined]


def test_what_has_no_figure_says_why(tmp_path: Path) -> None:
    for name in nas.plots.__all__:
        if name != "save":
            with pytest.raises(RunError, match="not a run"):
                getattr(nas.plots, name)(tmp_path / "nothing")
    write_facts(tmp_path / "begun")
    (tmp_path / "begun" / "trials").mkdir()
    for name, said in (
        ("front", "no trial has been trained"),
        ("hypervolume", "fewer than two"),
        ("importances", "fewer than 16"),
        ("arms", "search"),
    ):
        with pytest.raises(RunError, match=said):
            getattr(nas.plots, name)(tmp_path / "begun")
    with pytest.raises(RunError, match="no figure to write"):
        nas.write_report(tmp_path / "begun", figures=True)
    add_trial(Ledger(tmp_path / "begun"), "running")
    assert nas.plots.learning_curves(tmp_path / "begun").axes[0].has_data()
    with pytest.raises(RunError, match=r"only a conversion has sensitivity\.csv, and this is a search"):
        nas.plots.sensitivity(SEARCH)
    with pytest.raises(RunError, match="masked-softmax"):
        nas.plots.mask(PUBLISHED / "cifar10-lavit_parts")
    with pytest.raises(SpecError, match=r"\.svg, \.pdf or \.png"):
        nas.plots.save(nas.plots.front(SEARCH), tmp_path / "front.jpg")
