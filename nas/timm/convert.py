"""`nas.from_timm`: a timm model and its weights as a model of this package with the same logits.

The genome is read off the modules (plain.py, pyramids.py), and weights are copied by name (names.py). What has no
counterpart is refused by its name. So is a model whose logits differ after conversion, which reveals differences
without weights.

- `VisionTransformer`: plain ViTs, DeiT, DeiT III, DINOv2, CLIP's towers; with registers, average pooling, SwiGLU, norms
  of q and k. Not taken: attention pooling, parallel layers, other activations than GELU.
- `Eva`: DINOv3, and models without rotary positions. Not taken: EVA-02's rotary positions, norms inside of MLPs.
- `PyramidVisionTransformerV2`: pvt_v2_b0 to b5, and the linear variant b2_li.
- `SwinTransformer`: swin_*, as long as its windows divide its grids. Not taken: Swin v2.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch
from timm.models.eva import Eva
from timm.models.pvt_v2 import PyramidVisionTransformerV2
from timm.models.swin_transformer import SwinTransformer
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from nas.errors import SpecError
from nas.genome import Genome
from nas.model import Model
from nas.timm import parts, plain, pyramids
from nas.timm.face import TimmModel
from nas.timm.names import NOTHING, counterparts
from nas.torch_state import generators_kept

FAMILIES: dict[type[nn.Module], Callable[[Any], dict[str, Any]]] = {
    VisionTransformer: plain.vit,
    Eva: plain.eva,
    PyramidVisionTransformerV2: pyramids.pvt_v2,
    SwinTransformer: pyramids.swin,
}


@generators_kept()
def from_timm(timm_model: nn.Module, size: int | None = None) -> TimmModel:
    """Our model with the weights, device and mode of a timm model, and its logits (float32: to 1e-5).

    size: of other images, in pixels. Positions are then interpolated by timm's own `set_input_size`, on a copy.
    A model without a classifier (num_classes 0) becomes one without a head: its output is the pooled vector.
    Raises SpecError for a model that has no counterpart here, naming the part that has none.

    >>> model = nas.from_timm(timm.create_model("deit_tiny_patch16_224", pretrained=True), size=384)
    >>> model.genome.edit({"stages.0.core": "linear_angular"})
    """
    if isinstance(timm_model, TimmModel):  # ours already, from a folder of nas/timm/folder.py
        return timm_model
    source = timm_model if size is None else _resized(timm_model, size)
    genome = genome_of(source, size)
    like = next(source.parameters())
    model = TimmModel(genome).to(like.device, like.dtype)
    if not source.num_classes:
        model.reset_classifier(0)
    if not getattr(source, "global_pool", True):
        model.global_pool = ""
    model.head_drop.p = _head_drop(source)
    model.load_state_dict(_state(source, model))
    if like.device.type != "meta":
        check(source, model)
    return model.train(timm_model.training)


def genome_of(timm_model: nn.Module, size: int | None = None) -> Genome:
    """The genome of a timm model; size: of its images, where the model itself takes any."""
    family = next((read for kind, read in FAMILIES.items() if isinstance(timm_model, kind)), None)
    if family is None:
        message = "no counterpart here; ViT, DeiT, DINOv2, DINOv3, PVTv2 and Swin have one"
        raise SpecError(message, file=parts.title(timm_model))
    keys = family(timm_model)
    if size is not None:
        keys["image"]["size"] = size
    if timm_model.num_classes:
        keys["classes"] = timm_model.num_classes
    try:
        return Genome.parse({"name": parts.cfg(timm_model).get("architecture", ""), **keys})
    except SpecError as error:
        raise error.within(file=parts.title(timm_model)) from None


def tensors_of(timm_model: nn.Module) -> dict[str, Tensor]:
    """Parameters and buffers by name, those included that a state dict leaves out (EVA's bias of keys)."""
    return {name: tensor.detach() for name, tensor in (*timm_model.named_parameters(), *timm_model.named_buffers())}


def _resized(timm_model: nn.Module, size: int) -> nn.Module:
    model = copy.deepcopy(timm_model)
    if isinstance(model, VisionTransformer | Eva | SwinTransformer):
        model.set_input_size(img_size=(size, size))
    return model


def _head_drop(timm_model: nn.Module) -> float:
    drops = [module for name, module in timm_model.named_modules() if name in parts.HEAD_DROPS]
    return float(getattr(drops[0], "p", 0.0)) if drops else 0.0


def _state(timm_model: nn.Module, model: TimmModel) -> dict[str, Tensor]:
    theirs, own = tensors_of(timm_model), model.state_dict()
    table = counterparts(own, theirs)
    used = {name for names in table.values() for name in names}
    rest = [name for name in timm_model.state_dict() if name not in used]
    if rest:
        owner = rest[0].rpartition(".")[0]
        kind = f" ({type(timm_model.get_submodule(owner)).__name__})" if owner else ""
        parts.refuse(timm_model, f"its {owner or rest[0]}{kind}")
    lacking = [name for name in own if name not in table]
    if lacking:
        raise SpecError(f"it has nothing for our {lacking[0]}: layers that differ", file=parts.title(timm_model))
    return {
        name: torch.cat([theirs[part] if part != NOTHING else torch.zeros_like(theirs[names[0]]) for part in names])
        for name, names in table.items()
    }


@torch.no_grad()
def check(timm_model: nn.Module, model: Model) -> None:
    """Raise SpecError unless both have the same logits on random images, in float32 whatever their own dtype."""
    theirs, ours = (copy.deepcopy(m).float().eval() for m in (timm_model, model))
    image = model.genome.image
    generator = torch.Generator().manual_seed(0)
    images_BCHW = torch.randn(1, image.channels, image.size, image.size, generator=generator)
    images_BCHW = images_BCHW.to(next(model.parameters()).device)
    expected_BK, found_BK = theirs(images_BCHW), ours(images_BCHW)
    moved = ((found_BK - expected_BK).abs().max() / expected_BK.abs().max().clamp_min(1e-6)).item()
    if not moved <= 1e-4:
        raise SpecError(
            f"the weights fit, but logits differ by {moved:.1e} of the largest: it computes something else (an "
            "activation, a mask)",
            file=parts.title(timm_model),
        )
