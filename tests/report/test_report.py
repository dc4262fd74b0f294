from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from nas.engine import Ledger
from nas.errors import RunError
from nas.plain_yaml import parse_yaml
from nas.report import plots, write_report
from nas.report.figures import drawings
from nas.report.run import read_run
from nas.search import SearchSpec
from tests.report.damaged import write_searched
from tests.report.synthetic import add_trial, write_facts, write_run
from tests.search.simulation import LAVIT, Simulation


class Text(HTMLParser):
    """The words of a page, and whether every tag is closed."""

    def __init__(self, html: str):
        super().__init__()
        self.words: list[str] = []
        self.open: list[str] = []
        self.feed(html)
        self.all = " ".join(" ".join(self.words).split())

    def handle_starttag(self, tag, attrs):
        if tag not in ("meta", "input"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)


def test_one_page_that_needs_no_other_file(tmp_path):
    page = write_report(write_run(tmp_path / "run"))
    html = page.read_text()
    text = Text(html)
    assert text.open == []
    assert re.findall(r"(?:src|href)=|https?://", html) == []
    for name in ("accuracy_macs", "accuracy_throughput", "hypervolume", "learning_curves"):
        with Image.open(page.parent / "figures" / f"{name}.png") as image:
            assert image.width > 600
            assert len(image.convert("RGB").getcolors(2**24)) > 10  # something is drawn
    for fact in ("24 complete", "1 failed", "torch 2.15.0", "base: lavit_digits", "softmax ×2, less", "nas.build("):
        assert fact in text.all


def test_text_of_a_run_is_never_markup(tmp_path):
    html = write_report(write_run(tmp_path / "run")).read_text()
    assert "&lt;loss&gt; is not finite" in html
    assert "<b>boom</b>" not in html


def test_a_run_without_a_complete_trial(tmp_path):
    directory = tmp_path / "run"
    write_facts(directory)
    add_trial(Ledger(directory), "running")
    text = Text(write_report(directory).read_text()).all
    assert "No trial has been trained to the end yet" in text
    assert "1 trial(s) have not ended" in text
    assert [drawing.name for drawing in drawings(read_run(directory))] == ["learning_curves"]


def test_trials_whose_directories_are_gone_are_named(tmp_path):
    directory = tmp_path / "run"
    write_facts(directory)
    ledger = Ledger(directory)
    for _ in range(4):
        add_trial(ledger, "complete", accuracy=0.9, macs=100_000)
    assert "without a directory" not in Text(write_report(directory).read_text()).all
    shutil.rmtree(directory / "trials" / "0001")
    assert "Trials without a directory: 0001. The same run" in Text(write_report(directory).read_text()).all


def test_a_run_without_any_trial(tmp_path):
    directory = tmp_path / "run"
    write_facts(directory)
    (directory / "trials").mkdir()
    assert "No trial has been made yet" in Text(write_report(directory).read_text()).all


def test_reporting_again_replaces_the_page(tmp_path):
    directory = write_run(tmp_path / "run")
    first = write_report(directory).read_text()
    assert write_report(directory).read_text() == first
    assert not list(directory.rglob("*.tmp"))


def test_nothing_is_written_into_what_is_not_a_run(tmp_path):
    with pytest.raises(RunError, match="not a run"):
        write_report(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_the_staircase_holds_accuracy_until_it_improves():
    front = pd.DataFrame({"macs": [3, 1, 2], "throughput": [1, 3, 2], "accuracy": [0.9, 0.5, 0.4]})
    steps = plots._staircase(front, "macs", "min")
    assert steps.to_numpy().tolist() == [[1, 0.5], [3, 0.5], [3, 0.9]]
    steps = plots._staircase(front, "throughput", "max")
    assert steps.to_numpy().tolist() == [[3, 0.5], [1, 0.5], [1, 0.9]]


def test_the_budget_is_drawn_and_close_labels_give_way():
    trials = pd.DataFrame(
        {"trial": [0, 1, 2], "state": "complete", "macs": [100, 101, 200], "accuracy": [0.5, 0.5001, 0.9]}
    ).assign(hash=["a", "b", "c"])
    axes = plots.accuracy_against("macs", trials, trials, limit=250, base="b").axes[0]
    assert [text.get_text() for text in axes.texts] == ["2", "1"]
    labels = [text.get_text() for text in axes.get_legend().get_texts()]
    assert labels == ["Pareto front", "base genome", "budget 250"]


def test_seven_curves_have_seven_looks():
    curve = np.array([[1, 0.1], [2, 0.2]])
    (axes,) = plots.learning_curves(dict.fromkeys(range(10), curve), plots.spread(range(10))).axes
    assert len({(line.get_color(), line.get_linestyle()) for line in axes.lines}) == 7
    (grey,) = axes.collections
    assert [segment.tolist() for segment in grey.get_segments()] == [[[1, 10], [2, 20]]] * 3


@pytest.mark.parametrize("ended", [False, True])
def test_a_report_needs_no_torch(tmp_path, ended):
    """It takes 500 MB and seconds to import; what a search wrote down is enough, also about winners."""
    run = tmp_path / "run"
    if ended:
        write_searched(run)
    else:
        Simulation(SearchSpec.parse(parse_yaml(LAVIT) | {"trials": 3}), run).run()
        write_facts(run)
    code = f"import sys; from nas.cli import app; app(['report', {str(run)!r}], standalone_mode=False)"
    tail = "; assert 'torch' not in sys.modules and 'pandas' in sys.modules"
    subprocess.run([sys.executable, "-c", code + tail], check=True, env=os.environ | {"PYTHONPATH": os.getcwd()})
    assert "softmax" in Text((run / "report.html").read_text()).all
