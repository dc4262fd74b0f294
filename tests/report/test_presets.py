"""The table of presets: published figures are read from the presets' files and are what the models come to."""

from __future__ import annotations

from pathlib import Path

import pytest

import nas
from nas.genome.presets import FOLDER
from nas.report.presets import as_the_paper_computes, preset_markdown, published

PUBLISHED = [name for name in nas.list_presets() if published(name)]
DOCS = Path(__file__).parents[2] / "docs" / "presets.md"


@pytest.mark.parametrize("name", ["lavit_t", "lavit_s", "lavit_b"])
def test_reconstructions_are_within_three_percent_and_say_what_they_are(name: str) -> None:
    figures = published(name)
    assert figures is not None
    params, gmacs = figures
    total = nas.cost(name)
    paper = nas.cost(as_the_paper_computes(nas.load_genome(name)))
    assert total.params / 1e6 == pytest.approx(params, rel=0.03)
    assert total.macs / 1e9 == pytest.approx(gmacs, rel=0.03)  # as deployed
    assert paper.macs / 1e9 == pytest.approx(gmacs, rel=0.03)
    assert paper.macs > total.macs
    assert "a reconstruction" in (FOLDER / f"{name}.yaml").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", [name for name in PUBLISHED if name.startswith(("deit", "pvt_t", "pvt_s", "pvt_m"))])
def test_models_that_papers_describe_in_full_meet_their_figures(name: str) -> None:
    figures = published(name)
    assert figures is not None
    total = nas.cost(name)
    assert (total.params / 1e6, total.macs / 1e9) == pytest.approx(figures, rel=0.01)


def test_figures_are_found_in_every_head_that_has_them() -> None:
    mention = [f.stem for f in FOLDER.glob("*.yaml") if "Published:" in f.read_text(encoding="utf-8")]
    assert sorted(mention) == PUBLISHED
    assert published("lavit_digits") is None


def test_the_page_in_the_docs_is_the_one_that_the_command_prints() -> None:
    page = preset_markdown()
    assert all(f"| `{name}` |" in page for name in nas.list_presets())
    assert DOCS.read_text(encoding="utf-8") == page, "run: nas presets --markdown > docs/presets.md"
