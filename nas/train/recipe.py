"""`Training`: the training recipe, which is the `training:` section of a file. Its defaults suit small images.

The recipe is DeiT's (Touvron et al., 2021: AdamW, cosine, label smoothing, MixUp, CutMix, EMA, distillation), changed
for short trainings: a higher learning rate, gradients clipped to norm 1, a short weight average, and no MixUp or
CutMix, which help only over many epochs. A training that starts from weights has three keys of its own: inherited
weights move at a tenth of the rate of fresh ones (as in JetViT and Puzzle, whose repair is short), and the projections
behind new cores are solved in closed form first (nas/model/inherit.py).

    >>> Training(epochs=30, cutmix=1.0).lr
    0.004
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from nas.data import Augment
from nas.train.distillation import Teacher


class Training(BaseModel):
    """How one genome is trained. Frozen; unknown keys are refused.

    Durations are in epochs. `lr` is the peak learning rate; it is not scaled by the batch size.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    epochs: int = Field(15, ge=1, description="passes over the training images")
    batch_size: int = Field(64, ge=1, description="images per step; an incomplete last batch of an epoch is dropped")

    lr: float = Field(4e-3, gt=0, description="peak learning rate, not scaled by the batch size")
    min_lr: float = Field(1e-5, ge=0, description="learning rate at the end of the cosine")
    warmup_epochs: float = Field(1.5, ge=0, description="linear warm-up; at most half of the training")
    weight_decay: float = Field(0.05, ge=0, description="of matrices and kernels; not of vectors and biases")
    clip: float = Field(1.0, ge=0, description="maximum gradient norm; 0 is off")

    layer_decay: float = Field(
        1.0, gt=0, le=1, description="factor on the learning rate per layer, from the head down to the image (BEiT)"
    )
    inherited_lr: float = Field(
        0.1, ge=0, le=1, description="with start: factor on the learning rate of inherited weights; 0 freezes them"
    )
    closed_form: int = Field(
        256, ge=0, description="with start: images at most from which projections behind new cores are solved; 0: none"
    )

    label_smoothing: float = Field(0.1, ge=0, lt=1, description="probability that is spread over all classes")
    mixup: float = Field(0.0, ge=0, description="alpha of MixUp; 0 is off; with CutMix on, one of the two per batch")
    cutmix: float = Field(0.0, ge=0, description="alpha of CutMix; 0 is off")
    ema: float = Field(0.99, ge=0, lt=1, description="decay of the weight average that is evaluated; 0 is off")
    teacher: Teacher | None = Field(None, description="trained model to learn from; null: none")
    augment: Augment = Field(Augment(), description="of training images")

    precision: Literal["auto", "float32", "bfloat16"] = Field(
        "auto", description="of the forward pass in training; auto is bfloat16 on a GPU that has it, else float32"
    )
    compile: bool = Field(False, description="torch.compile the training step's forward pass")
    channels_last: bool = Field(False, description="memory format of the model and the images in training")

    validation: float = Field(
        0.2, ge=0, lt=1, description="share of the training images kept for validation; 0: all of them train"
    )
    limit: int | None = Field(None, ge=1, description="maximum number of training images")

    @model_validator(mode="after")
    def _ordered(self) -> Training:
        if self.min_lr > self.lr:
            raise ValueError(f"min_lr {self.min_lr} is above lr {self.lr}")
        return self
