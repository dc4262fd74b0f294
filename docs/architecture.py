"""Draws docs/architecture.svg: the way of the data above, the floors of the package below.

    python docs/architecture.py              writes the SVG beside this file
    python docs/architecture.py look.png     writes a PNG instead, to look at

The picture brings its own background, so it reads the same on a light and on a dark page. A box of the upper half has
the colour of the floor that it belongs to. Coordinates are pixels from the top left, at a width of 800.
"""

from __future__ import annotations

import sys
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

WIDTH, HEIGHT = 800, 640
INK, PAPER, GREY = "#1f2937", "#fbfbf9", "#6b7280"
FLOORS = [  # number, packages, what they are, colour
    ("8", "cli, api, plots", "the verbs and figures; one function for each", "#e5e7eb"),
    ("7", "report", "tables, figures, one HTML page, from files alone", "#fbd5e0"),
    ("6", "search, ablation, convert, run_names", "the clients: which genomes to train", "#fde2c4"),
    ("5", "engine", "genomes in, trial directories out (Ray)", "#f9f0b8"),
    ("4", "train, profiling, metrics, timm, serve", "the loop; MACs, memory, time", "#d9efc8"),
    ("3", "model", "genome to torch module; inherit, deploy", "#c5ecdf"),
    ("2", "genome", "a model as data: schema, edits, presets", "#c8e6f5"),
    ("1", "blocks, data", "attention blocks; where images come from", "#d3dcfa"),
    ("0", "errors, files, paths, registry, plugins, …", "what every floor may use", "#e5e7eb"),
]
COLOUR = {number: colour for number, _, _, colour in FLOORS}


def words(axes, x, y, text, *, size=11, align="left", colour=INK, weight="normal"):
    """size in pixels of the picture, of which an inch has 100."""
    axes.text(x, y, text, ha=align, va="center", fontsize=size * 0.72, color=colour, weight=weight)


def box(axes, x, y, w, h, text, fill, *, weight="normal", dashed=False):
    style = "round,pad=0,rounding_size=5"
    line = {"edgecolor": INK, "linewidth": 1.1, "linestyle": "--" if dashed else "-"}
    axes.add_patch(FancyBboxPatch((x, y), w, h, boxstyle=style, facecolor=fill, **line))
    words(axes, x + w / 2, y + h / 2, text, align="center", weight=weight)


def arrow(axes, start, end, *, colour=INK):
    axes.add_patch(FancyArrowPatch(start, end, arrowstyle="-|>", mutation_scale=11, lw=1.4, color=colour))


def way_of_the_data(axes) -> None:
    words(axes, 18, 22, "The way of the data", size=14, weight="bold")
    clients = [("space.yaml", "search", 70), ("ablation.yaml", "ablation", 128), ("a trained model", "convert", 186)]
    for given, client, y in clients:
        box(axes, 18, y, 104, 40, given, "white")
        box(axes, 146, y, 84, 40, client, COLOUR["6"], weight="bold")
        arrow(axes, (122, y + 20), (146, y + 20))

    box(axes, 262, 48, 408, 178, "", COLOUR["5"])
    words(axes, 274, 64, "engine: one Run, one driver, many workers", weight="bold")
    steps = [("genome", "2"), ("model", "3"), ("training", "4")]
    for index, (name, floor) in enumerate(steps):
        box(axes, 278 + 94 * index, 110, 74, 40, name, COLOUR[floor], weight="bold")
        arrow(axes, (352 + 94 * index, 130), (372 + 94 * index, 130))
    words(axes, 362, 96, "build", align="center", colour=GREY)
    words(axes, 456, 96, "train", align="center", colour=GREY)
    box(axes, 560, 96, 98, 68, "trials/0007/\ngenome.yaml\nresult.json", "white")
    for y, end in ((90, 120), (148, 130), (206, 140)):
        arrow(axes, (230, y), (278, end))
    for x, name, fill in ((372, "blocks", COLOUR["1"]), (466, "images", COLOUR["1"]), (278, "start", "white")):
        box(axes, x, 178, 74, 30, name, fill)
    arrow(axes, (409, 178), (409, 150))
    arrow(axes, (503, 178), (503, 150))
    arrow(axes, (352, 186), (384, 150))
    words(axes, 312, 166, "inherit", colour=GREY)
    axes.plot([609, 609, 188], [96, 34, 34], color=GREY, lw=1.4)
    arrow(axes, (188, 34), (188, 70), colour=GREY)
    words(axes, 466, 24, "outcomes, for the next suggestion", align="center", colour=GREY)

    box(axes, 700, 76, 84, 40, "report", COLOUR["7"], weight="bold")
    box(axes, 700, 154, 84, 44, "report.html\ntable.md", "white")
    arrow(axes, (658, 118), (700, 98))
    arrow(axes, (742, 116), (742, 154))


def floors(axes) -> None:
    words(axes, 18, 268, "The floors", size=14, weight="bold")
    words(axes, 116, 269, "a module imports from floors below its own", colour=GREY)
    height, gap, top = 34, 4, 288
    for index, (number, packages, what, colour) in enumerate(FLOORS):
        y = top + index * (height + gap)
        box(axes, 18, y, 600, height, "", colour)
        words(axes, 32, y + height / 2, number, weight="bold")
        words(axes, 54, y + height / 2, packages, weight="bold")
        words(axes, 332, y + height / 2, what)

    def middle(floor: int) -> float:
        return top + (8 - floor) * (height + gap) + height / 2

    box(axes, 672, middle(6) - 70, 112, middle(1) - middle(6) + 90, "", "white", dashed=True)
    words(axes, 728, middle(6) - 54, "plug-ins", align="center", weight="bold")
    words(axes, 728, middle(6) - 38, "one file each", align="center", colour=GREY)
    for floor, name in ((6, "samplers,\nschedulers"), (4, "metrics"), (1, "blocks,\ndata sources")):
        arrow(axes, (672, middle(floor)), (619, middle(floor)))
        words(axes, 728, middle(floor), name, align="center")


def draw(script: Path, width: int, height: int, *parts) -> None:
    """Draw the parts one over the other, and write the SVG beside the script, or the PNG that the command names."""
    plt.rcParams.update({"svg.hashsalt": script.stem, "font.family": "DejaVu Sans"})
    figure = plt.figure(figsize=(width / 100, height / 100), facecolor=PAPER)
    axes = figure.add_axes((0, 0, 1, 1), xlim=(0, width), ylim=(height, 0))
    axes.axis("off")
    for part in parts:
        part(axes)
    if len(sys.argv) > 1:
        figure.savefig(sys.argv[1], dpi=100)
    else:
        figure.savefig(script.with_suffix(".svg"), metadata={"Date": None})


if __name__ == "__main__":
    draw(Path(__file__), WIDTH, HEIGHT, way_of_the_data, floors)
