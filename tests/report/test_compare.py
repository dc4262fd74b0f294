from __future__ import annotations

import numpy as np
import pytest

from nas.errors import RunError
from nas.files import write_text
from nas.plain_yaml import dump_yaml, parse_yaml
from nas.report.compare import differences, hypervolumes, write_comparison
from nas.report.run import read_run
from tests.report.browser import browser, opened
from tests.report.synthetic import write_run
from tests.report.test_report import Text


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pair")
    one, two = write_run(folder / "one"), write_run(folder / "two", trials=12, seed=1)
    facts = parse_yaml((two / "run.yaml").read_text())
    facts["spec"]["training"]["epochs"] = 8
    write_text(two / "run.yaml", dump_yaml(facts))
    return one, two


def test_the_page_has_fronts_and_what_differs(pair, tmp_path):
    page = write_comparison(pair, tmp_path / "both.html")
    text = Text(page.read_text())
    assert text.open == []
    for fact in ("one · two", "training.epochs 4 8", "share at the shortest run's compute"):
        assert fact in text.all
    assert "budget.macs" not in text.all  # equal in both


def test_only_keys_that_differ_are_named(pair):
    assert differences([read_run(path) for path in pair]) == [("training.epochs", ["4", "8"])]


def test_all_runs_have_one_reference_point(pair):
    """A run beside itself reaches what it reaches; the larger volume of two is not beyond what both reach."""
    one, two = (read_run(path) for path in pair)
    alike = hypervolumes([one, one], ["a", "b"], ["accuracy", "macs"])
    assert alike[0]["share"] == alike[1]["share"]
    assert alike[0]["share"][-1] == pytest.approx(1)
    for curve in hypervolumes([one, two], ["one", "two"], ["accuracy", "macs"]):
        assert (np.diff(curve["share"]) >= 0).all()
        assert 0 < curve["share"][-1] <= 1
        assert curve["seconds"] == sorted(curve["seconds"])


def test_what_cannot_be_compared_is_refused(pair, tmp_path):
    one, _ = pair
    with pytest.raises(RunError, match="named twice"):
        write_comparison([one, one], tmp_path / "page.html")
    other = write_run(tmp_path / "other", trials=2)
    facts = parse_yaml((other / "run.yaml").read_text())
    facts["spec"]["objectives"] = {"accuracy": "max", "latency": "min"}
    write_text(other / "run.yaml", dump_yaml(facts))
    with pytest.raises(RunError, match="fewer than two objectives in common"):
        write_comparison([one, other], tmp_path / "page.html")
    write_text(other / "run.yaml", dump_yaml(facts | {"kind": "ablation"}))
    with pytest.raises(RunError, match="an ablation has no front"):
        write_comparison([one, other], tmp_path / "page.html")
    assert not (tmp_path / "page.html").exists()


def test_in_a_browser(pair, tmp_path):
    page = write_comparison(pair, tmp_path / "both.html")
    with browser() as chromium, opened(chromium, page) as tab:
        looks = tab.evaluate(
            "element('chart-fronts').data.filter((t) => t.mode === 'markers').map((t) => [t.name, t.marker.symbol])"
        )
        assert [name for name, _ in looks] == ["one", "two"]
        assert looks[0][1] != looks[1][1]
        tab.locator("#axis-x").select_option("throughput")
        tab.wait_for_function("element('chart-fronts')._fullLayout.xaxis.title.text.includes('images')")
        tab.screenshot(path=tmp_path / "comparison.png", full_page=True)
