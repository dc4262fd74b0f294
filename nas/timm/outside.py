"""Models from outside: of timm and torchvision by name (spelling.py), with a checkpoint on disk. Nothing is downloaded.

A checkpoint in the names of another project (DeiT's, Swin's) is converted by timm's own filter for the architecture.
The model gets the number of classes that the checkpoint's classifier has; any other difference is refused. timm's
filter silently resamples positions and patch embeddings of another image size, which is refused too: a folder says in
its model_args which `img_size` its weights have.

A torchvision model gets timm's two attributes `pretrained_cfg` and `num_classes`, so both kinds read alike.
"""

from __future__ import annotations

import difflib
import sys
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

import timm
import torchvision
from timm.data import resolve_data_config
from torch import Tensor, nn

from nas.errors import SpecError, shown
from nas.timm.checkpoint import misfit, read_state
from nas.timm.spelling import SPELLINGS, InputFormat, is_outside

FOLDER_WEIGHTS = ("model.safetensors", "pytorch_model.bin")  # in timm's order
# Whether these two renormalise their input depends on how they were made, and a checkpoint does not say.
AMBIGUOUS = ("googlenet", "inception_v3")


def outside_model(text: str) -> nn.Module:
    """The model with its weights, in eval mode on the CPU; `model.num_classes` says how many classes it has.

    Raises SpecError for a wrong spelling, an unknown name, a checkpoint that is missing, unsafe, damaged or not finite,
    and for weights of another architecture (by the first tensor that does not fit).

    >>> outside_model("timm:deit_tiny_patch16_224@weights.safetensors").num_classes
    1000
    """
    kind, _, rest = text.partition(":")
    name, _, file = rest.partition("@")
    if not is_outside(text) or not rest:
        raise SpecError(f"no model from outside: {shown(text)}; allowed: {', '.join(SPELLINGS)}")
    if kind == "local-dir":
        return _folder(Path(rest))
    if not file:
        raise SpecError(f"{text} lacks a checkpoint on disk: {kind}:{name}@FILE; nothing is downloaded")
    return (_timm if kind == "timm" else _torchvision)(name, Path(file))


def preprocess_of(model: nn.Module) -> InputFormat:
    """How images are prepared for a model of `outside_model`, or any timm model: from its `pretrained_cfg`.

    Raises SpecError where its mean and std are not those of its channels.

    >>> preprocess_of(outside_model("torchvision:resnet18@resnet18-f37072fd.pth"))["mean"]
    (0.485, 0.456, 0.406)
    """
    data = resolve_data_config(pretrained_cfg=model.pretrained_cfg)
    channels = data["input_size"][0]
    if not all(isinstance(data[key], tuple | list) and len(data[key]) == channels for key in ("mean", "std")):
        found = shown(f"mean {data['mean']}, std {data['std']}")
        raise SpecError(f"the model's configuration has {found} for {channels} channels; correct its config.json")
    return InputFormat(
        mean=tuple(data["mean"]),
        std=tuple(data["std"]),
        interpolation=data["interpolation"],
        crop=data["crop_pct"],
        size=data["input_size"][-1],
        channels=channels,
    )


def _timm(name: str, file: Path) -> nn.Module:
    architecture, _, tag = name.partition(".")
    if not timm.is_model(architecture):
        raise SpecError(f"timm has no model {shown(architecture)}{_guess(architecture, timm.list_models())}")
    tags = [known.partition(".")[2] for known in timm.list_pretrained(f"{architecture}.*")]
    if tag and tag not in tags:
        raise SpecError(f"timm has no weights {shown(tag)} of {architecture}; allowed: {', '.join(tags) or 'no tag'}")
    return _loaded(name, file, partial(timm.create_model, name))


def _folder(folder: Path) -> nn.Module:
    config, name = folder / "config.json", f"local-dir:{folder}"

    def create(**options: Any) -> Any:
        try:
            return timm.create_model(name, **options)
        except Exception as error:  # a wrong model_args fails in as many ways as there are models
            raise SpecError(f"describes no model that timm can make: {shown(str(error))}", file=config) from None

    if not config.is_file():
        raise SpecError("no such file; a folder as timm saves it has config.json and model.safetensors", file=config)
    files = [folder / file for file in FOLDER_WEIGHTS]
    return _loaded(name, next((file for file in files if file.exists()), files[0]), create)


def _torchvision(name: str, file: Path) -> nn.Module:
    known = torchvision.models.list_models(module=torchvision.models)
    if name not in known:
        raise SpecError(f"torchvision has no classification model {shown(name)}{_guess(name, known)}")
    if name in AMBIGUOUS:
        message = "is not taken: a checkpoint does not say whether the model renormalises its input"
        raise SpecError(f"torchvision's {name} {message}")

    def create(**options: int) -> Any:
        model = torchvision.models.get_model(name, weights=None, **options)
        classifier, last = [(n, m) for n, m in model.named_modules() if isinstance(m, nn.Linear | nn.Conv2d)][-1]
        images = next(iter(torchvision.models.get_model_weights(name))).transforms()
        size = getattr(model, "image_size", images.crop_size[0])
        model.num_classes = last.weight.shape[0]
        model.pretrained_cfg = {
            "architecture": name,
            "classifier": classifier,
            "num_classes": model.num_classes,
            "input_size": (3, size, size),
            "crop_pct": images.crop_size[0] / images.resize_size[0],
            "interpolation": images.interpolation.value,
            "mean": tuple(images.mean),
            "std": tuple(images.std),
        }
        return model

    return _loaded(name, file, create)


def _loaded(name: str, file: Path, create: Callable[..., Any]) -> nn.Module:
    """The model that `create` makes, with the number of classes and the weights of the checkpoint."""
    state = read_state(file)
    model = create()
    classes = _classes(state, model)
    if classes != model.num_classes:
        model = create(num_classes=classes)
        model.pretrained_cfg["num_classes"] = classes
    fitting = state if not (problem := misfit(state, model)) else _converted(state, model)
    if fitting is None:
        raise SpecError(f"weights of another model than {name}: {problem}", file=file)
    for tensor_name, tensor in fitting.items():
        if count := int(tensor.isfinite().logical_not().sum()):
            raise SpecError(f"{tensor_name} has {count} values that are not finite", file=file)
    model.load_state_dict(fitting)
    loaded: nn.Module = model.eval()
    return loaded


def _classes(state: dict[str, Tensor], model: Any) -> int:
    """The rows of the checkpoint's classifier; the model's own number of classes where there is no such tensor."""
    names = model.pretrained_cfg.get("classifier") or ()
    first = names if isinstance(names, str) else next(iter(names), "")
    for name in (first, first.partition(".")[0]):  # timm's name, and the usual one elsewhere: `head` for `head.fc`
        if (weight := state.get(f"{name}.weight")) is not None and weight.ndim > 1:
            return len(weight)
    return int(model.num_classes)


def _converted(state: dict[str, Tensor], model: nn.Module) -> dict[str, Tensor] | None:
    """The checkpoint in timm's names, by timm's filter for the architecture; None where it then does not fit."""
    convert = getattr(sys.modules[type(model).__module__], "checkpoint_filter_fn", None)
    if convert is None:
        return None
    try:
        made: dict[str, Tensor] = convert(dict(state), model)
    except Exception:  # another architecture's names fail in many ways; the caller's message is about the file's own
        return None
    resampled = any(
        old.ndim == new.ndim and old.shape != new.shape
        for name, new in made.items()
        for their_name, old in state.items()
        if their_name.endswith(name)  # `visual.trunk.pos_embed`
    )
    return None if resampled or misfit(made, model) else made


def _guess(word: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(word, known, n=1, cutoff=0.5)
    return f"; did you mean {close[0]}?" if close else ""
