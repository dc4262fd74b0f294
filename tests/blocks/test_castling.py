"""The Castling-ViT blocks against their equations, written out the slow way."""

from __future__ import annotations

import itertools
import math

import pytest
import torch

from nas.blocks import Site
from nas.blocks.base import Inputs
from nas.blocks.depthwise import Depthwise
from nas.blocks.linear_angular import LinearAngular
from nas.blocks.masked_softmax import MaskedSoftmax
from nas.blocks.schedule import Schedule

SITE = Site((4, 4), 24, 3, prefix=1)


def qkv(seed: int = 0) -> tuple[torch.Tensor, ...]:
    generator = torch.Generator().manual_seed(seed)
    shape = (2, SITE.tokens, SITE.heads, SITE.head_dim)
    return tuple(torch.randn(*shape, generator=generator, dtype=torch.float64) for _ in range(3))


def core(**options: object) -> LinearAngular:
    return LinearAngular(LinearAngular.Config(**options), SITE)  # type: ignore[arg-type]


def test_released_form() -> None:
    q, k, v = (t.transpose(1, 2) for t in qkv())
    y = 0.5 * v + (q / q.norm(dim=-1, keepdim=True)) @ ((k / k.norm(dim=-1, keepdim=True)).mT @ v) / math.pi
    expected = y / y.norm(dim=-1, keepdim=True)
    module = core()
    ours = module.normalise(module(Inputs(v, dict(zip("qkv", qkv(), strict=True))))[0])
    torch.testing.assert_close(ours, expected.transpose(1, 2), atol=1e-12, rtol=1e-12)


def test_sum_and_row_are_attention_with_the_linear_kernel() -> None:
    q, k, v = (t.transpose(1, 2) for t in qkv())
    cosine = torch.nn.functional.cosine_similarity(q[..., :, None, :], k[..., None, :, :], dim=-1)
    sim = 0.5 + cosine / math.pi
    expected = sim @ v / sim.sum(-1, keepdim=True)
    ours, _ = core(constant="sum", normaliser="row")(Inputs(v, dict(zip("qkv", qkv(), strict=True))))
    torch.testing.assert_close(ours, expected.transpose(1, 2), atol=1e-12, rtol=1e-12)


def test_exact_kernel_is_within_the_truncation_error() -> None:
    """|Sim − (½ + c/π)| ≤ ½ − 1/π = 0.1817 for every pair (castling-vit's series, cut after its first power)."""
    q, k, v = qkv()
    exact, _ = core(constant="sum", kernel="exact", normaliser="none")(Inputs(v, {"q": q, "k": k, "v": v}))
    linear, _ = core(constant="sum", normaliser="none")(Inputs(v, {"q": q, "k": k, "v": v}))
    bound = (0.5 - 1 / math.pi) * v.abs().sum(1, keepdim=True)
    assert ((exact - linear).abs() <= bound + 1e-9).all()
    assert (exact - linear).abs().max() > 1e-6


def test_mask_keeps_what_exceeds_epsilon_and_reports_its_mass() -> None:
    q, k, v = qkv()
    module = MaskedSoftmax(MaskedSoftmax.Config(epsilon=0.1, weight=0.5), SITE)  # type: ignore[arg-type]
    y, mass = module(q, k, v)
    a = (q.transpose(1, 2) @ k.transpose(1, 2).mT / math.sqrt(SITE.head_dim)).softmax(-1)
    kept = a * (a > 0.1)
    torch.testing.assert_close(y, 0.5 * (kept @ v.transpose(1, 2)).transpose(1, 2), atol=1e-7, rtol=1e-6)
    assert mass.item() == pytest.approx(0.5 * kept.sum(-1).mean().item(), rel=1e-5)


@pytest.mark.parametrize(
    "options", [{}, {"epsilon": {"start": 0.02, "end": 1.0}, "weight": 1.0}], ids=["weight", "epsilon"]
)
def test_annealed_masks_are_empty_at_the_end(options: dict[str, object]) -> None:
    q, k, v = qkv()
    module = MaskedSoftmax(MaskedSoftmax.Config(**options), SITE)  # type: ignore[arg-type]
    masses = []
    for progress in (0.0, 0.5, 1.0):
        module.set_progress(progress)
        masses.append(module(q, k, v)[1].item())
    assert masses[0] > masses[1] > masses[2] == 0


def test_a_fixed_threshold_cannot_empty_a_small_mask() -> None:
    """A softmax row's maximum is at least 1/N, so with N = 17 a threshold of 0.02 always leaves something."""
    q, k, v = (10 * t for t in qkv())
    module = MaskedSoftmax(MaskedSoftmax.Config(weight=1.0), SITE)  # type: ignore[arg-type]
    module.set_progress(1.0)
    assert module(q, k, v)[1].item() > 1 / SITE.tokens


def test_top_k_keeps_k_entries_a_row() -> None:
    q, k, _ = qkv()
    config = MaskedSoftmax.Config(epsilon=0.0, weight=1.0, top_k=2)  # type: ignore[arg-type]
    eye = torch.eye(SITE.tokens, dtype=torch.float64).repeat(2, SITE.heads, 1, 1).transpose(1, 2)
    y, _ = MaskedSoftmax(config, SITE)(q, k, eye)  # values = identity, so y is the mask itself
    assert (y.transpose(1, 2) > 0).sum(-1).eq(2).all()


@pytest.mark.parametrize("shape", ["linear", "cosine", "step"])
def test_schedules_run_from_start_to_end(shape: str) -> None:
    schedule = Schedule(start=2.0, end=1.0, shape=shape, begin=0.2, until=0.8)  # type: ignore[arg-type]
    values = [schedule.value(p / 20) for p in range(21)]
    assert values[0] == values[4] == 2.0 and values[16] == values[20] == 1.0
    assert all(a >= b for a, b in itertools.pairwise(values))
    assert schedule.value(0.5) == pytest.approx({"linear": 1.5, "cosine": 1.5, "step": 2.0}[shape])


def test_depthwise_1d_runs_over_the_token_order_with_one_filter_a_head() -> None:
    _, _, v = qkv()
    module = Depthwise(Depthwise.Config(), SITE).double()
    assert module.weight.numel() == 9 * SITE.heads
    expected = torch.zeros_like(v)
    for n in range(SITE.tokens):
        for tap in range(9):
            if 0 <= n + tap - 4 < SITE.tokens:
                expected[:, n] += v[:, n + tap - 4] * module.weight[:, 0, tap, 0][:, None]
    torch.testing.assert_close(module(v), expected, atol=1e-12, rtol=1e-12)


def test_depthwise_1d_compiled_is_the_same_sum() -> None:
    _, _, v = qkv()
    module = Depthwise(Depthwise.Config(), SITE).double()
    compiled = torch.compile(module, backend="eager")  # traced as for any backend, and run as it is
    torch.testing.assert_close(compiled(v), module(v), atol=1e-12, rtol=1e-12)


def test_depthwise_2d_stays_on_the_grid() -> None:
    _, _, v = qkv()
    module = Depthwise(Depthwise.Config(dimensions=2), SITE).double()
    y = module(v)
    assert (y[:, 0] == 0).all()  # the class token has no place on the grid
    image = v[:, 1:].flatten(2).transpose(1, 2).reshape(2, SITE.width, 4, 4)
    expected = torch.nn.functional.conv2d(image, module.weight, padding=1, groups=SITE.width)
    torch.testing.assert_close(y[:, 1:].flatten(2).transpose(1, 2), expected.flatten(2), atol=1e-12, rtol=1e-12)


@pytest.mark.parametrize("options", [{}, {"constant": "sum", "normaliser": "row"}, {"constant": "none"}])
def test_a_zero_token_has_a_finite_gradient_in_float16(options: dict[str, object]) -> None:
    """Where float32 has one of 10⁶ times the next, which is infinite in float16 and NaN behind a projection."""
    q, k, v = (t.to(torch.float16) for t in qkv())
    q[:, 3], k[:, 3], v[:, 3] = 0, 0, 0
    if options.get("constant") == "none":
        v[:] = 0  # the outputs are zero as well
    leaves = [t.requires_grad_() for t in (q, k, v)]
    module = core(**options)
    y, _ = module(Inputs(v, {"q": q, "k": k, "v": v}))
    (2.0**10 * module.normalise(y)).sum().backward()
    for leaf in leaves:
        assert leaf.grad is not None and leaf.grad.isfinite().all()
    assert (q.grad[:, 3] == 0).all() and (k.grad[:, 3] == 0).all()  # type: ignore[index]
