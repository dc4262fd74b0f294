"""`nas latency`: the parts of a space timed on this machine, for searches elsewhere (nas/search/target.py).

    torch    parts are timed inside the running models, as for a run's own tables (nas/profiling/latency.py)
    onnx     whole models are exported as `nas export` does it and run by ONNX Runtime; the parts' times are fitted to
             theirs (nas/profiling/fit.py), since its operators are fused across the borders of parts

In both, whole models are timed as well, in turns with the base: the table says how far sums of parts are from them.
They are others than those of the fit, unless the space has no others. Weights are random, numbers float32. Nothing else
should run meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from importlib import metadata
from typing import Any, Literal

import torch

from nas.device import torch_threads
from nas.engine import Event, OnEvent
from nas.engine.events import ignore
from nas.engine.record import versions
from nas.errors import SpecError, nearest, shown
from nas.genome import Genome
from nas.genome.describe import describe
from nas.model import build, deploy
from nas.profiling import LatencyTable, TargetTable, covering, disturbance
from nas.profiling.fit import distinct, fitted, spanning
from nas.profiling.latency import device_name
from nas.profiling.stopwatch import in_turns, served
from nas.profiling.target import Checked
from nas.search.space import SearchSpace
from nas.search.spec import SearchSpec
from nas.search.target import timing_draws
from nas.serve import onnx
from nas.serve.export import traced
from nas.train import fitted as fitted_to

Runtime = Literal["torch", "onnx"]
RUNTIMES = ("torch", "onnx")
CHECKED = 5  # whole models that are timed to say how far predictions are off


def measure_latency(
    spec: SearchSpec,
    *,
    batch_size: int = 1,
    threads: int | None = None,
    device: str = "cpu",
    runtime: Runtime = "torch",
    image: dict[str, int] | None = None,
    on_event: OnEvent = ignore,
) -> TargetTable:
    """Time the parts of a space on this machine.

    image: keys of the base genome (image.size, image.channels, classes), in place of the data, which is then not
    loaded. Raises SpecError for an unusable device or runtime, and what a search raises for the space and the data.

    >>> measure_latency(load_space("mixed"), batch_size=1).accuracy
    """
    for name, value in (("batch_size", batch_size), ("threads", 1 if threads is None else threads)):
        if value < 1:
            raise SpecError(f"expected at least 1, found {value}", path=name)
    if runtime not in RUNTIMES:
        raise SpecError(f"no runtime {shown(runtime)}; {nearest(runtime, RUNTIMES)}", path="--runtime")
    if runtime == "onnx":
        onnx.check_installed("--runtime")
        onnx.check_device(device)
    space = _space(spec, image)
    sample = partial(space.sample, timing_draws(spec))
    rows: tuple[tuple[int, ...], ...] | None = None
    with torch_threads(threads):
        seconds_of = partial(_seconds, runtime, batch_size=batch_size, device=device, say=_say(on_event))
        if runtime == "onnx":
            models = spanning(space.base, sample)
            others = distinct(sample, CHECKED, models)
            _say(on_event)(f"timing {len(models) + len(others)} models in onnxruntime, with nothing else running")
            whole = seconds_of([*models, *others])
            (parts, counts_GP), measured = fitted(models, whole[: len(models)]), whole[len(models) :]
            rows = tuple(tuple(map(int, row)) for row in counts_GP)
            if not others:  # a space of few graphs: those of the fit
                others, measured = models[:CHECKED], whole[:CHECKED]
        else:
            models = list(covering(space.base, sample))
            others = [space.base, *distinct(sample, CHECKED - 1, models), *models[1:]][:CHECKED]
            _say(on_event)(f"timing the parts of {len(models)} models, with nothing else running")
            parts = LatencyTable.measure(models, space.base, batch_size=batch_size, device=device).seconds
            _say(on_event)(f"timing {len(others)} whole models, to say how far sums of parts are off")
            measured = seconds_of(others)
        used = torch.get_num_threads()
    table = TargetTable(
        seconds=parts,
        device=device_name(device),
        threads=used,
        batch_size=batch_size,
        runtime=runtime,
        versions=_versions(runtime),
        image=(space.base.image.channels, space.base.image.size, space.base.image.size),
        classes=space.base.classes,
        space=spec.name or "a space",
        base=space.base.hash,
        checked=(),
        models=rows,
    )
    pairs = zip(others, measured, strict=True)
    checked = tuple(Checked(describe(genome), found, table.seconds_of(genome)) for genome, found in pairs)
    return replace(table, checked=checked)


def _space(spec: SearchSpec, image: dict[str, int] | None) -> SearchSpace:
    base = spec.genome()
    if not image:
        return spec.space(fitted_to(base, spec.task.load()))
    try:
        return spec.space(base.edit(image | {"preprocess": None, "class_names": None}))
    except SpecError as error:
        raise error.within(path="base") from None


def _seconds(
    runtime: Runtime, genomes: list[Genome], *, batch_size: int, device: str, say: Callable[[str], None]
) -> list[float]:
    """Seconds of one batch of each whole model, in turns with the first one."""
    call = _onnx_call if runtime == "onnx" else _torch_call
    with torch.inference_mode(runtime == "torch"):
        calls = (call(genome, batch_size, device) for genome in genomes)
        found = in_turns(calls, device=device if runtime == "torch" else "cpu")  # onnxruntime returns when it is done
    if (told := disturbance(found)) is not None:
        say(told)
    return [each.median for each in found]


def _torch_call(genome: Genome, batch_size: int, device: str) -> Callable[[], object]:
    return served(build(genome), batch_size, device)


def _onnx_call(genome: Genome, batch_size: int, device: str) -> Callable[[], object]:
    model, image = deploy(build(genome).eval().requires_grad_(False)), genome.image
    images_BCSS = torch.randn(max(2, batch_size), image.channels, image.size, image.size)
    content = onnx.content(traced(model, images_BCSS[:2]), {})
    return onnx.batch_call(content, images_BCSS[:batch_size], threads=torch.get_num_threads(), device=device)


def _versions(runtime: Runtime) -> dict[str, str]:
    found = {name: versions()[name] for name in ("nas", "torch")}
    return found | ({"onnxruntime": metadata.version("onnxruntime")} if runtime == "onnx" else {})


def _say(on_event: OnEvent) -> Callable[[str], Any]:
    return lambda text: on_event(Event("message", data={"text": text}))
