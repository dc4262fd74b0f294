"""Numbers that are drawn in blocks are those of one call, whatever the batches and whoever shares them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from nas.data import Augment, draws, load
from nas.data.augment import draw
from nas.data.draws import Rows, passed
from nas.data.policy import draw_seeds
from nas.data.streaming import _Images
from nas.train.ranks import Ranks


@given(st.integers(1, 40), st.integers(1, 30), st.integers(1, 90), st.integers(1, 3), st.integers(0, 5))
def test_blocks_give_the_numbers_of_one_call(block: int, batch: int, count: int, ranks: int, skipped: int) -> None:
    generator = torch.Generator().manual_seed(block)
    torch.randperm(count, generator=generator)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(draws, "BLOCK", block)
        rows, seeds = Rows(draw, generator), Rows(draw_seeds, passed(count, draw, generator))
        given_NU, seeds_N = draw(count, generator), draw_seeds(count, generator)
        places: Iterable[Tensor] = torch.arange(count).split(batch)[skipped:]
        places = Ranks(ranks - 1, ranks).of_training(p for p in places if len(p) >= ranks)
        for places_B in places:
            assert torch.equal(rows(places_B), given_NU[places_B]) and torch.equal(seeds(places_B), seeds_N[places_B])
            assert len(rows.kept) <= block + max(batch, block) + block


def test_numbers_across_real_blocks() -> None:
    count = 3 * draws.BLOCK + 7
    rows = Rows(draw, torch.Generator().manual_seed(0))
    given_NU = draw(count, torch.Generator().manual_seed(0))
    for places_B in torch.arange(count).split(5000):
        assert torch.equal(rows(places_B), given_NU[places_B])


def test_an_epoch_of_today_is_that_of_earlier_versions(
    tmp_path: Path, write_folder: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """They drew all numbers of an epoch at once: the permutation, then a row an image, then a seed an image."""
    monkeypatch.setattr(draws, "BLOCK", 4)
    path = write_folder(tmp_path / "pets", {"cat": 12, "dog": 12})
    train = load(f"imagefolder:{path}", resident_bytes=0).train
    seen: list[tuple] = []
    decoded = _Images.__getitem__
    monkeypatch.setattr(_Images, "__getitem__", lambda self, job: (seen.append(job), decoded(self, job))[1])
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        labels_N = torch.cat([y for _, y in train.batches(
            5, seed=3, augment=Augment(auto_augment="randaugment", repeats=3))])  # fmt: skip
    finally:
        torch.set_num_threads(before)
    generator = torch.Generator().manual_seed(3)
    order_N = torch.randperm(len(train), generator=generator).repeat_interleave(3)[: len(train)]
    draws_NU, seeds_N = draw(len(train), generator), draw_seeds(len(train), generator)
    assert torch.equal(labels_N, train.labels_N[order_N])
    assert [job[0] for job in seen] == train.subset.indices[order_N.numpy()].tolist()
    assert torch.equal(torch.tensor([job[1] for job in seen]), draws_NU)
    assert [job[2] for job in seen] == seeds_N.tolist()
