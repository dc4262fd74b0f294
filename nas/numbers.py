"""Numbers as people read them."""

from __future__ import annotations

import math


def magnitude(value: float) -> str:
    """Three digits and a unit prefix: 1234567 -> '1.23 M', 980 -> '980', 4.6e9 -> '4.60 G'."""
    for size, prefix in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= 0.9995 * size:
            scaled = value / size
            return f"{scaled:.{2 - (abs(scaled) >= 9.995) - (abs(scaled) >= 99.95)}f} {prefix}"
    return f"{value:.0f}" if abs(value) >= 10 else f"{value:.3g}"


def standard_error(accuracy: float, images: int) -> float:
    """That of an accuracy found on so many images, √(p(1−p)/n): how far another split of this size may be from it.

    At 0 and 1, where the formula says 0, half an image counts as decided otherwise.

    >>> round(standard_error(0.965, 288), 4)
    0.0108
    """
    least = 0.5 / images
    share = min(max(accuracy, least), 1 - least)
    return math.sqrt(share * (1 - share) / images)
