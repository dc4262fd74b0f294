"""A real browser for pages that were written: an installed Chromium, driven by Playwright. Without one, tests skip."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

FOUND = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
FLAGS = ["--no-sandbox", "--enable-unsafe-swiftshader"]  # the latter: WebGL without a graphics card


@contextmanager
def browser() -> Iterator[Any]:
    if FOUND is None:
        pytest.skip("no Chromium on PATH: the page is not driven in a browser")
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with playwright.sync_playwright() as started:
        chromium = started.chromium.launch(executable_path=FOUND, args=FLAGS)
        yield chromium
        chromium.close()


@contextmanager
def opened(chromium: Any, page: Path, **context: Any) -> Iterator[Any]:
    """The page in a window of its own, once its first chart is drawn. An error of a script fails the test."""
    errors: list[str] = []
    window = chromium.new_context(offline=True, **context)
    tab = window.new_page()
    tab.on("pageerror", lambda error: errors.append(str(error)))
    tab.goto(page.as_uri())
    tab.wait_for_function("document.documentElement.dataset.drawn === 'first'", timeout=120_000)
    yield tab
    window.close()
    assert errors == []
