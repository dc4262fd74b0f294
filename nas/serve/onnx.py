"""ONNX: the file of an exported program, its answers and time by onnxruntime. Their packages are the extra `onnx`."""

from __future__ import annotations

import importlib.util
import json
import logging
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from nas.errors import SpecError

PACKAGES = ("onnx", "onnxruntime", "onnxscript")  # torch's exporter needs the last
PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}


def check_installed(option: str = "--to") -> None:
    """Raise SpecError, which names the option that asks for ONNX, if a package is missing."""
    missing = [name for name in PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        raise SpecError(f"ONNX needs {', '.join(missing)}: pip install 'nas-vit[onnx]'", path=option)


def content(program: torch.export.ExportedProgram, metadata: dict[str, Any]) -> bytes:
    """The bytes of an .onnx file, weights included. Its input is called `images`, its first axis `batch`."""
    import onnx

    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made = torch.onnx.export(program, dynamo=True, verbose=False, input_names=["images"], output_names=["answers"])
    assert made is not None
    proto = made.model_proto
    for node in proto.graph.node:  # stack traces, with paths of this machine
        node.ClearField("metadata_props")
    for value in (*proto.graph.input, *proto.graph.output):
        value.type.tensor_type.shape.dim[0].dim_param = "batch"
    told = {key: json.dumps(value, ensure_ascii=False) for key, value in metadata.items()}
    onnx.helper.set_model_props(proto, told)
    written: bytes = proto.SerializeToString()
    return written


def answers(path: Path) -> Callable[[Tensor], Tensor]:
    """The function that the file computes."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return lambda images: torch.from_numpy(session.run(None, {"images": images.numpy()})[0])


def batch_call(content: bytes, images: Tensor, *, threads: int, device: str) -> Callable[[], object]:
    """A call that runs one batch through an .onnx file, for the stopwatch. threads: of an operator, on the CPU."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(content, options, providers=[PROVIDERS[device]])
    feed = {"images": images.numpy()}
    return lambda: session.run(None, feed)


def check_device(device: str) -> None:
    """Raise SpecError if the onnxruntime that is installed does not run on the device."""
    import onnxruntime

    found = onnxruntime.get_available_providers()
    if PROVIDERS.get(device) not in found:
        have = ", ".join(name for name, provider in PROVIDERS.items() if provider in found)
        message = f"this onnxruntime runs on {have}, not on {device!r}; for cuda: pip install onnxruntime-gpu"
        raise SpecError(message, path="--device")
