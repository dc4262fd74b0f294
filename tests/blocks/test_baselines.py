"""Each baseline core against a slow reference of its own: timm's modules with the same weights where timm has one, else
the paper's equation written out token by token. And whole models of them: cost by formula, deployment, refusals."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from timm.models.efficientvit_mit import LiteMLA
from timm.models.metaformer import Pooling as TimmPooling
from timm.models.pvt_v2 import Attention as TimmReduction
from timm.models.swin_transformer import SwinTransformerBlock
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

import nas
from nas.blocks import Site, registered
from nas.blocks.base import Inputs
from nas.errors import GenomeError


def core(name: str, site: Site, **options: Any) -> Any:
    cls = registered("core")[name]
    config = cls.Config(**options)
    cls.check(config, site)
    torch.manual_seed(0)
    module = cls(config, site)
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return module


def drawn(site: Site, *names: str, batch: int = 2) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(1)
    return {name: torch.randn(batch, site.tokens, site.width, generator=generator) for name in names}


def answered(module: Any, site: Site, **given: Tensor) -> Tensor:
    """(B, N, C) of a core for x, q, k, v, mixed given as (B, N, C)."""
    parts = {p: given[p].unflatten(2, (site.heads, -1)) for p in "qkv" if p in given}
    x = given.get("x", next(iter(given.values())))
    return module(Inputs(x, parts, mixed_BNC=given.get("mixed")))[0].flatten(2)


# ------------------------------------------------------------------------------------------------ spatial reduction


@pytest.mark.parametrize("ratio", [1, 2, 4])
def test_spatial_reduction_carries_the_weights_of_timm_pvt_v2(ratio: int) -> None:
    site = Site((8, 8), 32, 2)
    theirs = TimmReduction(32, 2, ratio)
    for parameter in theirs.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    ours = core("spatial_reduction", site, ratio=ratio)
    held = {k: v for k, v in theirs.state_dict().items() if not k.startswith(("q.", "proj."))}
    ours.load_state_dict(held, strict=True)  # every tensor by its own name, none left over
    x = drawn(site, "x")["x"]
    y = theirs.proj(answered(ours, site, x=x, q=theirs.q(x)))
    torch.testing.assert_close(y, theirs(x, (8, 8)), rtol=1e-6, atol=1e-6)


def test_prefix_tokens_skip_the_reduction_and_join_the_keys() -> None:
    site = Site((4, 6), 24, 3, prefix=2)
    module = core("spatial_reduction", site, ratio=2)
    given = drawn(site, "x", "q")
    expected = torch.zeros_like(given["q"])
    for b in range(2):
        keys = [given["x"][b, 0], given["x"][b, 1]]
        for row in range(0, 4, 2):
            for col in range(0, 6, 2):
                patch = torch.stack([given["x"][b, 2 + (row + i) * 6 + col + j] for i in range(2) for j in range(2)])
                weight = module.sr.weight.permute(2, 3, 1, 0).reshape(4, 24, 24)
                keys.append(module.norm((patch[:, None] @ weight).sum((0, 1)) + module.sr.bias))
        k, v = module.kv(torch.stack(keys)).chunk(2, -1)
        for head in range(3):
            part = slice(8 * head, 8 * head + 8)
            weights = (given["q"][b, :, part] @ k[:, part].T / 8**0.5).softmax(-1)
            expected[b, :, part] = weights @ v[:, part]
    torch.testing.assert_close(answered(module, site, **given), expected, rtol=1e-4, atol=1e-5)


# ----------------------------------------------------------------------------------------------------------- windows


@pytest.mark.parametrize(("grid", "size"), [((8, 8), 4), ((8, 12), 4), ((6, 6), 2), ((4, 4), 7), ((4, 14), 7)])
@pytest.mark.parametrize("shift", [False, True])
def test_window_equals_timm_swin(grid: tuple[int, int], size: int, shift: bool) -> None:
    site = Site(grid, 24, 3)
    theirs = SwinTransformerBlock(24, grid, 3, window_size=size, shift_size=size // 2 if shift else 0).eval()
    ours = core("window", site, size=size, shift=shift)
    torch.nn.init.normal_(theirs.attn.relative_position_bias_table)
    assert list(ours.state_dict()) == ["bias.table"]  # masks and indices are no weights
    ours.load_state_dict({"bias.table": theirs.attn.relative_position_bias_table.data})
    x = drawn(site, "x")["x"]
    q, k, v = theirs.attn.qkv(x).chunk(3, -1)
    expected = theirs._attn(x.unflatten(1, grid)).flatten(1, 2)
    torch.testing.assert_close(theirs.attn.proj(answered(ours, site, q=q, k=k, v=v)), expected, rtol=1e-5, atol=1e-6)


def test_shifted_windows_reach_over_the_borders_of_plain_ones_and_never_around_the_image() -> None:
    site = Site((4, 4), 8, 1)
    given = drawn(site, "q", "k", "v", batch=1)
    reach = {}
    for shift in (False, True):
        module = core("window", site, size=2, shift=shift)
        jacobian = torch.autograd.functional.jacobian(
            lambda v, module=module: answered(module, site, q=given["q"], k=given["k"], v=v).sum(-1)[0], given["v"]
        )
        reach[shift] = jacobian.abs().sum((1, 3)) > 0
    assert reach[False][5].nonzero().flatten().tolist() == [0, 1, 4, 5]
    assert reach[True][5].nonzero().flatten().tolist() == [5, 6, 9, 10]
    assert reach[True][0].nonzero().flatten().tolist() == [0]  # its window also holds 3, 12 and 15, rolled in


def test_only_a_window_that_covers_the_grid_hands_scores_on() -> None:
    cls = registered("core")["window"]
    assert cls.outgoing(cls.Config(size=2), Site((4, 4), 32, 2)) is None
    assert cls.outgoing(cls.Config(size=7), Site((4, 4), 32, 2)) is not None
    given = drawn(Site((4, 4), 32, 2), "q", "k", "v")
    parts = {p: given[p].unflatten(2, (2, 16)) for p in "qkv"}
    for size in (2, 7):
        _, scores = core("window", Site((4, 4), 32, 2), size=size)(Inputs(given["q"], parts))
        assert (scores is None) == (size == 2)


# -------------------------------------------------------------------------------------------------- linear attention


def test_relu_linear_equals_its_equation_and_timm() -> None:
    site = Site((4, 4), 32, 2)
    given = drawn(site, "q", "k", "v")
    y = answered(core("relu_linear", site), site, **given)
    for b in range(2):
        for head in range(2):
            q, k, v = (given[p][b, :, 16 * head : 16 * head + 16] for p in "qkv")
            for i in range(16):
                similarity = torch.stack([q[i].relu() @ k[j].relu() for j in range(16)])
                expected = (similarity[:, None] * v).sum(0) / similarity.sum()
                torch.testing.assert_close(y[b, i, 16 * head : 16 * head + 16], expected, rtol=1e-4, atol=1e-5)
    q, k, v = (given[p].unflatten(2, (2, 16)).transpose(1, 2) for p in "qkv")
    theirs = LiteMLA(32, 32, dim=16)._attn(q.relu(), k.relu(), F.pad(v, (0, 1), value=1.0))
    torch.testing.assert_close(y, theirs.transpose(1, 2).flatten(2))


@pytest.mark.parametrize("name", ["relu_linear", "focused_linear"])
def test_long_sums_stay_finite_in_float16_and_under_autocast(name: str) -> None:
    site = Site((64, 64), 8, 1)
    given = {key: 30 * value.abs() for key, value in drawn(site, "q", "k", "v", batch=1).items()}
    module = core(name, site)
    expected = answered(module, site, **given)
    low = answered(module.half(), site, **{key: value.half() for key, value in given.items()})
    assert low.dtype == torch.float16 and (low.float() - expected).norm() / expected.norm() < 0.01
    module.float()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        low = answered(module, site, **{key: value.bfloat16() for key, value in given.items()})
    assert low.dtype == torch.bfloat16 and (low.float() - expected).norm() / expected.norm() < 0.02


@pytest.mark.parametrize("power", [1, 3, 8])
def test_focused_linear_equals_the_released_equations(power: int) -> None:
    site = Site((4, 4), 32, 2)
    module = core("focused_linear", site, power=power, key_position=True)
    given = drawn(site, "q", "k", "v")

    def focused(x: Tensor) -> Tensor:
        u = (x.relu().double() + 1e-6) / torch.log(1 + torch.exp(module.temperature.double()))
        return u**power * (u.norm(dim=-1, keepdim=True) / (u**power).norm(dim=-1, keepdim=True))

    q, k, v = focused(given["q"]), focused(given["k"] + module.position), given["v"].double()
    torch.testing.assert_close(
        q.norm(dim=-1), ((given["q"].relu().double() + 1e-6) / F.softplus(module.temperature.double())).norm(dim=-1)
    )
    y = answered(module, site, **given)
    for head in range(2):
        part = slice(16 * head, 16 * head + 16)
        z = 1 / (q[..., part] @ k[..., part].mean(1, keepdim=True).transpose(1, 2) + 1e-6)
        expected = (q[..., part] @ k[..., part].transpose(1, 2) / 16) @ v[..., part] * z
        torch.testing.assert_close(y[..., part].double(), expected, rtol=1e-4, atol=1e-5)


def test_a_focused_vector_turns_towards_its_nearest_axis() -> None:
    site = Site((1, 1), 4, 1)
    x = torch.tensor([[[1.0, 0.9, 0.2, 0.1]]])
    turned = [core("focused_linear", site, power=p)._focused(x.unflatten(2, (1, 4))).flatten() for p in (1, 3, 9)]
    assert [round((t.amax() / t.norm()).item(), 2) for t in turned] == sorted(
        round((t.amax() / t.norm()).item(), 2) for t in turned
    )
    assert turned[0].norm().item() == pytest.approx(turned[2].norm().item(), rel=1e-5)


def test_hydra_equals_attention_with_a_head_per_channel() -> None:
    site = Site((3, 3), 12, 3, prefix=1)
    given = drawn(site, "q", "k", "v")
    q, k = (F.normalize(given[p], dim=-1) for p in "qk")
    expected = torch.zeros_like(given["v"])
    for channel in range(12):  # softmax-free attention of width 1: an N×N matrix for every channel
        matrix = q[:, :, channel, None] * k[:, None, :, channel]
        expected[:, :, channel] = (matrix @ given["v"][:, :, channel, None]).squeeze(-1)
    torch.testing.assert_close(answered(core("hydra", site), site, **given), expected, rtol=1e-5, atol=1e-6)


# -------------------------------------------------------------------------------------------------- without attention


def test_pooling_equals_timm_poolformer_and_leaves_prefix_tokens_alone() -> None:
    site = Site((4, 6), 24, 2, prefix=1)
    x = drawn(site, "x")["x"]
    y = answered(core("pooling", site), site, x=x)
    theirs = TimmPooling(3)(x[:, 1:].unflatten(1, (4, 6)).permute(0, 3, 1, 2))
    torch.testing.assert_close(y[:, 1:], theirs.permute(0, 2, 3, 1).flatten(1, 2))
    assert not y[:, 0].any()


def test_skip_attention_equals_its_equation() -> None:
    site = Site((4, 6), 8, 2, prefix=1)
    module = core("skip_attention", site)
    z = drawn(site, "mixed")["mixed"]
    y = answered(module, site, mixed=z)
    torch.testing.assert_close(y[:, 0], z[:, 0])  # the class token's answer is passed on
    for b in range(2):
        u = F.gelu(z[b, 1:] @ module.linear1.weight.T + module.linear1.bias)
        mixed = torch.zeros(24, 16)
        for row in range(4):
            for col in range(6):
                near = [(i, j) for i in range(-2, 3) for j in range(-2, 3) if 0 <= row + i < 4 and 0 <= col + j < 6]
                taps = [module.conv.weight[:, 0, i + 2, j + 2] * u[(row + i) * 6 + col + j] for i, j in near]
                mixed[row * 6 + col] = torch.stack(taps).sum(0) + module.conv.bias
        out = F.gelu(mixed) @ module.linear2.weight.T + module.linear2.bias
        mean = F.pad(out.mean(0), (1, 1))
        gate = torch.stack([mean[c : c + 3] @ module.eca.weight[0, 0] for c in range(8)]).sigmoid()
        torch.testing.assert_close(y[b, 1:], out * gate, rtol=1e-4, atol=1e-5)


# ------------------------------------------------------------------------------------------------------ whole models

# A class token reads nothing of what the last layer does on the grid alone, so such a layer is followed by another.
RUNS: dict[str, list[Any]] = {
    "spatial_reduction": [{"core": {"block": "spatial_reduction", "ratio": 2}}, "softmax", "less"],
    "window": [{"core": {"block": "window", "size": 2, "shift": shift}} for shift in (False, True)],
    "window_covering": [{"core": {"block": "window", "size": 7}}, "less"],
    "relu_linear": ["relu_linear", "less"],
    "focused_linear": [
        {"core": "focused_linear", "local": {"block": "depthwise", "dimensions": 2, "kernel": 5}},
        "softmax",
    ],
    "hydra": ["hydra x 2", "less"],
    "pooling": ["softmax", "pooling", "less"],
    "skip_attention": ["softmax", "skip_attention x 2", "less", "skip_attention", "softmax"],
}


def genome(layers: list[Any], **options: Any) -> nas.Genome:
    stages = [{"patch": 2, "width": 32, "heads": 2, "mlp_ratio": 2.0, "layers": layers}]
    return nas.Genome.parse({"image": {"size": 8, "channels": 1}, "classes": 10, "stages": stages, **options})


@pytest.mark.parametrize("layer_scale", [None, 0.1])
@pytest.mark.parametrize("pool", ["mean", "token"])
@pytest.mark.parametrize("layers", RUNS.values(), ids=RUNS)
def test_a_model_of_it_trains_deploys_and_costs_what_the_formula_says(
    layers: list[Any], pool: str, layer_scale: float | None
) -> None:
    if pool == "token" and "window" in str(layers):
        with pytest.raises(GenomeError, match=r"stages\.0\.layers\.0\.core: a class token belongs to no window"):
            genome(layers, pool=pool)
        return
    described = genome(layers, pool=pool, layer_scale=layer_scale, qkv_bias=False)
    assert nas.Genome.from_yaml(described.to_yaml()) == described
    torch.manual_seed(0)
    model = nas.build(described)
    model(torch.randn(2, 1, 8, 8)).square().sum().backward()
    dead = [n for n, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert not dead

    served = nas.deploy(model)  # compares logits
    cost = nas.cost(described)
    assert cost.params == sum(p.numel() for p in served.parameters())
    with torch.device("meta"):
        bare, images = nas.deploy(nas.build(described)), torch.empty(1, 1, 8, 8)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        bare(images)
    assert cost.macs == counter.get_total_flops() / 2


def test_skip_attention_follows_the_answer_of_the_layer_before() -> None:
    model = nas.build(genome(["softmax", "skip_attention"]))
    first, second = model.stages[0].layers
    seen: dict[str, Tensor] = {}
    first.attention.register_forward_hook(lambda m, i, o: seen.update(answered=o[0]))
    second.attention.core.register_forward_pre_hook(lambda m, i: seen.update(reused=i[0].mixed_BNC))
    model(torch.randn(2, 1, 8, 8))
    assert seen["reused"] is seen["answered"]


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        ([{"core": {"block": "spatial_reduction", "ratio": 3}}], r"layers\.0\.core\.ratio: ratio 3 does not divide"),
        ([{"core": {"block": "window", "size": 3}}], r"layers\.0\.core\.size: windows of 3 do not fit the grid 4x4"),
        (["skip_attention"], r"layers\.0\.core: skip_attention reuses the output of the layer before"),
        ([{"core": {"block": "pooling", "kernel": 4}}], r"layers\.0\.core\.kernel: the kernel is odd"),
        (["spatial_reduction", "less"], r"layers\.1\.core: less reuses the attention scores"),
        (
            [{"core": "pooling", "local": "depthwise"}],
            r"layers\.0\.local: depthwise needs v, and pooling projects none",
        ),
    ],
)
def test_a_mix_that_makes_no_sense_is_refused_with_its_key_path(layers: list[Any], message: str) -> None:
    with pytest.raises(GenomeError, match=message):
        genome(layers)
