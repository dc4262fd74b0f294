"""The presets in timm's registry: `timm.create_model("lavit_t", num_classes=10)`.

Names that timm has itself (`pvt_v2_b0`) stay timm's. Registration happens while timm is imported, possibly by a module
of this package that is not complete yet; it therefore only reads the presets' YAML. The schema and the rest of the
package are loaded when a model is made.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from timm.models import generate_default_cfgs, is_model, register_model
from torch import nn

from nas.files import read_yaml

PRESETS = Path(__file__).parents[1] / "genome" / "presets"
default_cfgs: dict[str, Any] = {}  # where timm's register_model looks for a model's configuration


def register() -> None:
    """Add every preset whose name timm does not have."""
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
            "first_conv": "stages.0.embed.proj" + (".0.conv" if data.get("stem") == "conv" else ""),
            "classifier": "head",
        }
        default_cfgs.update(generate_default_cfgs({file.stem: cfg}))
        register_model(_entrypoint(file.stem))


def _entrypoint(name: str) -> Callable[..., nn.Module]:
    def create(pretrained: bool = False, **kwargs: Any) -> nn.Module:
        from nas.timm.create import create

        return create(name, pretrained, **kwargs)

    create.__name__ = create.__qualname__ = name
    create.__doc__ = f"The preset {name} of nas; see nas/genome/presets/{name}.yaml."
    globals()[name] = create
    return create
