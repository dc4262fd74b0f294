"""The page of a run of 10,000 trials, in headless Chromium: its size, how soon it is open, how fast it filters.

The run is that of large_run.py. Open means: from the address to the chart of all trials, drawn, with the table; the
charts below follow while the reader looks. To filter means: from a changed filter to the frame that shows the table;
the chart of all trials follows, and has a figure of its own. Seconds are of the clock, the median over `OPENED`
openings and over the filters of each. The browser has no graphics card: WebGL runs on the processor (SwiftShader).

Needed: Chromium on PATH, and Playwright (the extra `test`).
"""

from __future__ import annotations

import shutil
import statistics
import time
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.contest import met
from benchmarks.large_run import _REPORT, _in_a_process, _in_python, make
from benchmarks.machine import Setting
from benchmarks.simulated import scratch

TRIALS, OPENED = 10_000, 5
FILTERS = (
    '{filters: {accuracy: ">80"}}',
    '{filters: {layers: "less"}}',
    '{filters: {macs: "900k..950k", state: "complete"}}',
    '{filters: {}, hidden: ["failed"]}',
    "{filters: {}, hidden: []}",
)
_FLAGS = ["--no-sandbox", "--enable-unsafe-swiftshader"]
_TIMED = """async () => {
    const place = element("chart-trials"), drawn = new Promise((resolve) => place.once("plotly_afterplot", resolve));
    const frame = () => new Promise((resolve) => requestAnimationFrame(() => setTimeout(resolve)));
    const begin = performance.now();
    change(CHANGES);
    await frame();
    const table = performance.now() - begin;
    await drawn;
    await frame();
    return [table, performance.now() - begin];
}"""


def run(setting: Setting, trials: int = TRIALS) -> list[dict[str, Any]]:
    """One result with a row for each bar."""
    with scratch() as folder:
        _in_a_process(partial(make, folder, trials))
        begin = time.perf_counter()
        _in_python(_REPORT, str(folder))
        seconds = time.perf_counter() - begin
        page = folder / "report.html"
        opening, filtering, drawing = in_chromium(page)
        megabytes = page.stat().st_size / 1e6
    rows = [
        _row("nas report, seconds", [seconds], 10.0, trials),
        _row("size of the page, MB", [megabytes], 15.0, trials),
        _row("open, seconds", opening, 3.0, trials),
        _row("filter, milliseconds to the table", filtering, 200.0, trials),
        _row("filter, milliseconds to the chart", drawing, None, trials),
    ]
    return [{"at": f"{trials:,} trials", "rows": rows}]


def in_chromium(page: Path) -> tuple[list[float], list[float], list[float]]:
    """Seconds of each opening, and milliseconds of each filter to the table and to the chart."""
    from playwright.sync_api import sync_playwright

    opening, filters = [], []
    with sync_playwright() as started:
        chromium = started.chromium.launch(executable_path=shutil.which("chromium"), args=_FLAGS)
        for _ in range(OPENED):
            tab = chromium.new_context(offline=True, viewport={"width": 1300, "height": 900}).new_page()
            begin = time.perf_counter()
            tab.goto(page.as_uri())
            tab.wait_for_function("document.documentElement.dataset.drawn")
            opening.append(time.perf_counter() - begin)
            tab.wait_for_timeout(1000)
            filters += [tab.evaluate(_TIMED.replace("CHANGES", changes)) for changes in FILTERS]
            tab.context.close()
        chromium.close()
    return opening, [table for table, _ in filters], [chart for _, chart in filters]


def _row(what: str, values: list[float], bar: float | None, trials: int) -> dict[str, Any]:
    """A row of the table; low and high are the least and the most, where there are several."""
    middle = statistics.median(values)
    several = len(values) > 1
    figure = {"value": middle, "low": min(values) if several else None, "high": max(values) if several else None}
    row = {"what": what, "against": "—", "at": f"{trials:,} trials", "about": "cost", "bar": bar, "upper": True}
    return row | {"ratio": figure, "met": None if bar is None else met(middle, bar, True), "limit": ""}
