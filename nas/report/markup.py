"""A table of text with a caption, as Markdown, HTML or LaTeX (booktabs, siunitx)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from html import escape

_STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:max-content;padding:0 1rem;color:#222}"
    "table{border-collapse:collapse;border-top:2px solid;border-bottom:2px solid}th{border-bottom:1px solid}"
    "th,td{padding:.3rem .8rem;text-align:left;font-variant-numeric:tabular-nums}"
    "td{white-space:nowrap}td.n,th.n{text-align:right}"
    "caption{caption-side:bottom;max-width:70rem;text-align:left;padding-top:.8rem;color:#555;font-size:.9rem}"
)
_MATHS = """
α alpha β beta γ gamma δ delta ε varepsilon ζ zeta η eta θ theta ι iota κ kappa λ lambda μ mu ν nu ξ xi π pi ρ rho ς
varsigma σ sigma τ tau υ upsilon φ varphi χ chi ψ psi ω omega Γ Gamma Δ Delta Θ Theta Λ Lambda Ξ Xi Π Pi Σ Sigma Υ
Upsilon Φ Phi Ψ Psi Ω Omega ± pm × times ÷ div ≤ le ≥ ge ≠ ne ≈ approx ∞ infty → to ← leftarrow ↔ leftrightarrow ↑
uparrow ↓ downarrow ∈ in ∝ propto ∂ partial ∇ nabla √ surd ∑ sum ∏ prod ∪ cup ∩ cap ⊂ subset ⊆ subseteq ∅ emptyset ∼
sim
"""
_TEX = (
    {character: f"\\{character}" for character in "&%_#${}"}
    | {character: f"$\\{name}$" for character, name in zip(_MATHS.split()[::2], _MATHS.split()[1::2], strict=True)}
    | {character: f"$_{digit}$" for digit, character in enumerate("₀₁₂₃₄₅₆₇₈₉")}
    | {"−": "$-$", "½": "$\\frac12$", "✓": "\\checkmark{}"}
    | {"\\": "\\textbackslash{}", "^": "\\textasciicircum{}", "~": "\\textasciitilde{}"}
)
_LATIN = {*map(chr, range(0xC0, 0x180))} - set("ÐÞðþĄąĐđĘęĦħĮįĸĿŀŉŊŋŦŧŲųſ")  # those need another font encoding
_KNOWN = {*map(chr, range(0x20, 0x7F)), *"‘’“”–—…°·µ§£€©®¹²³", *_LATIN}  # to pdflatex, as they are


@dataclass(frozen=True)
class Column:
    """numeric: align on the decimal point where the format can. bold: one flag per cell; empty for none."""

    head: str
    cells: list[str]
    numeric: bool = False
    bold: list[bool] = field(default_factory=list)

    def is_bold(self, row: int) -> bool:
        return bool(self.bold) and self.bold[row]


@dataclass(frozen=True)
class TextTable:
    """Columns of equal length.

    >>> print(markdown(TextTable([Column("arm", ["a"]), Column("top-1", ["40.5"], bold=[True])], "What it says.")))
    """

    columns: list[Column]
    caption: str
    notes: str = ""  # below the table: how it was made, what its marks mean
    label: str = ""  # of LaTeX

    @property
    def height(self) -> int:
        return len(self.columns[0].cells)


_MARKUP = re.compile(r"\\(?=[^\w\s]|$)|[`*]|\](?=[(\[:])|<(?=[a-zA-Z/!?])|&(?=#?\w+;)|(?<![^\W_])_|_(?![^\W_])")


def markdown(table: TextTable) -> str:
    """The table, then its caption as a paragraph, and its notes as another."""

    def cell(column: Column, row: int) -> str:
        text = _literal(column.cells[row])
        return f"**{text}**" if column.is_bold(row) else text

    rows = [[cell(column, row) for column in table.columns] for row in range(table.height)]
    lines = markdown_lines([_literal(column.head) for column in table.columns], rows)
    return "\n".join([*lines, "", _literal(table.caption), "", *([_literal(table.notes), ""] if table.notes else [])])


def _literal(text: str) -> str:
    """A text in which Markdown sees no markup, HTML or link: names are the user's."""
    return _MARKUP.sub(r"\\\g<0>", text.replace("\n", " "))


def markdown_lines(heads: Sequence[str], rows: Iterable[Sequence[str]], rules: Sequence[str] = ()) -> list[str]:
    """The lines of a Markdown table. rules: what stands under each head, `---` by default, `---:` to align right.

    >>> markdown_lines(["trial", "reason"], [["1", "a | b"]], ["---:", "---"])
    ['| trial | reason |', '| ---: | --- |', '| 1 | a \\\\| b |']
    """
    return [_markdown_row(cells) for cells in (heads, rules or ["---"] * len(heads), *rows)]


def _markdown_row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"


def html(table: TextTable) -> str:
    """A complete HTML page."""

    def cell(tag: str, column: Column, text: str) -> str:
        return f'<{tag} class="n">{text}</{tag}>' if column.numeric else f"<{tag}>{text}</{tag}>"

    lines = ["<tr>" + "".join(cell("th", column, escape(column.head)) for column in table.columns) + "</tr>"]
    for row in range(table.height):
        texts = [(column, escape(column.cells[row]), column.is_bold(row)) for column in table.columns]
        lines.append(
            "<tr>" + "".join(cell("td", column, f"<b>{t}</b>" if bold else t) for column, t, bold in texts) + "</tr>"
        )
    notes = f"<br><small>{escape(table.notes)}</small>" if table.notes else ""
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>Ablation</title><style>{_STYLE}</style>\n'
        f"<table><caption>{escape(table.caption)}{notes}</caption>\n" + "\n".join(lines) + "\n</table></html>\n"
    )


def latex(table: TextTable) -> str:
    """A complete `table` environment: caption above, notes below. Its first line names the packages it needs."""
    kinds = ["S[table-format=" + _format(c.cells) + "]" if c.numeric else "l" for c in table.columns]
    lines = [
        "% \\usepackage{booktabs,siunitx,amssymb}",
        "\\begin{table}",
        "\\centering",
        f"\\caption{{{_tex(table.caption)}}}",
        *([f"\\label{{{table.label}}}"] if table.label else []),
        f"\\begin{{tabular}}{{{''.join(kinds)}}}",
        "\\toprule",
        " & ".join(f"{{{_tex(column.head)}}}" if column.numeric else _tex(column.head) for column in table.columns)
        + " \\\\",
        "\\midrule",
    ]
    for row in range(table.height):
        cells = []
        for column in table.columns:
            text = column.cells[row].replace(",", "") if column.numeric else _tex(column.cells[row])
            cells.append(f"\\textbf{{{text}}}" if column.is_bold(row) else text)
        lines.append(" & ".join(cells) + " \\\\")
    lines += ["\\bottomrule", "\\end{tabular}"]
    if table.notes:
        lines.append(f"\\par\\smallskip\n\\parbox{{\\linewidth}}{{\\footnotesize {_tex(table.notes)}}}")
    lines += ["\\end{table}", ""]
    return "\n".join(lines)


def _format(cells: list[str]) -> str:
    """siunitx's table-format: the most digits before and after the point."""
    parts = [cell.replace(",", "").partition(".") for cell in cells if cell] or [("1", "", "")]
    whole, rest = max(len(a) for a, _, _ in parts), max(len(b) for _, _, b in parts)
    return f"{whole}.{rest}" if rest else f"{whole}"


def _tex(text: str) -> str:
    """One line of text. A character that pdflatex has no glyph for is its number: `漢` is [U+6F22]."""
    line = "".join(_TEX.get(c) or (c if c in _KNOWN else f"[U+{ord(c):04X}]") for c in " ".join(text.split()))
    line = re.sub("-(?=-)", "-{}", line)  # two hyphens would be a dash
    return "{}" + line if line[:1] in ("[", "*") else line  # the end of the row before would take it for its argument
