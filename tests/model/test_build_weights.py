"""Weights that must not be loaded: each is one message, which names the first tensor that does not fit and why."""

from __future__ import annotations

import io
import json
import pickle
import struct
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save, save_file

import nas
from nas.errors import GenomeError
from nas.files import sha256_of

NAME = "stages.0.layers.0.attention.qkv.weight"
OWN = {name: tensor.clone() for name, tensor in nas.build("lavit_digits").state_dict().items()}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "weights.safetensors"


def build(file: Path, state: dict[str, torch.Tensor]) -> nas.Model:
    save_file(state, file)
    return nas.build("lavit_digits", weights=file)


@pytest.mark.parametrize(
    "dtype",
    [torch.float64, torch.int32, torch.int8, torch.uint8, torch.bool, torch.complex64, torch.float8_e4m3fn],
)
def test_another_dtype_is_refused(file: Path, dtype: torch.dtype) -> None:
    name, shape = str(dtype).removeprefix("torch."), tuple(OWN[NAME].shape)
    message = rf"1 of {len(OWN)} tensors differ, the first is {NAME}: expected float32 \({shape[0]}, {shape[1]}\), "
    with pytest.raises(GenomeError, match=rf"{file}: weights of another genome: {message}found {name} \({shape[0]}, "):
        build(file, OWN | {NAME: torch.zeros(shape).to(dtype)})


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_becomes_float32_exactly(file: Path, dtype: torch.dtype) -> None:
    half = {name: tensor.to(dtype) for name, tensor in OWN.items()}
    loaded = build(file, half).state_dict()
    assert all(torch.equal(loaded[name], half[name].float()) and loaded[name].dtype == torch.float32 for name in OWN)


def test_half_the_size_in_two_shapes_is_refused(file: Path) -> None:
    """As many bytes as the model's own: float16 of twice the width."""
    rows, columns = OWN[NAME].shape
    with pytest.raises(GenomeError, match=rf"{NAME}: expected float32 .*, found float16 \({rows}, {2 * columns}\)"):
        build(file, OWN | {NAME: torch.zeros(rows, 2 * columns, dtype=torch.float16)})


@given(st.sampled_from(sorted(OWN)), st.sampled_from([float("nan"), float("inf"), -float("inf")]), st.booleans())
def test_values_that_are_not_finite_are_refused(
    tmp_path_factory: pytest.TempPathFactory, name: str, value: float, half: bool
) -> None:
    spoilt = OWN[name].clone().to(torch.bfloat16 if half else torch.float32)
    spoilt.view(-1)[-1] = value
    file = tmp_path_factory.mktemp("weights") / "w.safetensors"
    with pytest.raises(GenomeError, match=rf"w\.safetensors: {name} has 1 value that is not finite"):
        build(file, OWN | {name: spoilt})
    spoilt.fill_(value)
    if spoilt.numel() > 1:
        with pytest.raises(GenomeError, match=rf"{name} has {spoilt.numel()} values that are not finite"):
            build(file, OWN | {name: spoilt})


def test_missing_and_extra_tensors_are_counted_and_the_first_named(file: Path) -> None:
    fewer = {name: tensor for name, tensor in OWN.items() if name not in (NAME, "head.bias")}
    with pytest.raises(GenomeError, match=rf"another genome: 2 missing \(head\.bias\) of {len(OWN)} tensors"):
        build(file, fewer)
    with pytest.raises(GenomeError, match=r"another genome: 2 missing \(head\.bias\) and 1 extra \(y\) of"):
        build(file, fewer | {"y": torch.ones(1)})
    with pytest.raises(GenomeError, match=rf"another genome: {len(OWN)} missing \(head\.bias\) of"):
        build(file, {})


def test_a_fresh_head_takes_nothing_from_the_file(file: Path) -> None:
    save_file(OWN | {"head.bias": torch.full((3,), float("nan"))}, file)
    model = nas.build("lavit_digits", weights=file, num_classes=7)
    assert all(tensor.isfinite().all() for tensor in model.state_dict().values())


class Bomb:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return exec, ("raise SystemExit(3)",)


@pytest.mark.parametrize("protocol", [None, False, 2, 5])
def test_a_pickle_is_never_read(tmp_path: Path, protocol: int | None) -> None:
    """torch's archive, its format before 1.6, and plain pickles."""
    stream = io.BytesIO()
    if protocol:
        pickle.dump({"a": Bomb()}, stream, protocol)
    else:
        torch.save({"a": Bomb()}, stream, _use_new_zipfile_serialization=protocol is None)
    for name in ("w.pth", "w.safetensors"):
        (tmp_path / name).write_bytes(stream.getvalue())
        with pytest.raises(GenomeError, match=rf"{name}: weights cannot be read: a pickle, .*safetensors"):
            nas.build("lavit_digits", weights=tmp_path / name)


def test_dtypes_that_torch_lacks_are_one_message(file: Path) -> None:
    header = json.dumps({"a": {"dtype": "F6_E2M3", "shape": [4], "data_offsets": [0, 3]}}).encode()
    file.write_bytes(struct.pack("<Q", len(header)) + header + bytes(3))
    with pytest.raises(GenomeError, match="weights cannot be read: "):
        nas.build("lavit_digits", weights=file)


@pytest.mark.parametrize("place", ["", "missing.safetensors", "nul\0"])
def test_what_is_no_file_is_one_message(tmp_path: Path, place: str) -> None:
    with pytest.raises(GenomeError, match="weights cannot be read: "):
        nas.build("lavit_digits", weights=tmp_path / place)


SAVED = save(OWN)


@given(st.data())
def test_a_damaged_header_is_one_message(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    header = 8 + struct.unpack("<Q", SAVED[:8])[0]
    blob = bytearray(SAVED)
    blob[data.draw(st.integers(0, header - 1))] ^= data.draw(st.integers(1, 255))
    del blob[data.draw(st.integers(0, len(blob))) :]
    file = tmp_path_factory.mktemp("weights") / "w.safetensors"
    file.write_bytes(blob)
    try:
        nas.build("lavit_digits", weights=file)
    except GenomeError as error:
        message = str(error)
    else:
        message = f"{file}: harmless"  # a changed space between two entries
    assert message.startswith(str(file))


@pytest.mark.parametrize("length", [0x80, 0x50])
def test_no_length_of_a_header_is_taken_for_a_pickle(file: Path, length: int) -> None:
    """A file of safetensors begins with the length of its header, whose lowest byte may be the one of a pickle."""
    for padding in range(256):
        save_file(OWN, file, metadata={"note": "x" * padding})
        if file.read_bytes()[0] == length:
            break
    assert file.read_bytes()[0] == length
    assert torch.equal(nas.build("lavit_digits", weights=file).state_dict()[NAME], OWN[NAME])


@pytest.fixture
def beside(tmp_path: Path) -> Path:
    """A genome whose weights were trained as another one, in which all tensors fit."""
    other = nas.load_genome("lavit_digits").edit({"drop_path": 0.3})
    (tmp_path / "genome.yaml").write_text(other.to_yaml())
    save_file(
        OWN, tmp_path / "genome.safetensors", {"job": json.dumps({"genome": nas.load_genome("lavit_digits").hash})}
    )
    return tmp_path / "genome.yaml"


def build_beside(file: Path) -> nas.Model:
    return nas.build(file, weights=True)


@pytest.mark.parametrize("use", [build_beside, nas.load, nas.diagnose], ids=["build", "load", "diagnose"])
def test_weights_of_another_genome_are_not_taken_for_those_of_the_genome_beside(
    beside: Path, use: Callable[[Path], object]
) -> None:
    own, theirs = nas.load_genome(beside).hash, nas.load_genome("lavit_digits").hash
    message = rf"genome\.safetensors: weights of another genome: trained as genome {theirs}, and genome\.yaml is {own}"
    with pytest.raises(GenomeError, match=message):
        use(beside)


@pytest.mark.parametrize("names", [("w1-0003", "w1-0003.json"), ("weights", "result.json")], ids=["winner", "trial"])
def test_weights_that_are_not_those_of_the_results_beside_them_are_named(
    tmp_path: Path, names: tuple[str, str]
) -> None:
    weights, results = tmp_path / f"{names[0]}.safetensors", tmp_path / names[1]
    genome = tmp_path / ("genome.yaml" if names[0] == "weights" else f"{names[0]}.yaml")
    genome.write_text(nas.load_genome("lavit_digits").to_yaml())
    save_file(OWN, weights)
    results.write_text(json.dumps({"weights_sha256": sha256_of(weights)}))
    nas.build(genome, weights=True)
    save_file(OWN | {NAME: OWN[NAME] + 1}, weights)
    for use in (build_beside, nas.load):
        with pytest.raises(GenomeError, match=rf"other weights than the results .*differs from that in {names[1]}"):
            use(genome)
    nas.build(genome, weights=weights)
    for content in ("[", "[]", "{}", '{"weights_sha256": null}'):
        results.write_text(content)
        nas.build(genome, weights=True)


def test_weights_of_another_genome_that_are_named_are_loaded_with_a_warning(
    beside: Path, caplog: pytest.LogCaptureFixture
) -> None:
    nas.build(beside, weights=beside.with_suffix(".safetensors"))
    assert "was trained as genome" in caplog.text
    caplog.clear()
    nas.build("lavit_digits", weights=beside.with_suffix(".safetensors"))
    assert not caplog.text


@pytest.mark.parametrize("job", [None, "{", "[]", "3", '{"genome": null}', '{"data": "digits"}'])
def test_weights_that_do_not_say_what_they_were_trained_as_are_loaded(tmp_path: Path, job: str | None) -> None:
    (tmp_path / "genome.yaml").write_text(nas.load_genome("lavit_digits").to_yaml())
    save_file(OWN, tmp_path / "genome.safetensors", None if job is None else {"job": job})
    nas.build(tmp_path / "genome.yaml", weights=True)


def test_metadata_that_is_deeply_nested_says_nothing(tmp_path: Path) -> None:
    (tmp_path / "genome.yaml").write_text(nas.load_genome("lavit_digits").to_yaml())
    save_file(OWN, tmp_path / "genome.safetensors", {"job": "[" * 100_000})
    nas.build(tmp_path / "genome.yaml", weights=True)
