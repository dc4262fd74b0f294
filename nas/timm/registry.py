"""The presets in timm's registry: `import nas, timm; timm.create_model("lavit_t", num_classes=10)`, in either order.

`import nas` must stay instant, so timm is not imported here: where it is loaded already the presets are registered at
once, otherwise a finder at the head of `sys.meta_path` lets timm load as ever and registers them afterwards. Names
that timm has itself (`pvt_v2_b0`) stay timm's. Registering reads the presets' YAML alone; the schema, and with it the
rest of the package, is loaded when a model is made.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import nn

PRESETS = Path(__file__).parents[1] / "genome" / "presets"
default_cfgs: dict[str, Any] = {}  # where timm's register_model looks for a model's configuration


def install() -> None:
    """Register the presets now or, if timm is still to come, when it is imported."""
    if hasattr(sys.modules.get("timm"), "create_model"):
        register()
    elif not any(isinstance(finder, _AfterTimm) for finder in sys.meta_path):
        sys.meta_path.insert(0, _AfterTimm())


class _AfterTimm(MetaPathFinder):
    def find_spec(self, name: str, path: Sequence[str] | None, target: Any = None) -> ModuleSpec | None:
        if name != "timm":
            return None
        others = (finder for finder in sys.meta_path if finder is not self)
        spec = next(filter(None, (finder.find_spec(name, path, target) for finder in others)), None)
        if spec is not None and spec.loader is not None:
            execute = spec.loader.exec_module

            def execute_and_register(module: Any) -> None:
                execute(module)
                register()

            spec.loader.exec_module = execute_and_register  # type: ignore[method-assign]
        return spec


def register() -> None:
    """Add every preset whose name timm does not have."""
    from timm.models import generate_default_cfgs, is_model, register_model

    from nas.files import read_yaml

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
