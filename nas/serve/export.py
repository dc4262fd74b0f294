"""A trained model as one file that runs without this package: torch.export's .pt2, or ONNX.

    torch.export.load("model.pt2").module()(images)           onnxruntime.InferenceSession("model.onnx").run(None, ...)

The graph is the deployed one and takes any batch size. It takes normalised float32 images (B, C, S, S) and answers with
logits (B, K); with `with_preprocess` it takes uint8 images and answers with probabilities. Resizing stays outside, as
no two libraries agree on it. What else one needs to know is in the file's metadata: `input`, `output`, `preprocess` and
`class_names`, in the extra file `metadata.json` of a .pt2, and as JSON under each key of an .onnx.

Before the file takes its name, it is loaded again and compared with the model that it was made from, on drawn pictures
in batches of several sizes. Both graphs compute in another order than the model, so a difference of rounding remains.

Legend: B images of a batch, C channels, S side of the image, K classes.
"""

from __future__ import annotations

import io
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nas.data import Preprocess
from nas.errors import SpecError
from nas.files import check_target, write_atomically
from nas.genome import Genome, load_genome
from nas.model import build, deploy
from nas.model.build import weights_beside
from nas.model.pixels import described, known_preprocess, told
from nas.serve import onnx

ENDINGS = (".pt2", ".onnx")
TOLERANCE = 1e-4
BATCHES = (1, 3, 12)  # of the check
METADATA = "metadata.json"  # in a .pt2


class Exported(NamedTuple):
    """difference: the largest one between the file's answers and the model's, relative to the largest answer."""

    file: Path
    input: str
    output: str
    difference: float


class WithPreprocess(nn.Module):
    """Probabilities (B, K) of uint8 images (B, C, S, S): normalisation, the model, softmax."""

    def __init__(self, model: nn.Module, preprocess: Preprocess):
        super().__init__()
        self.model, self.normalise = model, preprocess.normaliser(torch.device("cpu"))

    def forward(self, images_BCSS: Tensor) -> Tensor:
        shares_BK: Tensor = self.model(self.normalise(images_BCSS)).softmax(1)
        return shares_BK


def export(
    genome: str | Path, to: str | Path, *, weights: str | Path | None = None, with_preprocess: bool = False
) -> Exported:
    """Write the deployed model of a genome file to `to`, which ends in .pt2 or .onnx, and check it.

    weights: a safetensors file; None takes the one beside the genome. with_preprocess: uint8 in, probabilities out.
    Raises GenomeError for missing weights, weights of another genome, and an unknown preprocessing that is needed;
    SpecError for another ending, for ONNX without its packages, and for a file that answers otherwise than the model
    (by more than 1e-4 of its largest answer), which is not left behind.

    >>> export("results/my_run/winners/w1-0007.yaml", "model.onnx").difference
    2.4e-07
    """
    to = Path(to)
    if to.suffix not in ENDINGS:
        raise SpecError(f"expected a file name that ends in {' or '.join(ENDINGS)}, found {to.name!r}", path="--to")
    if to.is_dir():
        raise SpecError(f"{to} is a folder; name a file, or end with / for a folder that timm loads", path="--to")
    check_target(to, "--to")
    if to.suffix == ".onnx":
        onnx.check_installed()
    file = Path(weights) if weights is not None else weights_beside(genome)
    trained = build(load_genome(genome), weights=file).eval().requires_grad_(False)
    chosen = described(trained.genome, file)
    model: nn.Module = trained
    served: nn.Module = deploy(trained)
    images = drawn_pictures(chosen, sum(BATCHES))
    if with_preprocess:
        preprocess = known_preprocess(chosen, genome)
        model, served = WithPreprocess(model, preprocess), WithPreprocess(served, preprocess)
    else:
        images = (chosen.preprocess or _centred(chosen)).normaliser(torch.device("cpu"))(images)
    metadata = _metadata(chosen, with_preprocess)
    write, answers = (_pt2, _pt2_answers) if to.suffix == ".pt2" else (onnx.content, onnx.answers)
    content = write(traced(served, images[:2]), metadata)
    difference = math.nan

    def checked(path: Path) -> None:
        nonlocal difference
        path.write_bytes(content)
        difference = _difference(answers(path), model, images)
        if not difference <= TOLERANCE:
            found = f"the file's answers differ from the model's by {difference:.1e} of the largest"
            raise SpecError(f"{found}, over {TOLERANCE}: it was not written", file=to)

    write_atomically(to, checked)
    return Exported(to, metadata["input"], metadata["output"], difference)


def drawn_pictures(genome: Genome, count: int) -> Tensor:
    """uint8 (count, C, S, S): coarse and fine patches of colour, drawn from a seed."""
    generator, image = torch.Generator().manual_seed(0), genome.image
    scales = [torch.rand(count, image.channels, side, side, generator=generator) for side in (3, 8, 32)]
    layers = [F.interpolate(scale, (image.size, image.size), mode="bilinear") for scale in scales]
    return (255 * torch.stack(layers).mean(0)).to(torch.uint8)


def traced(model: nn.Module, images_BCSS: Tensor) -> torch.export.ExportedProgram:
    """The graph of a deployed model, with any batch size. images: two or more, of its size."""
    with torch.enable_grad():  # without, blocks overwrite their own tensors, which a caller with gradients may not
        return torch.export.export(model, (images_BCSS,), dynamic_shapes=({0: torch.export.Dim("batch")},))


def _pt2(program: torch.export.ExportedProgram, metadata: dict[str, Any]) -> memoryview:
    buffer = io.BytesIO()  # torch takes no other ending than .pt2, and aborts on a full disk
    torch.export.save(program, buffer, extra_files={METADATA: json.dumps(metadata, ensure_ascii=False)})
    return buffer.getbuffer()


def _pt2_answers(path: Path) -> Callable[[Tensor], Tensor]:
    answers: Callable[[Tensor], Tensor] = torch.export.load(io.BytesIO(path.read_bytes())).module()
    return answers


@torch.no_grad()
def _difference(answers: Callable[[Tensor], Tensor], model: nn.Module, images: Tensor) -> float:
    worst = []
    for batch in images.split(list(BATCHES)):
        expected_BK = model(batch)
        worst.append((answers(batch) - expected_BK).abs().max() / expected_BK.abs().max().clamp_min(1e-6))
    return torch.stack(worst).max().item()


def _metadata(genome: Genome, with_preprocess: bool) -> dict[str, Any]:
    kind = "uint8, 0 to 255" if with_preprocess else "float32, normalised"
    shape = f"(batch, {genome.image.channels}, {genome.image.size}, {genome.image.size})"
    ends = {"input": f"images {shape}, {kind}", "output": "probabilities" if with_preprocess else "logits"}
    return ends | told(genome)


def _centred(genome: Genome) -> Preprocess:
    """For the check of a model that does not say how pixels reach it."""
    half = (0.5,) * genome.image.channels
    return Preprocess(mean=half, std=half)
