"""Exported files: every small preset and every core, any batch size, the answers of the model, and what they say."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import onnxruntime
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

import nas
from nas.blocks import registered
from nas.data.pictures import Form
from nas.errors import GenomeError, SpecError
from nas.genome import Genome, list_presets, load_genome
from nas.model import deploy
from nas.serve.export import export

SMALL = [name for name in list_presets() if name.endswith(("_digits", "_micro_32"))]
BATCHES = (1, 3, 70)
PLAIN = {
    "image": {"size": 8, "channels": 3},
    "classes": 4,
    "stem": "conv",
    "layer_scale": 0.1,
    "preprocess": {"mean": [0.5, 0.4, 0.3], "std": [0.2, 0.3, 0.25]},
    "class_names": ["thé", "b", "c", "d"],
    "stages": [
        {
            "patch": 2,
            "width": 16,
            "heads": 2,
            "mlp": "depthwise",
            "layers": [
                {"core": "softmax", "local": "depthwise"},
                {"core": "less", "local": {"block": "depthwise", "dimensions": 2}},
                "linear_angular",
                "relu_linear",
                "focused_linear",
                "hydra",
                "pooling",
                "skip_attention",
                {"core": {"block": "spatial_reduction", "ratio": 2}},
                {"core": {"block": "window", "size": 2, "shift": True}},
            ],
        }
    ],
}
WITH_TOKEN = {
    "image": {"size": 8, "channels": 1},
    "classes": 3,
    "pool": "token",
    "stages": [
        {"patch": 2, "width": 16, "heads": 2, "layers": [{"core": {"block": "softmax", "relative": True}}]},
        {
            "patch": 2,
            "width": 16,
            "heads": 2,
            "attention_residual": "flat",
            "layers": [
                "softmax",
                {"core": {"block": "less", "transform": "conv"}, "local": "depthwise"},
                {"core": {"block": "less", "source": "weights"}},
                {"core": {"block": "linear_angular", "constant": "sum", "normaliser": "row", "centred": True}},
                "skip_attention",
            ],
        },
    ],
}


TINY = WITH_TOKEN | {"stages": [{"patch": 4, "width": 8, "heads": 2, "layers": ["softmax", "linear_angular"]}]}


def written(folder: Path, data: dict[str, Any]) -> Path:
    """A genome file beside random weights that are far from zero."""
    torch.manual_seed(0)
    genome = Genome.parse(data)
    model = nas.build(genome)
    for parameter in model.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    (folder / "g.yaml").write_text(genome.to_yaml())
    save_file(model.state_dict(), folder / "g.safetensors")
    return folder / "g.yaml"


def answers(file: Path, images: Tensor) -> Tensor:
    if file.suffix == ".pt2":
        found: Tensor = torch.export.load(file).module()(images).detach()
        return found
    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    return torch.from_numpy(session.run(None, {"images": images.numpy()})[0])


@pytest.mark.parametrize("grad", [True, False], ids=["grad", "no grad"])
@pytest.mark.parametrize("name", SMALL)
def test_every_small_preset_takes_any_batch(name: str, grad: bool) -> None:
    model = deploy(nas.build(name))
    image = model.genome.image
    images = torch.randn(70, image.channels, image.size, image.size, generator=torch.Generator().manual_seed(0))
    with torch.set_grad_enabled(grad):
        program = torch.export.export(model, (images[:2],), dynamic_shapes=({0: torch.export.Dim("batch")},)).module()
    for batch in BATCHES:
        with torch.no_grad():
            torch.testing.assert_close(program(images[:batch]), model(images[:batch]), rtol=1e-4, atol=1e-5)


def test_every_core_is_in_an_exported_genome() -> None:
    layers = [layer for data in (PLAIN, WITH_TOKEN) for stage in Genome.parse(data).layout for layer in stage.layers]
    built_in = {name for name, core in registered("core").items() if core.__module__.startswith("nas.")}
    assert {layer.core.block for layer in layers} == built_in


@pytest.mark.parametrize("data", [PLAIN, WITH_TOKEN], ids=["plain", "token"])
def test_onnx_answers_as_the_model_in_any_batch(tmp_path: Path, data: dict[str, Any]) -> None:
    genome = written(tmp_path, data)
    with torch.no_grad():  # a caller's mode is not the file's
        found = export(genome, tmp_path / "out/m.onnx")
    assert 0 < found.difference < 1e-4
    assert [file.name for file in found.file.parent.iterdir()] == ["m.onnx"]
    model = nas.build(genome, weights=True).eval()
    image = model.genome.image
    images = torch.randn(70, image.channels, image.size, image.size, generator=torch.Generator().manual_seed(1))
    for batch in BATCHES:
        with torch.no_grad():
            torch.testing.assert_close(answers(found.file, images[:batch]), model(images[:batch]), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("suffix", [".pt2", ".onnx"])
def test_with_preprocess_pixels_go_in_and_probabilities_come_out(
    trained: Path, photographs: Path, tmp_path: Path, suffix: str
) -> None:
    found = export(trained, tmp_path / f"m{suffix}", with_preprocess=True)
    model, transform, class_names = nas.load(trained)
    files = sorted(photographs.rglob("*.jpg"))[:5]
    form = Form(8, 3, transform.form.interpolation, transform.form.crop)
    pixels = torch.stack([form.fit(transform._pixels(file)) for file in files])
    assert pixels.dtype == torch.uint8
    with torch.no_grad():
        expected = model(torch.stack([transform(file) for file in files])).softmax(1)
    torch.testing.assert_close(answers(found.file, pixels), expected, rtol=1e-4, atol=1e-5)

    genome = load_genome(trained)
    told = {"input": "images (batch, 3, 8, 8), uint8, 0 to 255", "output": "probabilities"}
    told |= {"class_names": list(class_names), "preprocess": genome.preprocess.model_dump(mode="json")}
    assert (found.input, found.output) == (told["input"], told["output"])
    if suffix == ".onnx":
        session = onnxruntime.InferenceSession(str(found.file), providers=["CPUExecutionProvider"])
        assert {key: json.loads(text) for key, text in session.get_modelmeta().custom_metadata_map.items()} == told
        assert session.get_inputs()[0].shape == ["batch", 3, 8, 8]
        assert str(Path(nas.__file__).parent).encode() not in found.file.read_bytes()  # no stack traces
    else:
        extra = {"metadata.json": ""}
        torch.export.load(found.file, extra_files=extra)
        assert json.loads(extra["metadata.json"]) == told


def test_a_program_of_torch_needs_no_nas(tmp_path: Path) -> None:
    genome = written(tmp_path, TINY)
    export(genome, tmp_path / "m.pt2")
    model = nas.build(genome, weights=True).eval()
    images = torch.randn(70, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        save_file({"images": images, "logits": model(images)}, tmp_path / "expected.safetensors")
    code = (
        "import sys; sys.modules['nas'] = None\n"
        "import torch; from safetensors.torch import load_file; given = load_file('expected.safetensors')\n"
        "model = torch.export.load('m.pt2').module()\n"
        f"for batch in {BATCHES}:\n"
        "    images = given['images'][:batch].requires_grad_()\n"
        "    torch.testing.assert_close(model(images), given['logits'][:batch], rtol=1e-4, atol=1e-4)\n"
        "model(images).sum().backward(); print(images.grad.abs().sum() > 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.stdout == "tensor(True)\n", done.stderr


@pytest.mark.parametrize(("wrong", "before"), [(0.01, b"an earlier export"), (float("nan"), None)])
def test_a_file_that_answers_otherwise_is_not_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wrong: float, before: bytes | None
) -> None:
    def spoiled(model: Any) -> Any:
        served = deploy(model)
        served.head.bias.data[0] += wrong
        return served

    monkeypatch.setattr(sys.modules["nas.serve.export"], "deploy", spoiled)
    genome, to = written(tmp_path, TINY), tmp_path / "out" / "m.pt2"
    to.parent.mkdir()
    if before is not None:
        to.write_bytes(before)
    with pytest.raises(SpecError, match=r"differ from the model's by .* over 0\.0001: it was not written"):
        export(genome, to)
    assert [file.read_bytes() for file in to.parent.iterdir()] == ([before] if before is not None else [])


def test_what_is_missing_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    genome = written(tmp_path, TINY)  # says nothing of pixels
    with pytest.raises(GenomeError, match="preprocess: neither the genome nor its weights say"):
        export(genome, tmp_path / "m.onnx", with_preprocess=True)
    with pytest.raises(SpecError, match=r"--to: expected .* \.pt2 or \.onnx, found 'm.tflite'"):
        export(genome, tmp_path / "m.tflite")
    (tmp_path / "d.onnx").mkdir()
    with pytest.raises(SpecError, match=r"--to: .*d\.onnx is a folder; name a file, or end with /"):
        nas.export(genome, tmp_path / "d.onnx")
    (tmp_path / "d.onnx").rmdir()
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(SpecError, match=r"needs onnx, onnxruntime, onnxscript: pip install 'nas-vit\[onnx\]'"):
        export(genome, tmp_path / "m.onnx")
    assert sorted(file.name for file in tmp_path.iterdir()) == ["g.safetensors", "g.yaml"]
