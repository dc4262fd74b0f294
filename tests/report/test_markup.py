"""The three forms of a table; LaTeX is compiled where there is a compiler."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from markdown_it import MarkdownIt
from markdown_it.common.utils import escapeHtml

from nas.report.markup import _KNOWN, _TEX, Column, TextTable, html, latex, markdown, markdown_lines

TABLE = TextTable(
    [
        Column("arm_1 & co", ["½v_i, ε → 0", "a < b | c {d}"]),
        Column("on", ["✓", ""]),
        Column("images/s", ["1,234.5", "98"], numeric=True),
        Column("top-1 (%)", ["40.5 ± 0.9 (3)", "baseline"], bold=[True, False]),
    ],
    "Σ of 100 %, 3×3; Δ −0.1 #1 at $5, a^2 ~ \\b",
    notes="Bold: p < 0.05 & Δ > 0.",
    label="tab:an-arm",
)
NAMES = ["x", "[0]", "*x", "β ≤ ∞", "a--b", "漢 \u202f\x07", "a\n\nb", *_TEX, *sorted(_KNOWN)]
ODD = TextTable([Column("[0]", NAMES), Column("*", NAMES, bold=[True] * len(NAMES))], "a [b]\n\nc", notes="[*]\n\nβ")
DOCUMENT = "\\documentclass{article}\\usepackage{booktabs,siunitx,amssymb}\\begin{document}%s\\end{document}"


def test_markdown_keeps_its_columns() -> None:
    lines = markdown(TABLE).splitlines()
    assert lines[0] == "| arm_1 & co | on | images/s | top-1 (%) |"
    assert lines[2] == "| ½v_i, ε → 0 | ✓ | 1,234.5 | **40.5 ± 0.9 (3)** |"
    assert lines[3].startswith("| a < b \\| c {d} |") and lines[-3::2] == [TABLE.caption, TABLE.notes]


LIVE = [
    "<img src=x onerror=alert(1)>",
    "a | b [d](javascript:alert(1)) ![](e)",
    "</td>",
    "<!-- x",
    "`a`",
    "__b__ *c* _d_",
    r"\*\| \\",
    "&lt;",
    "a_1",
    "low_rank, less_1",
]


def test_markdown_shows_names_as_they_are() -> None:
    names = [*LIVE, *(name for name in NAMES if name.split() == [name])]
    table = TextTable([Column(names[0], names), Column("b", names, bold=[True] * len(names))], " ".join(LIVE))
    page = MarkdownIt("commonmark", {"html": True}).enable("table").render(markdown(table))
    cells = re.findall(r"<td>(.*?)</td>", page)
    assert cells == [text for name in names for text in (escapeHtml(name), f"<strong>{escapeHtml(name)}</strong>")]
    assert f"<p>{escapeHtml(' '.join(LIVE))}</p>" in page


def test_markdown_escapes_what_would_break_a_table() -> None:
    lines = markdown_lines(["trial", "reason"], [["1", "a | b\nc"]], ["---:", "---"])
    assert lines == ["| trial | reason |", "| ---: | --- |", r"| 1 | a \| b c |"]


def test_html_escapes_text() -> None:
    page = html(TABLE)
    assert "a &lt; b | c {d}" in page and "arm_1 &amp; co" in page and "<b>40.5 ± 0.9 (3)</b>" in page
    assert page.count("<tr>") == 3


def test_latex_has_numbers_by_their_point() -> None:
    text = latex(TABLE)
    assert "lS[table-format=4.1]" in text.replace("ll", "l") and "1234.5" in text
    assert text.index("\\label{tab:an-arm}") < text.index("\\toprule") < text.index("Bold: p < 0.05 \\&")
    assert "arm\\_1 \\& co" in text and "\\textbf{40.5 $\\pm$ 0.9 (3)}" in text


def test_latex_has_every_character_in_a_form_of_its_own() -> None:
    text = latex(TextTable([Column("a", ["[0] a*", "β ≤ ∞ a--b", "x\ny 漢"])], "two\n\nparagraphs"))
    for line in (r"{}[0] a* \\", r"$\beta$ $\le$ $\infty$ a-{}-b \\", r"x y [U+6F22] \\", "{two paragraphs}"):
        assert line in text


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="no LaTeX here")
@pytest.mark.parametrize("table", [TABLE, ODD], ids=["usual", "odd"])
def test_latex_compiles(tmp_path: Path, table: TextTable) -> None:
    (tmp_path / "table.tex").write_text(DOCUMENT % latex(table))
    command = ["pdflatex", "-halt-on-error", "-interaction=nonstopmode", "table.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:]
    assert (tmp_path / "table.pdf").stat().st_size > 1000
