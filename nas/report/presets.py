"""The table of presets compared with the papers: `nas presets --markdown > docs/presets.md`.

Published figures are read from the head of each preset's file: `Published: 5.7 M parameters, 1.26 GMACs`. MACs are
given twice. As the paper computes them: `less` maps the N×N matrix (`path: dense`) and the attention residual is a
convolution over it (`flat`); models without these are unaffected. As deployed: the count of `nas.cost`.
"""

from __future__ import annotations

import re

from nas.genome import Genome, list_presets, load_genome
from nas.genome.presets import FOLDER
from nas.profiling import cost
from nas.report.markup import markdown_lines

_PUBLISHED = re.compile(r"Published: ([\d.]+) M parameters, ([\d.]+) GMACs")
_HEAD = """\
# Presets

Made by `nas presets --markdown`. Parameters in millions, MACs (multiply-accumulates of one image, which papers call
FLOPs) in units of 10⁹; the differences compare with the published figures, the one of the MACs as the paper computes
them.

- **paper**: as the paper computes them, `less` mapping the N×N scores and the attention residual a convolution over
  these.
- **deployed**: the graph that `nas.deploy` serves and `nas.cost` counts: `less` on the factors of the scores where that
  is cheaper, auxiliaries gone.

"""
_FOOT = """
lavit_t, lavit_s and lavit_b are reconstructions: the paper gives these totals and no depths, widths or splits. The
heads of their files in `nas/genome/presets/` say how they were fitted. pvt_v2_b0 is timm's model weight for weight; the
authors print 3.4 M parameters. Castling-ViT's masked softmax runs in training alone and is in neither column.
Presets without published figures were made for this package.
"""


def published(name: str) -> tuple[float, float] | None:
    """Published parameters (millions) and MACs (10⁹) from the preset's file, or None if there are none."""
    found = _PUBLISHED.search((FOLDER / f"{name}.yaml").read_text(encoding="utf-8"))
    return (float(found[1]), float(found[2])) if found else None


def as_the_paper_computes(genome: Genome) -> Genome:
    """The same model with all maps of scores applied to the N×N matrix."""
    edits = {}
    for index, stage in enumerate(genome.stages):
        if stage.attention_residual == "separable":
            edits[f"stages.{index}.attention_residual"] = "flat"
        for key, run in stage.runs():
            if run.core.block == "less":
                core = f"{key}.core" if stage.layers is not None else key
                edits[f"stages.{index}.{core}.path"] = "dense"
    return genome.edit(edits)


def preset_markdown() -> str:
    """The page docs/presets.md: a row per preset, published ones first."""
    titles = ["preset", "image", "params", "MACs, paper", "MACs, deployed"]
    titles += ["published params", "published MACs", "Δ params", "Δ MACs"]
    rules = ["---", "---"] + ["---:"] * (len(titles) - 2)
    names = sorted(list_presets(), key=lambda name: (published(name) is None, name))
    return _HEAD + "\n".join(markdown_lines(titles, map(_row, names), rules)) + "\n" + _FOOT


def _row(name: str) -> list[str]:
    genome = load_genome(name)
    total, paper = cost(genome), cost(as_the_paper_computes(genome)).macs
    size = f"{genome.image.size}×{genome.image.size}×{genome.image.channels}"
    ours = [_digits(total.params / 1e6), _digits(paper / 1e9), _digits(total.macs / 1e9)]
    theirs = published(name)
    if theirs is None:
        return [f"`{name}`", size, *ours, "–", "–", "–", "–"]
    pairs = zip((total.params / 1e6, paper / 1e9), theirs, strict=True)
    differences = [f"{round(100 * (a / b - 1), 1) + 0.0:+} %" for a, b in pairs]  # + 0.0: no negative zero
    return [f"`{name}`", size, *ours, f"{theirs[0]:g}", f"{theirs[1]:g}", *differences]


def _digits(value: float) -> str:
    return f"{value:.4f}" if value < 0.1 else f"{value:.2f}" if value >= 10 else f"{value:.3f}"
