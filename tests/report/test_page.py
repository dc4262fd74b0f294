"""The page of a run as a person uses it, in Chromium: hover, pin, brush, sort, filter, keyboard, phone, dark, print.

Every test leaves screenshots in its temporary directory.
"""

from __future__ import annotations

import pytest

from nas.engine import Ledger
from nas.report import write_report
from tests.report.browser import browser, opened
from tests.report.synthetic import add_trial, write_run

pytestmark = pytest.mark.xdist_group("browser")
PHONE = {"viewport": {"width": 420, "height": 800}, "has_touch": True, "is_mobile": True}


@pytest.fixture(scope="module")
def chromium():
    with browser() as started:
        yield started


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """24 complete trials, three that diverged far below them, and one of each other state."""
    directory = write_run(tmp_path_factory.mktemp("page") / "run")
    ledger = Ledger(directory)
    for _ in range(3):
        add_trial(ledger, "complete", accuracy=0.001, macs=300_000)
    add_trial(ledger, "pruned", accuracy=0.7, macs=250_000)
    return write_report(directory)


@pytest.fixture(scope="module")
def window(chromium, written):
    with opened(chromium, written) as tab:
        yield tab


@pytest.fixture
def tab(window):
    """The open page, as it was at first."""
    window.evaluate("""change({x: 'macs', y: 'accuracy', logx: false, robust: true, brush: null, filters: {},
                       hidden: [], pins: [], sort: null, down: false})""")
    window.evaluate("for (const field of document.querySelectorAll('#trials input')) field.value = ''")
    window.locator("#robust").check()
    return window


def rows(tab):
    return tab.locator("#trials tbody tr[data-row]")


def column(tab, name):
    place = tab.evaluate("name => columns.findIndex((column) => column.name === name) + 1", name)
    return tab.locator(f"#trials tbody tr[data-row] td:nth-child({place})").all_inner_texts()


def spot(tab, row):
    """Where in the window a trial is drawn."""
    return tab.evaluate(
        """(row) => {
            const place = element("chart-trials"), box = place.getBoundingClientRect();
            const {xaxis, yaxis} = place._fullLayout;
            const [x, y] = [at(byName[state.x], row), at(byName[state.y], row)];
            return [box.x + xaxis._offset + xaxis.d2p(x), box.y + yaxis._offset + yaxis.d2p(y)];
        }""",
        row,
    )


def test_hover_shows_a_trial_and_a_click_pins_it(tab, tmp_path):
    tab.locator("#chart-trials").scroll_into_view_if_needed()
    best = tab.evaluate("data.front[0]")
    tab.mouse.move(*spot(tab, best))
    tip = tab.locator("#tip")
    tip.wait_for(state="visible")
    assert f"trial {best:04d}" in tip.inner_text()
    assert "softmax" in tip.inner_text()  # the genome
    tab.wait_for_function(
        "row => element('chart-curves').data.some((trace) => trace.name === trialName(row))", arg=best
    )
    tab.screenshot(path=tmp_path / "hover.png")
    tab.mouse.click(*spot(tab, best))
    tab.locator("#pins .card").wait_for()
    worst = tab.evaluate("data.front.at(-1)")
    tab.mouse.click(*spot(tab, worst))
    assert tab.locator("#pins .card").count() == 2
    assert tab.locator("#pins .differs dd").count() > 0
    assert "nas.build(" in tab.locator("#pins .copy").first.get_attribute("title")
    tab.screenshot(path=tmp_path / "pinned.png", full_page=True)
    assert "pins" in tab.url  # what was chosen is in the address: a reload or a link shows it again


def test_a_brush_filters_the_table(tab, tmp_path):
    tab.locator("#chart-trials").scroll_into_view_if_needed()
    x, y = spot(tab, tab.evaluate("data.front[4]"))
    tab.mouse.move(x - 25, y + 25)
    tab.mouse.down()
    tab.mouse.move(x + 12, y - 12, steps=5)
    tab.mouse.up()
    tab.wait_for_function("state.brush !== null")
    assert 1 <= rows(tab).count() < 10
    assert "marked in the chart" in tab.locator("#shown").inner_text()
    tab.screenshot(path=tmp_path / "brush.png")
    tab.locator("#clear").click()
    assert tab.locator("#shown").inner_text() == "31 of 31 trials"


def test_the_table_sorts_and_filters(tab):
    tab.get_by_role("button", name="accuracy %").click()
    values = [float(text) for text in column(tab, "accuracy") if text != "–"]
    assert values == sorted(values)
    assert column(tab, "accuracy")[-1] == "–"  # missing values are last either way
    tab.get_by_role("button", name="accuracy %").click()
    values = [float(text) for text in column(tab, "accuracy") if text != "–"]
    assert values == sorted(values, reverse=True)
    tab.get_by_label("filter MACs").fill("200k..300k")
    assert all(200 <= float(text.split()[0]) <= 300 for text in column(tab, "macs"))
    tab.get_by_label("filter state").fill("complete")
    tab.wait_for_function("!element('chart-trials').data.some((trace) => trace.name === 'failed')")
    tab.get_by_label("filter MACs").fill("nonsense")
    assert rows(tab).count() == 0


def test_trials_that_diverged_do_not_squash_the_rest(tab):
    low, _ = tab.evaluate("element('chart-trials')._fullLayout.yaxis.range")
    assert low > 60
    assert tab.locator("#beyond").inner_text().startswith("3 outside")
    tab.locator("#robust").uncheck()
    tab.wait_for_function("element('chart-trials')._fullLayout.yaxis.range[0] < 1")


def test_every_state_has_its_own_shape_and_axes_can_be_chosen(tab):
    looks = tab.evaluate(
        "element('chart-trials').data.filter((trace) => trace.customdata).map((t) => [t.name, t.marker.symbol])"
    )
    shapes = dict(looks)
    assert shapes.keys() >= {"trial", "Pareto front", "infeasible", "failed", "running", "pruned", "base genome"}
    plain = [shape for name, shape in shapes.items() if name != "base genome"]
    assert len(set(plain)) == len(plain)
    tab.locator("#axis-x").select_option("throughput")
    tab.locator("#log-x").check()
    tab.wait_for_function("element('chart-trials')._fullLayout.xaxis.type === 'log'")
    tab.locator("#axis-x").select_option("stages.0.split")
    tab.wait_for_function("element('chart-trials')._fullLayout.xaxis.title.text === 's0.split'")


def test_the_keyboard_is_enough(tab):
    tab.locator("#chart-trials").focus()
    for key in ("ArrowRight", "ArrowRight", "Enter"):
        tab.keyboard.press(key)
    assert tab.locator("#pins .card").count() == 1
    tab.locator("#trials").focus()
    for key in ("ArrowDown", "ArrowDown", "Enter"):
        tab.keyboard.press(key)
    assert tab.locator("#pins .card").count() == 2
    assert tab.evaluate("document.activeElement.dataset.row") == "1"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_has_all_of_it(chromium, written, tmp_path, scheme):
    with opened(chromium, written, color_scheme=scheme, **PHONE) as tab:
        tab.evaluate("drawAll()")
        assert tab.evaluate("document.documentElement.scrollWidth") <= 420
        tab.screenshot(path=tmp_path / "phone.png", full_page=True)
        back, ink = tab.evaluate(
            "[getComputedStyle(document.body).backgroundColor, getComputedStyle(document.body).color]"
        )
        assert (sum(map(int, back[4:-1].split(","))) < sum(map(int, ink[4:-1].split(",")))) == (scheme == "dark")


def test_it_prints(chromium, written, tmp_path):
    with opened(chromium, written, color_scheme="dark") as tab:
        tab.emulate_media(media="print")
        tab.wait_for_function(
            "element('chart-trials')._fullLayout.font.color === '#1d2125'"
        )  # ink on paper, not on a dark screen
        tab.pdf(path=tmp_path / "report.pdf", format="A4")
        assert (tmp_path / "report.pdf").stat().st_size > 50_000
