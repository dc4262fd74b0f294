"""Every registered block, in every variant listed here, obeys the same rules. A new block joins by being registered:
its default options are tested at once, and `VARIANTS` is where its other options are added."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from nas.blocks import Site, registered, spec_of
from nas.blocks.base import Inputs
from nas.blocks.scores import ScoreForm, Scores
from nas.errors import GenomeError

VARIANTS: dict[str, list[dict[str, Any]]] = {
    "less": [
        {"transform": t, "path": path, **extra}
        for t in ("dense", "low_rank", "conv", "identity")
        for path in ("factored", "dense")
        for extra in ({}, {"per_head": True}, {"bias": True})
    ]
    + [{"transform": t, "source": "weights"} for t in ("dense", "low_rank", "conv", "identity")],
    "softmax": [{"relative": True}],
    "linear_angular": [
        {"constant": "sum"},
        {"constant": "mean"},
        {"constant": "none"},
        {"normaliser": "none"},
        {"constant": "sum", "normaliser": "row"},
        {"constant": "sum", "kernel": "exact"},
    ],
    "depthwise": [{"dimensions": 2}, {"dimensions": 2, "kernel": 5}, {"kernel": 3}],
    "spatial_reduction": [{"ratio": 2}, {"ratio": 3}, {"ratio": 2, "bias": False}, {"pooled": 2}],
    "window": [{"size": 2}, {"size": 2, "shift": True}, {"size": 7, "shift": True}],
    "focused_linear": [{"power": 2}, {"power": 16}, {"key_position": True}],
    "pooling": [{"kernel": 5}],
    "skip_attention": [{"kernel": 3, "expansion": 1}],
    "masked_softmax": [{"unit": "per_token", "epsilon": 1.0}, {"top_k": 3, "weight": 1.0}],
}
CASES = [
    (slot, name, options)
    for slot in ("core", "auxiliary", "local")
    for name in registered(slot)
    for options in [{}, *VARIANTS.get(name, [])]
]
IDS = ["-".join([name, *(f"{k}={v}" for k, v in options.items())]) for _, name, options in CASES]
SITES = [Site((4, 4), 32, 2), Site((3, 3), 24, 4, prefix=1), Site((14, 14), 64, 1), Site((4, 6), 24, 3)]


def takes(slot: Any, name: str, options: dict[str, Any], site: Site) -> bool:
    """Whether the block says that it fits: windows refuse prefix tokens, ratios a grid that they do not divide."""
    try:
        made(slot, name, options, site)
    except GenomeError:
        return False
    return True


def fitting(slot: Any, name: str, options: dict[str, Any]) -> Site:
    return next(site for site in SITES if takes(slot, name, options, site))


def made(slot: Any, name: str, options: dict[str, Any], site: Site) -> tuple[Any, Any, Site]:
    """(module, config, site): with factored scores coming in where the block needs some."""
    cls = registered(slot)[name]
    if getattr(cls, "needs", "") == "scores":
        site = site._replace(incoming=ScoreForm("factored", site.head_dim))
    config = cls.Config.model_validate({"block": name, **options})
    cls.check(config, site)
    torch.manual_seed(0)
    module = cls(config, site)
    for parameter in module.parameters():  # away from the identity, where gradients and maps would be special
        torch.nn.init.normal_(parameter, std=0.3)
    return module, config, site


def inputs(
    site: Site, projects: str = "qkv", batch: int = 2, device: str = "cpu", dtype: Any = torch.float32
) -> Inputs:
    generator = torch.Generator().manual_seed(1)

    def draw(*shape: int) -> torch.Tensor:
        drawn = torch.randn(*shape, generator=generator).to(device=device, dtype=dtype)
        return drawn.requires_grad_(device == "cpu")

    shape = (batch, site.tokens, site.heads, site.head_dim)
    parts = {part: draw(*shape) for part in "qkv" if part in projects}
    scores = None
    if site.incoming is not None:
        factors = (draw(*shape).transpose(1, 2) for _ in "qk")
        scores = Scores(*factors, scale=site.head_dim**-0.5)
    x_BNC, mixed_BNC = (draw(batch, site.tokens, site.width) for _ in range(2))
    return Inputs(x_BNC, parts, scores, mixed_BNC)


def run(slot: Any, module: Any, given: Inputs) -> torch.Tensor:
    if slot == "core":
        y, _ = module(given)
        return module.normalise(y)
    if slot == "auxiliary":
        return module(given.q_BNHD, given.k_BNHD, given.v_BNHD)[0]
    return module(given.v_BNHD)


def projected(slot: Any, module: Any, config: Any, site: Site) -> str:
    return type(module).projects(config, site) if slot == "core" else {"auxiliary": "qkv", "local": "v"}[slot]


@pytest.mark.parametrize(("slot", "name", "options"), CASES, ids=IDS)
@pytest.mark.parametrize("site", SITES, ids=str)
def test_shape_gradient_and_cost(slot: Any, name: str, options: dict[str, Any], site: Site) -> None:
    if not takes(slot, name, options, site):
        assert fitting(slot, name, options)  # refused here, tested elsewhere
        return
    module, config, site = made(slot, name, options, site)
    given = inputs(site, projected(slot, module, config, site))
    y = run(slot, module, given)
    assert y.shape == (2, site.tokens, site.heads, site.head_dim)
    assert y.isfinite().all()
    (y * torch.linspace(-1, 1, y.numel()).view_as(y)).sum().backward()
    for label, parameter in module.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all(), label
    # b_Ψ adds a constant to a row of scores, which softmax takes away again; it is felt by the next layer alone
    dead = [n for n, p in module.named_parameters() if not p.grad.abs().sum() > 0 and not n.endswith("bias_psi")]
    assert not dead, f"no gradient reaches {dead}"

    expected = type(module).cost(config, site)
    assert expected.params == sum(p.numel() for p in module.parameters())
    if slot != "auxiliary":  # absent from the deployed graph, so it has no cost to compare
        with torch.device("meta"):
            bare = type(module)(config, site)
        given = inputs(site, projected(slot, module, config, site), batch=1, device="meta")
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            run(slot, bare, given)
        assert expected.macs == counter.get_total_flops() / 2


@pytest.mark.parametrize(("slot", "name", "options"), CASES, ids=IDS)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_half_precision_follows_float32(slot: Any, name: str, options: dict[str, Any], dtype: torch.dtype) -> None:
    module, config, site = made(slot, name, options, fitting(slot, name, options))
    given = inputs(site, projected(slot, module, config, site))
    expected = run(slot, module, given)
    module.to(dtype)
    low = inputs(site, projected(slot, module, config, site), dtype=dtype)
    y = run(slot, module, low)
    assert y.dtype == dtype
    if name == "masked_softmax":  # a threshold: an entry close to it may fall on either side
        assert (y.float() - expected).abs().mean() < 0.02
    else:
        assert (y.float() - expected).norm() / expected.norm() < (0.05 if dtype == torch.bfloat16 else 0.01)


@pytest.mark.parametrize(("slot", "name", "options"), CASES, ids=IDS)
def test_zero_input_stays_finite(slot: Any, name: str, options: dict[str, Any]) -> None:
    module, config, site = made(slot, name, options, fitting(slot, name, options))
    given = inputs(site, projected(slot, module, config, site))
    with torch.no_grad():
        parts = [given.x_BNC, given.mixed_BNC, *given.projected.values()]
        for part in parts:
            part.zero_()
    y = run(slot, module, given)
    assert y.isfinite().all()
    y.sum().backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in parts)


EXACT = [
    (name, options)
    for slot, name, options in CASES
    if slot == "core" and registered(slot)[name].exact(registered(slot)[name].Config(block=name, **options))
]


@pytest.mark.parametrize(("name", "options"), EXACT, ids=str)
def test_a_core_that_calls_its_matrix_exact_applies_it(name: str, options: dict[str, Any]) -> None:
    module, config, site = made("core", name, options, fitting("core", name, options))
    given = inputs(site, projected("core", module, config, site))
    y_BNHD, scores = module(given)
    expected_BHND = scores.weights() @ given.v_BNHD.transpose(1, 2)
    torch.testing.assert_close(y_BNHD, expected_BHND.transpose(1, 2), atol=1e-4, rtol=1e-4)


def test_softmax_and_less_are_exact_and_a_relative_bias_is_not() -> None:
    assert ("softmax", {}) in EXACT and ("less", {}) in EXACT
    assert ("softmax", {"relative": True}) not in EXACT


def test_kernels_are_odd() -> None:
    for slot, name in (("core", "pooling"), ("core", "skip_attention"), ("core", "less"), ("local", "depthwise")):
        with pytest.raises(ValueError, match="the kernel is odd"):
            registered(slot)[name].Config(block=name, kernel=4)


@pytest.mark.parametrize("slot", ["core", "auxiliary", "local"])
def test_every_block_has_a_strict_config_and_a_header(slot: Any) -> None:
    import sys

    from pydantic import TypeAdapter

    for name, cls in registered(slot).items():
        assert cls.Config.model_config["frozen"] and cls.Config.model_config["extra"] == "forbid"
        assert cls.Config().block == name
        assert len(sys.modules[cls.__module__].__doc__ or "") > 200, f"{name} lacks a header with source and equation"
        adapter: TypeAdapter[Any] = TypeAdapter(spec_of(slot))
        for options in [{}, *VARIANTS.get(name, [])]:
            config = adapter.validate_python({"block": name, **options})
            assert adapter.validate_python(adapter.dump_python(config)) == config
        with pytest.raises(GenomeError, match="unknown key"):
            cls.Config.model_validate({"block": name}) and spec_raises(adapter, {"block": name, "no_such_option": 1})


def spec_raises(adapter: Any, value: Any) -> None:
    """The mistake as a genome would show it: pydantic wraps what the validator raises."""
    from pydantic import ValidationError

    try:
        adapter.validate_python(value)
    except ValidationError as error:
        raise error.errors()[0]["ctx"]["error"] from None


class Exported(torch.nn.Module):
    """A block as a model calls it, from tokens alone: torch.export takes tensors."""

    def __init__(self, slot: Any, module: Any, config: Any, site: Site):
        super().__init__()
        self.slot, self.module, self.site = slot, module, site
        self.projects = projected(slot, module, config, site)

    def forward(self, x_BNC: torch.Tensor) -> torch.Tensor:
        q, k, v = x_BNC.unflatten(2, (self.site.heads, -1)), x_BNC.flip(1).unflatten(2, (self.site.heads, -1)), x_BNC
        parts = {"q": q, "k": k, "v": v.unflatten(2, (self.site.heads, -1))}
        scores = Scores(q.transpose(1, 2), k.transpose(1, 2), self.site.head_dim**-0.5)
        given = Inputs(x_BNC, {part: parts[part] for part in self.projects}, scores, mixed_BNC=x_BNC)
        return run(self.slot, self.module, given)


# Each block as it comes, with gradients and without; its other options without, as they are deployed.
TRACED = [
    (case, grad, f"{name}-{'grad' if grad else 'no grad'}")
    for case, name in zip(CASES, IDS, strict=True)
    for grad in ([True, False] if not case[2] else [False])
    if len(case[2]) < 3 or case[2]["transform"] == "dense"
]


@pytest.mark.parametrize(("case", "grad"), [case[:2] for case in TRACED], ids=[case[2] for case in TRACED])
def test_a_batch_of_any_size_after_torch_export(case: tuple[Any, str, dict[str, Any]], grad: bool) -> None:
    slot, name, options = case
    site = fitting(slot, name, options)
    block = Exported(slot, *made(slot, name, options, site)).eval()
    images = torch.randn(70, site.tokens, site.width, generator=torch.Generator().manual_seed(0))
    with torch.set_grad_enabled(grad):
        program = torch.export.export(block, (images[:2],), dynamic_shapes=({0: torch.export.Dim("batch")},)).module()
    for batch in (1, 3, 70):
        with torch.no_grad():
            torch.testing.assert_close(program(images[:batch]), block(images[:batch]), rtol=1e-4, atol=1e-5)
