"""What a run says before anything is trained: the data, and the size that it gives the base genome.

A genome is fitted to the size of the images (nas/train/task.py), and its grid grows with them: `lavit_digits` has 16
tokens on digits of 8 pixels and 2,304 on photographs of 96, and softmax attention costs the square of that. So size,
tokens and MACs of the base come first. From LOUD times the MACs that it was made for, cheaper ways are proposed; above
REFUSED times, the run is refused unless `image_size` says that it is meant.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

from nas.account import WIDTH, terminal_lines
from nas.data import ImageSet, account_of
from nas.engine.events import Event, OnEvent
from nas.errors import SpaceError, SpecError
from nas.genome import Genome, list_presets, load_genome
from nas.numbers import magnitude
from nas.profiling import cost

LOUD = 4.0  # times the MACs that the base was made for
REFUSED = 100.0
SMALL = 25.0  # a proposed `image_size` stays below so many times

Suits = Callable[[Genome], object]  # raises SpecError for a genome that the space or the table cannot take


def introduce(made: Genome, base: Genome, images: ImageSet, on_event: OnEvent, *, suits: Suits, meant: bool) -> None:
    """Say what was loaded, and what the base costs on it.

    made: the base as its author made it; base: fitted to the images. meant: the size was given by the user.
    Raises SpaceError for a base with more than REFUSED times its MACs, unless that is meant.
    """
    for line in terminal_lines(account_of(images)):
        on_event(Event("message", data={"text": line}))
    macs, before = cost(base).macs, cost(made).macs
    text = f"{base.name or 'the base'} on this data: {_size(base)}, {_macs(macs)}"
    if made.image.size != base.image.size:
        text += f" (made for {_size(made)}, {_macs(before)})"
    on_event(Event("message", data={"text": f"{'base':<{WIDTH}}{text}"}))
    if macs < LOUD * before:
        return
    found = f"{macs / before:,.0f} times the MACs that the base was made for"
    advice = _advice(made, base, suits)
    if macs > REFUSED * before and not meant:
        raise SpaceError(f"{text}: {found}; {advice}, or image_size={base.image.size} to have it so", path="image_size")
    on_event(Event("message", data={"text": f"{'note':<{WIDTH}}{found}; if that is too slow, {advice}"}))


def _advice(made: Genome, base: Genome, suits: Suits) -> str:
    """Cheaper ways to train on these images: a preset that was made for such a size, or smaller images."""
    ways = []
    if (preset := _preset(base, suits)) is not None:
        name, fitted = preset
        ways.append(f"base={name} ({_size(fitted)}, {_macs(cost(fitted).macs)})")
    for times in range(base.image.size // made.image.size, 0, -1):
        with suppress(SpecError):
            smaller = base.edit({"image.size": times * made.image.size})
            if cost(smaller).macs <= SMALL * cost(made).macs and smaller.image.size < base.image.size:
                ways.append(f"image_size={smaller.image.size} ({_size(smaller)}, {_macs(cost(smaller).macs)})")
                break
    return f"set {' or '.join(ways)}" if ways else "give the base a larger patch"


def _preset(base: Genome, suits: Suits) -> tuple[str, Genome] | None:
    """The preset whose size is nearest to that of the images, cheapest first, and the base's data on it."""
    data = {"image.size": base.image.size, "image.channels": base.image.channels, "classes": base.classes}
    found = []
    for name in list_presets():
        preset = load_genome(name)
        with suppress(SpecError):
            fitted = preset.edit(data)
            suits(fitted)
            ratio = max(preset.image.size, base.image.size) / min(preset.image.size, base.image.size)
            if ratio <= 2 and cost(fitted).macs < cost(base).macs:
                found.append((ratio, cost(fitted).macs, name, fitted))
    return min(found, key=lambda entry: entry[:3])[2:] if found else None


def _size(genome: Genome) -> str:
    tokens = " → ".join(f"{plan.grid[0]}×{plan.grid[1]}" for plan in genome.layout)
    return f"{genome.image.size}×{genome.image.size} pixels, {tokens} tokens"


def _macs(macs: int) -> str:
    return f"{magnitude(macs)} MACs"
