"""Draws docs/layer.svg: a layer's three slots, and what each of them is at deployment.

    python docs/layer.py              writes the SVG beside this file
    python docs/layer.py look.png     writes a PNG instead, to look at

Boxes, arrows and colours are those of architecture.py. Coordinates are pixels from the top left.
"""

from __future__ import annotations

from pathlib import Path

from architecture import GREY, arrow, box, draw, words

WIDTH, HEIGHT = 800, 330
CORE, AUXILIARY, LOCAL, PLAIN = "#c8e6f5", "#fde2c4", "#c5ecdf", "white"


def layer(axes) -> None:
    words(axes, 18, 24, "A layer's attention", size=14, weight="bold")
    words(axes, 190, 25, "y = normalise( core(q, k, v) + auxiliary(q, k, v) ) + local(v)", colour=GREY)
    box(axes, 18, 150, 76, 40, "tokens", PLAIN)
    for y, name in ((90, "q"), (170, "k"), (250, "v")):
        box(axes, 140, y - 15, 40, 30, name, PLAIN)
        arrow(axes, (94, 170), (140, y))
    slots = [
        (66, 62, "core", "softmax, less, linear_angular, …", CORE),
        (148, 48, "auxiliary", "masked_softmax", AUXILIARY),
        (226, 48, "local", "depthwise", LOCAL),
    ]
    for y, height, slot, blocks, fill in slots:
        box(axes, 250, y, 190, height, "", fill, dashed=slot == "auxiliary")
        words(axes, 345, y + height / 2 - 8, slot, align="center", weight="bold")
        words(axes, 345, y + height / 2 + 9, blocks, align="center", size=10)
    for start, ends in (((180, 90), (88, 160)), ((180, 170), (98, 172)), ((180, 250), (112, 184, 250))):
        for end in ends:
            arrow(axes, start, (250, end))
    box(axes, 480, 106, 40, 40, "+", PLAIN, weight="bold")
    arrow(axes, (440, 97), (480, 120))
    arrow(axes, (440, 172), (480, 134), colour=GREY)
    box(axes, 546, 106, 84, 40, "normalise", PLAIN)
    arrow(axes, (520, 126), (546, 126))
    box(axes, 660, 150, 40, 40, "+", PLAIN, weight="bold")
    arrow(axes, (630, 126), (660, 160))
    arrow(axes, (440, 250), (660, 180))
    box(axes, 724, 150, 60, 40, "project", PLAIN)
    arrow(axes, (700, 170), (724, 170))
    arrow(axes, (345, 66), (345, 44))
    words(axes, 356, 52, "scores, for the next layer", colour=GREY)
    words(axes, 18, 300, "dashed: helps in training, and is gone at deployment.", colour=GREY)
    words(axes, 18, 318, "less takes the scores of the layer before in place of q and k of its own.", colour=GREY)


if __name__ == "__main__":
    draw(Path(__file__), WIDTH, HEIGHT, layer)
