"""The diagonal loss: the printed formula written out, its closed and chunked forms, and what each variant rewards."""

from __future__ import annotations

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from nas.blocks import Scores
from nas.genome.schema import Diagonal
from nas.model.layer import AttentionTrace
from nas.train import diagonal
from nas.train.diagonal import diagonal_loss

SCALE, N = 0.3, 12


def factors() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    q, k = (torch.randn(2, 3, N, 8, generator=generator, dtype=torch.float32).requires_grad_() for _ in "qk")
    return q, k


def written_out(a: torch.Tensor, variant: str) -> torch.Tensor:
    """One matrix (N, N), term by term."""
    total = torch.zeros(())
    for i in range(N):
        excess = (N - 1) * a[i, i] - (a[i].sum() - a[i, i])
        total = total + {"printed": excess, "flipped": -excess}.get(variant, torch.relu(-excess))
        for j in range(N):
            apart = a[i, j] - a[j, i]
            total = total + (apart**2 if variant == "frobenius" else apart.abs())
    return total / N**2


@pytest.mark.parametrize("variant", ["printed", "flipped", "hinge", "frobenius"])
@pytest.mark.parametrize("matrix", ["scores", "weights"])
def test_every_form_equals_the_formula(variant: str, matrix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    q, k = factors()
    factored = Scores(q, k, SCALE, reused=True)
    config = Diagonal(variant=variant, matrix=matrix)  # type: ignore[arg-type]
    full = (factored.weights() if matrix == "weights" else factored.dense()).flatten(0, 1)
    expected = torch.stack([written_out(a, variant) for a in full]).mean()
    expected_grad = torch.autograd.grad(expected, (q, k), retain_graph=True)
    for form in (factored, Scores(matrix_BHNN=factored.dense(), reused=True)):
        for chunk in (2**24, 2 * 3 * N * 5):  # all rows at once, five at a time
            monkeypatch.setattr(diagonal, "_CHUNK", chunk)
            loss = diagonal_loss(AttentionTrace({"a": form}), config)
            torch.testing.assert_close(loss, expected, rtol=1e-4, atol=1e-6)
            torch.testing.assert_close(
                torch.autograd.grad(loss, (q, k), retain_graph=True), expected_grad, rtol=1e-3, atol=1e-6
            )


def test_printed_rewards_what_the_name_forbids() -> None:
    """On softmaxed rows the printed sign prefers uniform attention to a pure diagonal; the flipped one does not."""
    eye, uniform = torch.eye(N)[None, None], torch.full((1, 1, N, N), 1 / N)

    def loss(a: torch.Tensor, variant: str) -> float:
        trace = AttentionTrace({"a": Scores(matrix_BHNN=a, softmaxed=True, reused=True)})
        return diagonal_loss(trace, Diagonal(variant=variant)).item()  # type: ignore[arg-type]

    assert loss(eye, "printed") > loss(uniform, "printed")
    assert loss(eye, "flipped") < loss(uniform, "flipped")
    assert loss(eye, "hinge") == loss(uniform, "hinge") == pytest.approx(0, abs=1e-6)


def test_only_reused_scores_count() -> None:
    q, k = factors()
    assert diagonal_loss(AttentionTrace({"a": Scores(q, k, SCALE)}), Diagonal(variant="hinge")).item() == 0


@pytest.mark.parametrize("matrix", ["scores", "weights"])
def test_3136_tokens_train_without_their_matrix(matrix: str) -> None:
    """At 56×56 tokens the scores of a head are 9.8 M elements; nothing that is made comes near those of all heads."""
    generator = torch.Generator().manual_seed(0)
    q, k = (torch.randn(1, 4, 3136, 8, generator=generator).requires_grad_() for _ in "qk")
    trace = AttentionTrace({"a": Scores(q, k, SCALE, reused=True)})
    largest = Largest()
    with largest:
        loss = diagonal_loss(trace, Diagonal(variant="hinge", matrix=matrix))  # type: ignore[arg-type]
        loss.backward()
    assert q.grad is not None and k.grad is not None and q.grad.abs().sum() > 0
    assert q.grad.isfinite().all() and k.grad.isfinite().all()
    assert largest.elements <= diagonal._CHUNK < 4 * 3136**2


class Largest(TorchDispatchMode):
    """Elements of the largest tensor that any operator makes, forward and backward."""

    elements = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        made = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(made):
            if isinstance(tensor, torch.Tensor):
                self.elements = max(self.elements, tensor.numel())
        return made
