"""The presets in timm's registry: `timm.create_model("lavit_t", num_classes=10)`.

Beside them stands `nas_vit`, any genome: the architecture of the folders of nas/timm/folder.py.

Names that timm has itself (`pvt_v2_b0`) stay timm's. Registration happens right after timm is imported, possibly by a
module of this package that is not complete yet; it therefore only reads the presets' YAML. The schema and the rest of
the package are loaded when a model is made.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from timm.models import generate_default_cfgs, is_model, register_model
from torch import nn

from nas.plain_yaml import read_yaml

ARCHITECTURE = "nas_vit"
PRESETS = Path(__file__).parents[1] / "genome" / "presets"
default_cfgs: dict[str, Any] = {}  # where timm's register_model looks for a model's configuration


def register() -> None:
    """Add `nas_vit`, and every preset whose name timm does not have, once."""
    if is_model(ARCHITECTURE):
        return
    _add(ARCHITECTURE, {"fixed_input_size": True, "classifier": "head"})
    for file in sorted(PRESETS.glob("*.yaml")):
        if is_model(file.stem):
            continue
        data = read_yaml(file)
        image = {"size": 224, "channels": 3} | data.get("image", {})
        cfg = {
            "input_size": (image["channels"], image["size"], image["size"]),
            "num_classes": data.get("classes", 1000),
            "fixed_input_size": True,
            "crop_pct": 0.9,
            "first_conv": first_conv(data.get("stem")),
            "classifier": "head",
        }
        _add(file.stem, cfg)


def first_conv(stem: str | None) -> str:
    """The name of the convolution that reads the image."""
    return "stages.0.embed.proj" + (".0.conv" if stem == "conv" else "")


def _add(name: str, cfg: dict[str, Any]) -> None:
    default_cfgs.update(generate_default_cfgs({name: cfg}))
    register_model(_entrypoint(name))


def _entrypoint(name: str) -> Callable[..., nn.Module]:
    def create(pretrained: bool = False, **kwargs: Any) -> nn.Module:
        from nas.timm.create import create

        return create(name, pretrained, **kwargs)

    create.__name__ = create.__qualname__ = name
    genome = "Any genome of nas; see nas/timm/folder.py."
    create.__doc__ = (
        genome if name == ARCHITECTURE else f"The preset {name} of nas; see nas/genome/presets/{name}.yaml."
    )
    globals()[name] = create
    return create
