"""The factored form of less-attention against the equation as printed: values, gradients, chains, memory."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from nas.blocks import Site, registered
from nas.blocks.base import Inputs
from nas.blocks.less import Less
from nas.blocks.scores import ScoreForm, Scores

SITE = Site((4, 5), 24, 3, prefix=1)


def chain(options: dict[str, Any], site: Site, length: int, dtype: torch.dtype = torch.float64) -> list[Less]:
    torch.manual_seed(3)
    layers = []
    form: ScoreForm | None = ScoreForm("factored", site.head_dim)
    for _ in range(length):
        site = site._replace(incoming=form)
        config = Less.Config(**options)
        layers.append(Less(config, site).to(dtype))
        form = Less.outgoing(config, site)
        for parameter in layers[-1].parameters():
            torch.nn.init.normal_(parameter, std=0.3)
    return layers


def forward(layers: list[Less], q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    scores, total = Scores(q, k, 0.4), torch.zeros((), dtype=q.dtype)
    for layer in layers:
        y, scores = layer(Inputs(v, {"v": v}, scores))
        total = total + (y * torch.linspace(-1, 1, y.numel(), dtype=y.dtype).view_as(y)).sum()
    return y, total


@pytest.mark.parametrize("transform", ["dense", "low_rank", "conv", "identity"])
@pytest.mark.parametrize("per_head", [False, True])
@pytest.mark.parametrize("bias", [False, True])
def test_factored_equals_printed(transform: str, per_head: bool, bias: bool) -> None:
    options = {"transform": transform, "per_head": per_head, "bias": bias, "rank": 4}
    fast, printed = (chain(options | {"path": path}, SITE, 3) for path in ("factored", "dense"))
    for a, b in zip(fast, printed, strict=True):
        b.load_state_dict(a.state_dict())
    shape = (2, SITE.tokens, SITE.heads, SITE.head_dim)
    given = [torch.randn(*shape, dtype=torch.float64).requires_grad_() for _ in range(3)]
    results = []
    for layers in (fast, printed):
        q, k, v = given
        y, total = forward(layers, q.transpose(1, 2), k.transpose(1, 2), v)
        weights = [p for layer in layers for p in layer.parameters()]
        results.append((y, torch.autograd.grad(total, [*given, *weights], allow_unused=True)))
    (y_fast, grads_fast), (y_printed, grads_printed) = results
    assert (y_fast - y_printed).abs().max() < 1e-10
    for a, b in zip(grads_fast, grads_printed, strict=True):
        assert a is not None and b is not None
        assert (a - b).abs().max() < 1e-10


@pytest.mark.parametrize(
    "options", [{}, {"transform": "low_rank"}, {"transform": "conv"}, {"source": "weights"}], ids=str
)
def test_a_fresh_layer_repeats_the_attention_before_it(options: dict[str, Any]) -> None:
    config = Less.Config(**options)
    layer = Less(config, SITE._replace(incoming=ScoreForm("factored", SITE.head_dim)))
    q, k, v = (torch.randn(2, SITE.tokens, SITE.heads, SITE.head_dim) for _ in range(3))
    softmax = registered("core")["softmax"]
    expected, scores = softmax(softmax.Config(), SITE)(Inputs(v, {"q": q, "k": k, "v": v}))
    y, _ = layer(Inputs(v, {"v": v}, scores))
    torch.testing.assert_close(y, expected, atol=1e-5, rtol=1e-5)


def test_auto_takes_the_fewer_macs() -> None:
    for grid, width, heads in [((2, 2), 64, 1), ((7, 7), 512, 8), ((14, 14), 320, 5), ((28, 28), 128, 2)]:
        site = Site(grid, width, heads, incoming=ScoreForm("factored", width // heads))
        macs = {path: Less.cost(Less.Config(path=path), site).macs for path in ("auto", "factored", "dense")}
        assert macs["auto"] == min(macs["factored"], macs["dense"])


def test_factored_inference_never_holds_a_matrix() -> None:
    """Every tensor that an operator returns stays smaller than one head's N×N scores."""
    from torch.utils._python_dispatch import TorchDispatchMode

    class Largest(TorchDispatchMode):
        size = 0

        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            result = func(*args, **(kwargs or {}))
            for tensor in result if isinstance(result, tuple) else (result,):
                if isinstance(tensor, Tensor):
                    self.size = max(self.size, tensor.numel())
            return result

    site = Site((32, 32), 64, 1)
    for transform in ("low_rank", "conv", "identity"):  # dense holds N×N weights, by definition, and no activations
        layer = chain({"transform": transform, "path": "factored"}, site, 1, torch.float32)[0]
        q, k, v = (torch.randn(1, site.tokens, 1, 64) for _ in range(3))
        with torch.inference_mode(), Largest() as largest:
            layer(Inputs(v, {"v": v}, Scores(q.transpose(1, 2), k.transpose(1, 2), 0.1)))
        assert 0 < largest.size < site.tokens**2 / 4
