"""Genome → module: shapes, traces, auxiliaries, weights, deploy."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from hypothesis import given, settings

import nas
from nas.blocks import Scores
from nas.errors import DataError, GenomeError
from nas.genome import Genome
from nas.model import Model, auxiliaries_on, build
from tests.genome.test_genome import genomes

SMALL = ["lavit_digits", "castling_digits", "mixed_digits"]


def images(model: Model, batch: int = 3) -> torch.Tensor:
    image = model.genome.image
    return torch.randn(batch, image.channels, image.size, image.size, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("name", nas.list_presets())
def test_every_preset_gives_logits_on_meta(name: str) -> None:
    with torch.device("meta"):
        model = nas.build(name)
        image = model.genome.image
        logits = model(torch.empty(2, image.channels, image.size, image.size))
    assert logits.shape == (2, model.genome.classes)


@pytest.mark.parametrize("shape", [(2, 3, 16, 64), (2, 3, 33, 33), (2, 1, 32, 32), (3, 32, 32)], ids=str)
def test_images_of_another_shape_are_refused_by_one_message(shape: tuple[int, ...]) -> None:
    model = nas.build("deit_micro_32").eval()  # 16×64 pixels are as many tokens as 32×32
    with pytest.raises(DataError, match=rf"images \(B, 3, 32, 32\), found \({', '.join(map(str, shape))}\)"):
        model(torch.zeros(shape))
    with pytest.raises(DataError, match="found"):
        model.forward_intermediates(torch.zeros(shape))
    compiled = torch.compile(model, backend="eager")
    with pytest.raises(DataError, match="found"):
        compiled(torch.zeros(shape))
    whole = torch.compile(model, backend="eager", fullgraph=True)
    assert whole(torch.zeros(2, 3, 32, 32)).shape == (2, 10)


def test_a_less_layer_projects_values_alone() -> None:
    layers = nas.build("lavit_digits").stages[0].layers
    widths = [layer.attention.qkv.out_features // layer.attention.qkv.in_features for layer in layers]  # type: ignore[union-attr]
    assert widths == [3, 3, 1]


def test_trace_names_scores_and_mask_mass() -> None:
    model = nas.build("castling_digits")
    logits, trace = model(images(model), trace=True)
    assert logits.shape == (3, 10)
    assert isinstance(trace.scores["stages.1.layers.2"], Scores)
    assert 0 < trace.mask_mass["stages.0.layers.0"] <= 1
    model.eval()
    _, trace = model(images(model), trace=True)
    assert not trace.mask_mass  # absent from the deployed graph


def test_gradients_reach_every_parameter() -> None:
    for name in SMALL:
        model = nas.build(name)
        model(images(model)).square().sum().backward()
        still = [n for n, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
        assert not still, f"{name}: no gradient reaches {still}"


@settings(max_examples=60, deadline=None)
@given(genomes())
def test_every_weight_has_a_gradient(data: dict[str, Any]) -> None:
    """Several processes that train a model wait for the gradient of each."""
    genome = Genome.parse(data)
    model = build(genome).train()
    model.set_progress(1.0)  # auxiliaries have ended
    model(torch.rand(2, genome.image.channels, 8, 8)).sum().backward()
    assert [name for name, weight in model.named_parameters() if weight.grad is None] == []


def test_auxiliaries_run_in_training_and_on_request_and_leave_with_progress() -> None:
    model = nas.build("castling_digits")
    x = images(model)
    training = model(x)
    model.eval()
    plain = model(x)
    with auxiliaries_on(model):
        asked = model(x)
    torch.testing.assert_close(asked, training)
    assert (plain - training).abs().max() > 1e-4
    torch.testing.assert_close(model(x), plain, rtol=0, atol=0)
    model.set_progress(1.0)
    torch.testing.assert_close(model.train()(x), plain)  # the annealed weight has emptied the branch: no jump


@pytest.mark.parametrize("name", SMALL)
def test_deploy_removes_auxiliaries_and_folds_scales(name: str) -> None:
    genome = nas.load_genome(name).edit({"layer_scale": 0.3, "drop_path": 0.2})
    model = nas.build(genome)
    served = nas.deploy(model)
    torch.testing.assert_close(served(images(model)), model.eval()(images(model)), rtol=1e-4, atol=1e-5)
    assert sum(p.numel() for p in served.parameters()) == nas.cost(genome).params
    assert not served.has_auxiliaries
    assert not [m for m in served.modules() if type(m).__name__ in ("DropPath", "LayerScale")]


def test_deploy_refuses_a_graph_that_computes_something_else(monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib

    home = importlib.import_module("nas.model.deploy")
    monkeypatch.setattr(home, "_folded", lambda scale, linear: torch.nn.Identity())  # a fold that forgets the scale
    model = nas.build(nas.load_genome("lavit_digits").edit({"layer_scale": 0.3}))
    with pytest.raises(home.DeployError, match="differ"):
        nas.deploy(model)


def test_weights_travel_with_the_genome(tmp_path: Path) -> None:
    model = nas.build("lavit_digits").eval()
    genome_file = tmp_path / "w1.yaml"
    genome_file.write_text(model.genome.to_yaml())
    safetensors.torch.save_file(model.state_dict(), tmp_path / "w1.safetensors")
    again = nas.build(genome_file, weights=True).eval()
    torch.testing.assert_close(again(images(model)), model(images(model)), rtol=0, atol=0)

    other = nas.build(genome_file, weights=True, num_classes=3).eval()
    assert other(images(model)).shape == (3, 3)
    torch.testing.assert_close(
        other.forward_features(images(model)), model.forward_features(images(model)), rtol=0, atol=0
    )

    with pytest.raises(GenomeError, match="another genome"):
        nas.build("castling_digits", weights=tmp_path / "w1.safetensors")
    (tmp_path / "w1.safetensors").write_bytes(b"not weights")
    with pytest.raises(GenomeError, match=r"w1\.safetensors: weights cannot be read"):
        nas.build(genome_file, weights=True)


def test_no_weight_decay_names_exist() -> None:
    model = nas.build("lavit_digits")
    names = model.no_weight_decay()
    assert names <= {name for name, _ in model.named_parameters()}
    assert "stages.0.position" in names and any(".psi." in name for name in names)
    relative = nas.build(
        nas.load_genome("lavit_digits").edit({"stages.0.core": {"block": "softmax", "relative": True}})
    )
    assert "stages.0.layers.0.attention.core.bias.table" in relative.no_weight_decay()


def test_unknown_preset_suggests_the_nearest() -> None:
    with pytest.raises(GenomeError, match="did you mean lavit_digits"):
        nas.build("lavit_digit")


@pytest.mark.parametrize("form", ["flat", "separable"])
@pytest.mark.parametrize("pool", ["mean", "token"])
def test_attention_residual_reaches_the_next_stage(form: str, pool: str) -> None:
    torch.manual_seed(0)
    genome = nas.load_genome("lavit_digits").edit({"stages.1.attention_residual": form, "pool": pool})
    model = nas.build(genome)
    x = images(model)
    logits, trace = model(x, trace=True)
    first = trace.scores["stages.1.layers.0"]
    assert first.dense().shape == (3, 4, 4 + (pool == "token"), 4 + (pool == "token"))
    logits.square().sum().backward()
    residual = model.stages[1].residual
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in residual.parameters())  # type: ignore[union-attr]
    plain = nas.build(genome.edit({"stages.1.attention_residual": "none"}))
    plain.load_state_dict({k: v for k, v in model.state_dict().items() if "residual" not in k})
    assert (plain(x) - logits).abs().max() > 1e-6
    with torch.no_grad():
        residual.scale.zero_()  # type: ignore[union-attr, operator]
    torch.testing.assert_close(model(x), plain(x), rtol=1e-5, atol=1e-6)


def test_separable_residual_is_a_pooled_and_mixed_matrix() -> None:
    """R_h = γ_h Σ_g M_hg P A_g P'ᵀ, written out with the pooling as explicit matrices."""
    from nas.blocks import Site
    from nas.blocks.base import ScoreForm
    from nas.model.residual import Separable

    source = Site((4, 4), 12, 3, incoming=ScoreForm("factored", 4))
    module = Separable(source, heads=2, stride=2, prefix=0)
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter)
    q, k = torch.randn(1, 3, 16, 4), torch.randn(1, 3, 16, 4)
    scores = Scores(q, k, 0.5)
    pools = []
    for weight in module.pools:
        pool_GNn = torch.zeros(3, 4, 16)
        for n in range(16):
            y, x = divmod(n, 4)
            pool_GNn[:, (y // 2) * 2 + x // 2, n] = weight[:, 0, y % 2, x % 2]
        pools.append(pool_GNn)
    pooled_GNN = pools[0] @ scores.dense()[0] @ pools[1].mT
    expected = torch.einsum("hg,gnm->hnm", module.scale * module.mix, pooled_GNN)
    torch.testing.assert_close(module(scores).dense()[0], expected, rtol=1e-4, atol=1e-4)


def test_relative_bias_depends_on_the_offset_alone() -> None:
    from nas.blocks.relative import RelativeBias

    bias = RelativeBias((3, 4), heads=2, prefix=1)().detach()
    assert bias.shape == (2, 13, 13)
    grid = bias[:, 1:, 1:].reshape(2, 3, 4, 3, 4)
    torch.testing.assert_close(grid[:, 0, 0, 1, 2], grid[:, 1, 1, 2, 3])  # the same offset elsewhere
    assert not torch.equal(grid[:, 0, 0, 1, 2], grid[:, 1, 2, 0, 0])  # the opposite offset
