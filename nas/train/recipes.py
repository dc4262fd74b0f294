"""Named recipes: what `training: {recipe: NAME}` sets, below the keys that are given beside it.

    deit           DeiT, training from new weights (Touvron et al., ICML 2021; `main.py` of facebookresearch/deit)
    deit3          DeiT III, ViT-S on ImageNet-1k (Touvron et al., ECCV 2022; README_revenge.md there)
    finetune       fine-tuning of a trained ViT-B (He et al., MAE, CVPR 2022; FINETUNE.md of facebookresearch/mae)
    small_images   the defaults (nas/train/recipe.py)

A recipe says how, and not how long or on what: `epochs`, `batch_size`, `validation`, `limit` and the precision are not
in it. The learning rate follows the batch (`lr_base_size`) as in the sources; DeiT III's 4e-3, which is not scaled
there, is for 2048 images. Stochastic depth belongs to the model (`drop_path` of the genome), interpolation and
evaluation crop to its pixels (`preprocess`). docs/training.md lists what differs from the sources.

timm's `rand-m9-mstd0.5-inc1` applies each of two operations with probability 1/2 at about 9/10 of the largest strength.
torchvision's RandAugment applies what it draws, and counts its strength to 30: one operation at 27.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nas.errors import SpecError, nearest, shown

Values = dict[str, Any]

_COSINE = {"schedule": "cosine", "warmup_epochs": 5.0, "clip": 0.0, "ema": 0.0}
_MIXING = {"mixup": 0.8, "cutmix": 1.0}
_AUGMENT = {"min_area": 0.08, "erase": 0.25, "auto_augment": "randaugment", "ra_ops": 1, "ra_magnitude": 27}

RECIPES: dict[str, Values] = {
    "deit": _COSINE
    | _MIXING
    | {
        "optimizer": "adamw",
        "lr": 5e-4,
        "lr_base_size": 512,
        "min_lr": 1e-5,
        "warmup_lr": 1e-6,
        "warmup_prefix": False,
        "weight_decay": 0.05,
        "label_smoothing": 0.1,
        "augment": _AUGMENT | {"repeats": 3},
    },
    "deit3": _COSINE
    | _MIXING
    | {
        "optimizer": "lamb",  # clips the gradients to norm 1 itself, as the source's FusedLAMB does
        "eps": 1e-8,
        "lr": 4e-3,
        "lr_base_size": 2048,
        "min_lr": 1e-5,
        "warmup_lr": 1e-6,
        "warmup_prefix": False,
        "weight_decay": 0.05,
        "label_smoothing": 0.0,
        "bce": True,
        "bce_threshold": 0.0,
        "augment": {"min_area": 0.08, "auto_augment": "three_augment", "color_jitter": 0.3, "repeats": 3},
    },
    "finetune": _COSINE
    | _MIXING
    | {
        "optimizer": "adamw",
        "lr": 5e-4,
        "lr_base_size": 256,
        "min_lr": 1e-6,
        "weight_decay": 0.05,
        "layer_decay": 0.65,
        "inherited_lr": 1.0,
        "label_smoothing": 0.1,
        "augment": _AUGMENT,
    },
    "small_images": {},
}


def recipe_values(name: str) -> Values:
    """What a recipe sets. Raises SpecError for an unknown name, with the nearest one.

    >>> recipe_values("finetune")["layer_decay"]
    0.65
    """
    if name not in RECIPES:
        raise SpecError(f"no recipe {shown(name)}; {nearest(name, RECIPES)}", path="recipe")
    return RECIPES[name]


def over(base: Mapping[str, Any], given: Mapping[str, Any]) -> Values:
    """`given` on top of `base`, key by key, also in mappings within.

    >>> over({"lr": 1e-3, "augment": {"erase": 0.25, "repeats": 3}}, {"augment": {"repeats": 1}})
    {'lr': 0.001, 'augment': {'erase': 0.25, 'repeats': 1}}
    """
    made = {**base, **given}
    for key in base.keys() & given.keys():
        if isinstance(base[key], Mapping) and isinstance(given[key], Mapping):
            made[key] = over(base[key], given[key])
    return made


def beside(values: Mapping[str, Any], standard: Mapping[str, Any]) -> Values:
    """What of `values` is not as in `standard`: what has to be given on top of it.

    >>> beside({"lr": 1e-3, "augment": {"erase": 0.25, "repeats": 1}}, {"lr": 1e-3, "augment": {"erase": 0.25}})
    {'augment': {'repeats': 1}}
    """
    made: Values = {}
    for key, value in values.items():
        usual = standard.get(key)
        if isinstance(value, Mapping) and isinstance(usual, Mapping):
            if inner := beside(value, usual):
                made[key] = inner
        elif key not in standard or value != usual:
            made[key] = value
    return made
