"""`Training`: the training recipe, which is the `training:` section of a file. Its defaults suit small images.

The defaults are those of DeiT (Touvron et al., 2021: AdamW, cosine, label smoothing, EMA, distillation), changed for
short trainings: a higher learning rate, gradients clipped to norm 1, a short weight average, and no MixUp or CutMix,
which help only over many epochs. A training that starts from weights has three keys of its own: inherited
weights move at a tenth of the rate of fresh ones (as in JetViT and Puzzle, whose repair is short), and the projections
behind new cores are solved in closed form first (nas/model/inherit.py).

`recipe` names a published one (nas/train/recipes.py), whose values stand in for the defaults. The names and meanings of
keys are those of timm's train.py where it has them.

    >>> Training(epochs=30, cutmix=1.0).lr
    0.004
    >>> Training(recipe="deit", epochs=300, mixup=0.0).cutmix
    1.0
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ModelWrapValidatorHandler, model_validator

from nas.data import Augment
from nas.errors import SpecError, nearest, shown
from nas.keys import Keys
from nas.train.distillation import Teacher
from nas.train.recipes import Values, beside, over, recipe_values


class Training(Keys):
    """How one genome is trained. Frozen; unknown keys are refused.

    Durations are in epochs. `lr` is the peak learning rate; it is not scaled by the batch size.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    recipe: str | None = Field(
        None, description="a published recipe: deit, deit3, finetune or small_images; keys given beside it count more"
    )

    epochs: int = Field(15, ge=1, le=1_000_000, description="passes over the training images")
    batch_size: int = Field(
        64, ge=1, le=1_000_000, description="images per batch; an incomplete last batch of an epoch is dropped"
    )
    accumulate: int = Field(
        1,
        ge=1,
        le=1_000_000,
        description="batches per update of the weights; an epoch's last update takes the batches that are left",
    )

    optimizer: str = Field("adamw", description="by timm's name: adamw, sgd (with Nesterov momentum), lamb, muon, ...")
    momentum: float | None = Field(None, ge=0, lt=1, description="of the optimiser; null: 0.9")
    betas: tuple[float, ...] | None = Field(
        None, min_length=2, max_length=3, description="of the optimiser; null: its own"
    )
    eps: float | None = Field(None, gt=0, description="of the optimiser; null: its own")
    lr: float = Field(4e-3, gt=0, description="highest learning rate")
    lr_base_size: int | None = Field(
        None,
        ge=1,
        le=1_000_000_000,
        description="images per update that lr is meant for; at others it is in proportion; null: as given",
    )
    schedule: Literal["cosine", "tanh", "poly", "step", "wsd", "rsqrt", "constant"] = Field(
        "cosine", description="of the learning rate after the warm-up, by timm's name"
    )
    min_lr: float = Field(1e-5, ge=0, description="learning rate at the end of the schedule")
    warmup_epochs: float = Field(1.5, ge=0, description="linear warm-up; at most half of the training")
    warmup_lr: float = Field(0.0, ge=0, description="learning rate at the beginning of the warm-up")
    warmup_prefix: bool = Field(
        True, description="the schedule begins after the warm-up; false: it runs from the start, below the warm-up"
    )
    decay_epochs: float | None = Field(
        None,
        gt=0,
        description="step: epochs between decays; wsd, rsqrt: epochs of the decay at the end, below 1 its share of the "
        "schedule; null: 90 or 0.2",
    )
    decay_rate: float | None = Field(None, gt=0, description="step: factor of a decay; poly: power; null: 0.1 or 1")
    weight_decay: float = Field(0.05, ge=0, description="of matrices and kernels; not of vectors and biases")
    clip: float = Field(1.0, ge=0, description="limit of the gradients, as clip_mode has it; 0 is off")
    clip_mode: Literal["norm", "value", "agc"] = Field(
        "norm",
        description="clip is the norm of all gradients, each value's size, or a share of each unit's weight norm",
    )

    layer_decay: float = Field(
        1.0, gt=0, le=1, description="factor on the learning rate per layer, from the head down to the image (BEiT)"
    )
    inherited_lr: float = Field(
        0.1, ge=0, le=1, description="with start: factor on the learning rate of inherited weights; 0 freezes them"
    )
    closed_form: int = Field(
        256,
        ge=0,
        le=1_000_000,
        description="with start: images at most from which projections behind new cores are solved; 0: none",
    )

    label_smoothing: float = Field(0.1, ge=0, lt=1, description="probability that is spread over all classes")
    bce: bool = Field(False, description="binary cross-entropy of each class, in place of cross-entropy")
    bce_threshold: float | None = Field(
        None, ge=0, lt=1, description="with bce: targets above it become 1, others 0; null: targets as they are"
    )
    mixup: float = Field(0.0, ge=0, description="alpha of MixUp; 0 is off; with CutMix on, one of the two per batch")
    cutmix: float = Field(0.0, ge=0, description="alpha of CutMix; 0 is off")
    mixup_off_epoch: int = Field(0, ge=0, le=1_000_000, description="epochs after which MixUp and CutMix end; 0: never")
    ema: float = Field(0.99, ge=0, lt=1, description="decay of the weight average that is evaluated; 0 is off")
    ema_warmup: bool = Field(
        True, description="the decay of the average grows from 0; false: it is the same throughout"
    )
    teacher: Teacher | None = Field(None, description="trained model to learn from; null: none")
    augment: Augment = Field(Augment(), description="of training images")

    checkpoint_every: float | None = Field(
        10.0, gt=0, description="minutes between checkpoints within an epoch; null: at the ends of epochs alone"
    )

    precision: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        "auto",
        description="of the forward pass in training; auto is bfloat16 on a GPU that has it, else float32; float16 is "
        "for GPUs without bfloat16, and comes with a gradient scaler",
    )
    compile: bool = Field(False, description="torch.compile the training step's forward pass")
    channels_last: bool = Field(False, description="memory format of the model and the images in training")

    validation: float = Field(
        0.2, ge=0, lt=1, description="share of the training images kept for validation; 0: all of them train"
    )
    limit: int | None = Field(None, ge=1, le=1_000_000_000_000, description="maximum number of training images")

    @model_validator(mode="wrap")
    @classmethod
    def _with_its_recipe(cls, data: Any, handler: ModelWrapValidatorHandler[Training]) -> Training:
        """The values of the recipe under those that are given; `model_fields_set` names what was given."""
        if not isinstance(data, Mapping) or not isinstance(data.get("recipe"), str):
            return handler(data)
        return only_given(handler(over(recipe_values(data["recipe"]), data)), data)

    @model_validator(mode="after")
    def _consistent(self) -> Training:
        lr, scaled = self.peak_lr, "" if self.lr_base_size is None else ", which lr becomes at this batch size"
        for name, value in (("min_lr", self.min_lr), ("warmup_lr", self.warmup_lr)):
            if value > lr:
                raise ValueError(f"{name} {value} is above lr {lr:g}{scaled}")
        if self.decay_epochs is not None and self.schedule not in ("step", "wsd", "rsqrt"):
            raise SpecError(f"the schedule {self.schedule} has none; leave it out", path="decay_epochs")
        if self.decay_rate is not None and self.schedule not in ("step", "poly"):
            raise SpecError(f"the schedule {self.schedule} has none; leave it out", path="decay_rate")
        if self.schedule == "rsqrt" and not self.warmup_epochs:
            raise SpecError("rsqrt falls from the end of the warm-up: expected more than 0", path="warmup_epochs")
        if self.bce_threshold is not None and not self.bce:
            raise SpecError("is for binary cross-entropy: set bce, or leave it out", path="bce_threshold")
        if self.bce_threshold == 0 and self.label_smoothing:
            message = "with label smoothing every class is above 0: set label_smoothing to 0, or a higher threshold"
            raise SpecError(message, path="bce_threshold")
        return self

    @model_validator(mode="after")
    def _known_optimizer(self) -> Training:
        keys = ("optimizer", "momentum", "betas", "eps")
        if all(getattr(self, key) == type(self).model_fields[key].default for key in keys):
            return self  # without timm, which takes seconds to import
        from timm.optim import get_optimizer_info

        if self.optimizer not in (known := optimizers()):
            raise SpecError(f"no optimizer {shown(self.optimizer)}; {nearest(self.optimizer, known)}", path="optimizer")
        info = get_optimizer_info(self.optimizer)
        for key, has in (("momentum", info.has_momentum), ("betas", info.has_betas), ("eps", info.has_eps)):
            if getattr(self, key) is not None and not has:
                raise SpecError(f"{self.optimizer} has none: set it to null", path=key)
        if self.betas is not None and len(self.betas) != info.num_betas:
            raise SpecError(f"{self.optimizer} has {info.num_betas}, found {list(self.betas)}", path="betas")
        return self

    @property
    def peak_lr(self) -> float:
        """`lr` at this number of images per update (linear scaling; Goyal et al., 2017)."""
        if self.lr_base_size is None:
            return self.lr
        return self.lr * self.batch_size * self.accumulate / self.lr_base_size

    def given(self) -> Values:
        """As plain data, what was given, without what a recipe or the defaults added.

        >>> Training(recipe="deit", epochs=300).given()
        {'recipe': 'deit', 'epochs': 300}
        """
        return self.model_dump(mode="json", exclude_unset=True)


def optimizers() -> list[str]:
    """What `optimizer` may be."""
    from timm.optim import list_optimizers

    # Some need packages that are not here (apex, bitsandbytes), adahessian a backward pass of its own.
    names: list[str] = list_optimizers(exclude_filters=["fused*", "bnb*", "adahessian"])  # type: ignore[assignment]
    return names


def only_given(made: Training, data: Mapping[str, Any]) -> Training:
    """The training, made of more than `data`, with `data` alone counted as given."""
    _narrow(made, data)
    return made


def _narrow(made: BaseModel, data: Mapping[str, Any]) -> None:
    made.model_fields_set.intersection_update(data)
    for key, value in data.items():
        section = getattr(made, key)
        if isinstance(section, BaseModel) and isinstance(value, Mapping):
            _narrow(section, value)


def given_in(record: Values) -> Values:
    """What the recipe of a run.yaml, which has every value, says beside the recipe that it names or the defaults.

    >>> given_in(Training(recipe="deit", epochs=300).model_dump(mode="json"))
    {'recipe': 'deit', 'epochs': 300}
    """
    recipe = {"recipe": record["recipe"]} if record.get("recipe") else {}
    standard = Training.model_validate(recipe).model_dump(mode="json")
    return recipe | beside(Training.model_validate(record).model_dump(mode="json"), standard)
