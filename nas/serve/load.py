"""A trained model as a service needs it: the model, the transform of its images, and the names of its classes.

Size and channels are in the genome. How pixels reach the model and what the classes are called is in the genome file of
a winner, and in the metadata of every file of weights (nas/model/pixels.py). Where they differ, the genome file holds.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from nas.data.encoded import MAX_PIXELS
from nas.data.pictures import Form
from nas.device import usable_device
from nas.errors import GenomeError
from nas.genome import load_genome
from nas.model import Model, build
from nas.model.build import weights_beside
from nas.model.pixels import described, known_preprocess
from nas.serve.transform import Transform
from nas.torch_state import generators_kept


class Loaded(NamedTuple):
    """A model in evaluation mode, the transform of its images, and the names of its classes in the logits' order."""

    model: Model
    transform: Transform
    class_names: tuple[str, ...]


@generators_kept()
def load(
    genome: str | Path, weights: str | Path | None = None, device: str = "cpu", *, max_pixels: int = MAX_PIXELS
) -> Loaded:
    """A trained model with all that prediction needs.

    The model is not deployed: `nas.deploy(loaded.model)` gives the same logits from fewer layers. Classes without names
    are called by their number.

    genome: a file such as a run's `winners/<name>.yaml`, or a preset's name. weights: a safetensors file; None takes
    the one beside the genome. max_pixels: the transform refuses an image with more. Raises GenomeError for a bad genome
    or bad weights, and if `preprocess` is unknown.

    >>> model, transform, class_names = load("results/my_run/winners/w1-0007.yaml")
    >>> class_names[model(transform("photo.jpg")[None]).argmax()]
    'cat'
    """
    chosen = load_genome(genome)
    file = Path(weights) if weights is not None else weights_beside(genome)
    model = build(chosen, weights=file)
    chosen = described(chosen, file)
    preprocess = known_preprocess(chosen, genome)
    if chosen.image.channels not in (1, 3):
        found = f"images are decoded to 1 channel (grey) or 3 (RGB), the model takes {chosen.image.channels}"
        raise GenomeError(f"{found}: prepare its input yourself, and take the model from nas.build", file=genome)
    form = Form(chosen.image.size, chosen.image.channels, preprocess.interpolation, preprocess.crop)
    names = chosen.class_names or tuple(str(label) for label in range(chosen.classes))
    return Loaded(model.eval().to(usable_device(device)), Transform(preprocess, form, max_pixels), names)
