"""Time of a model by part: each layer, each stage without its layers, and the model without its stages.

A part's key contains everything its time can depend on: for a layer blocks and their options, grid, width, heads, the
form of incoming scores and the kind of MLP; for a stage its embedding and attention residual; for all parts the options
of the whole model (position, norms, biases). Equal parts of different genomes have one key.

Parts are timed inside the running model, so that caches are in the state they have in use. Time stamps at the borders
of parts cost time themselves; the readings are therefore scaled to the time of the same model without stamps. Times
are given in multiples of the time of another model, the anchor, which is run in alternation; this makes measurements
of different days comparable (nas/profiling/latency.py).
"""

from __future__ import annotations

import hashlib
import json
import statistics
import time
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import torch
from pydantic import BaseModel
from torch import Tensor

from nas.genome import Genome
from nas.model import Model, build, deploy
from nas.profiling.stopwatch import timed

TRAINING_ONLY = {"name", "layers", "auxiliary", "drop_path"}  # fields of a plan that are not part of a key
ELSEWHERE = {"name", "notes", "image", "classes", "stages", "drop_path", "loss"}  # the same, of a genome

# Part of a key only where they differ from their default, so that tables of earlier versions stay valid.
TIMELESS = {"preprocess": None, "class_names": None}  # in keys as a genome without them has it, for the same reason
NEWER = {"rotary", "registers", "embed_bias", "norm_pre", "last_norm", "norm_eps", "qk_norm", "merging"}


def parts(genome: Genome) -> dict[str, str]:
    """The key of every part by module name; `""` is the model without its stages."""
    plain = {key for key in NEWER if getattr(genome, key) == Genome.model_fields[key].default}
    whole, last = genome.model_dump(exclude=ELSEWHERE | plain) | TIMELESS, genome.layout[-1]
    found = {}
    for stage in genome.layout:
        residual = {"heads": stage.layers[0].site.heads} if stage.source is not None else {}
        found[stage.name] = f"stage {_text(stage._asdict() | residual | whole)}"
        for layer in stage.layers:
            found[layer.name] = f"layer {_text(layer._asdict() | {'mlp': stage.mlp} | whole)}"
    head = {"width": last.width, "tokens": last.tokens, "classes": genome.classes}
    return found | {"": f"head {_text(head | whole)}"}


def without_timeless(key: str) -> str:
    """A key of earlier versions, which had the pixels and classes of a genome that says them."""
    kind, text = key.split(" ", 1)
    return f"{kind} {_text(json.loads(text) | TIMELESS)}"


def deployed_graph(genome: Genome) -> str:
    """12 hex digits that are equal for genomes which are the same graph after deployment, whatever their training.

    >>> deployed_graph(genome) == deployed_graph(genome.edit({"loss.diagonal.variant": "hinge"}))
    True
    """
    return hashlib.sha256(json.dumps(parts(genome), sort_keys=True).encode()).hexdigest()[:12]


def part_times(genome: Genome, anchor: Genome, *, batch_size: int, device: str) -> dict[str, float]:
    """Time of every part (by module name) in multiples of the anchor's total time.

    Inference on one batch in float32; the times add up to the genome's. Nothing else may run meanwhile.
    """
    model, clocked = deploy(build(genome)).to(device), deploy(build(genome)).to(device)
    other = deploy(build(anchor)).to(device)
    read = _clock(clocked, device)
    images_BCHW, others_BCHW = (_images(each, batch_size, device) for each in (genome, anchor))
    calls = (lambda: other(others_BCHW), lambda: model(images_BCHW), lambda: clocked(images_BCHW))
    with torch.inference_mode():
        base, whole, _ = timed(*calls, device=device)
    seconds = read()
    scale = statistics.median(whole) / statistics.median(base) / sum(seconds.values())
    return {name: scale * value for name, value in seconds.items()}


def _clock(model: Model, device: str) -> Callable[[], dict[str, float]]:
    """Take time stamps at the borders of a deployed model's parts; returns a function that reads them.

    It gives the median seconds of each part, a stage's without its layers, over the faster half of the calls. The
    slower half contains warm-up, and calls that found the caches filled by another model.
    """
    names = list(parts(model.genome))
    stamps: dict[str, list[tuple[Any, Any]]] = {name: [] for name in names}
    stamp, elapsed = _stamps(device)

    def before(name: str) -> Callable[..., None]:
        return lambda *_: stamps[name].append((stamp(), None))

    def after(name: str) -> Callable[..., None]:
        return lambda *_: stamps[name].append((stamps[name].pop()[0], stamp()))

    for name in names:
        module = model.get_submodule(name)
        module.register_forward_pre_hook(before(name))
        module.register_forward_hook(after(name))

    inner: dict[str, list[str]] = defaultdict(list)
    for name in names:
        if name:
            inner[name.rpartition(".layers.")[0]].append(name)

    def read() -> dict[str, float]:
        spent = {name: [elapsed(begin, end) for begin, end in times] for name, times in stamps.items()}
        usual = statistics.median(spent[""])
        fast = [call for call, seconds in enumerate(spent[""]) if seconds <= usual]

        def own(name: str, call: int) -> float:  # within one call, where a slow moment is on both sides
            return spent[name][call] - sum(spent[other][call] for other in inner[name])

        return {name: max(statistics.median(own(name, call) for call in fast), 1e-9) for name in names}

    return read


def _stamps(device: str) -> tuple[Callable[[], Any], Callable[[Any, Any], float]]:
    """A function that takes a time stamp without synchronising, and one that gives the seconds between two of them."""
    if torch.device(device).type != "cuda":
        return time.perf_counter, lambda begin, end: end - begin

    def record() -> torch.cuda.Event:
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event

    return record, lambda begin, end: begin.elapsed_time(end) / 1000


def _images(genome: Genome, batch_size: int, device: str) -> Tensor:
    image = genome.image
    return torch.randn(batch_size, image.channels, image.size, image.size, device=device)


def _text(plan: dict[str, Any]) -> str:
    return json.dumps({key: value for key, value in plan.items() if key not in TRAINING_ONLY}, default=_plain)


def _plain(value: Any) -> Any:
    assert isinstance(value, BaseModel)
    return value.model_dump(mode="json")
