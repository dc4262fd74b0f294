"""A trained model as a `torch.export` program: the deployed graph, any batch size, usable without this package.

torch.export.load("model.pt2").module()(images_BCHW)     normalised float32 images in, logits out
"""

from __future__ import annotations

import io
from pathlib import Path

import torch

from nas.errors import SpecError
from nas.files import write_atomically
from nas.genome import load_genome
from nas.model import build, deploy


def export(genome: str | Path, to: str | Path, *, weights: str | Path | None = None) -> Path:
    """Write the deployed model of a genome file to `to`, which ends in .pt2.

    weights: a safetensors file; None takes the one beside the genome. Raises GenomeError for missing weights, or
    weights of another genome; SpecError for another ending.

    >>> export("results/my_run/winners/w1-0007.yaml", "model.pt2")
    """
    to = Path(to)
    if to.suffix != ".pt2":
        raise SpecError(f"expected a file name that ends in .pt2, found {to.name!r}", path="--to")
    image = load_genome(genome).image
    model = deploy(build(genome, weights=weights or True))
    sample_BCHW = torch.zeros(2, image.channels, image.size, image.size)
    program = torch.export.export(model, (sample_BCHW,), dynamic_shapes=({0: torch.export.Dim("batch")},))
    content = io.BytesIO()  # torch takes no other ending than .pt2, and aborts on a full disk
    torch.export.save(program, content)
    write_atomically(to, lambda path: path.write_bytes(content.getbuffer()))
    return to
