"""How a model from outside is named, and what is known of it. What makes the models is outside.py, which imports timm.

| spelling | model | weights |
|---|---|---|
| `timm:NAME@FILE` | timm's NAME, with a tag if you like (`vit_base_patch16_224.augreg_in21k`) | FILE |
| `torchvision:NAME@FILE` | a classification model of torchvision | FILE |
| `local-dir:FOLDER` | timm's folder layout: `config.json`, with its model_args | `model.safetensors` in it |
"""

from __future__ import annotations

from pathlib import Path
from typing import TypedDict

SPELLINGS = ("timm:NAME@FILE", "torchvision:NAME@FILE", "local-dir:FOLDER")
PREFIXES = tuple(spelling.partition(":")[0] for spelling in SPELLINGS)


class InputFormat(TypedDict):
    """What a model expects of images.

    mean, std: per channel, of pixels in 0..1. size: side in pixels. crop: the share of the resized image's side that
    the centre crop keeps. interpolation: of the resize, by PIL's name (`bicubic`).
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    interpolation: str
    crop: float
    size: int
    channels: int


def is_outside(text: object) -> bool:
    """Whether a text is one of the spellings, right or wrong, and not a preset or a genome file."""
    return isinstance(text, str) and text.partition(":")[0] in PREFIXES and ":" in text


def absolute(text: str, base: Path = Path()) -> str:
    """The same spelling with the full path of its file, for a process with another working directory.

    >>> absolute("timm:resnet18@w.pth", Path("/home/me"))
    'timm:resnet18@/home/me/w.pth'
    """
    mark = ":" if text.startswith("local-dir:") else "@"  # what stands before the file or folder
    head, mark, file = text.partition(mark)
    return f"{head}{mark}{(base / file).absolute()}" if file else text
