from __future__ import annotations

import pytest
import torch

from nas.data import Augment, ImageSet, Split, load
from nas.seeds import derive

STRONG = Augment(crop_padding=2, erase=0.5)


@pytest.fixture(scope="module")
def digits() -> ImageSet:
    return load("digits", limit=300)


@pytest.fixture(scope="module", params=["resident", "streaming"])
def split(request: pytest.FixtureRequest, digits: ImageSet) -> Split:
    return digits.train if request.param == "resident" else load("digits", limit=300, resident_bytes=0).train


def epoch(split: Split, **options: object) -> tuple[torch.Tensor, torch.Tensor]:
    images, labels = zip(*split.batches(64, **options), strict=True)  # type: ignore[arg-type]
    return torch.cat(images), torch.cat(labels)


def test_without_a_seed_batches_come_in_file_order(split: Split) -> None:
    images_NCSS, labels_N = epoch(split)
    assert torch.equal(labels_N, split.labels_N)
    assert images_NCSS.dtype == torch.float32
    assert labels_N.dtype == torch.int64
    assert images_NCSS.shape == (240, 1, 8, 8)


def test_a_seed_permutes_images_with_their_labels(split: Split) -> None:
    plain, shuffled = epoch(split), epoch(split, seed=1)
    assert not torch.equal(plain[1], shuffled[1])
    for images, labels in (plain, shuffled):
        assert len(images) == len(labels)
    keyed = [
        sorted(zip(images.flatten(1).tolist(), labels.tolist(), strict=True)) for images, labels in (plain, shuffled)
    ]
    assert keyed[0] == keyed[1]


def test_the_same_seed_gives_the_same_epoch_and_another_seed_another(split: Split) -> None:
    first = epoch(split, seed=derive(7, "epoch", 3), augment=STRONG)
    torch.manual_seed(99)  # the global stream has no say
    again = epoch(split, seed=derive(7, "epoch", 3), augment=STRONG)
    other = epoch(split, seed=derive(7, "epoch", 4), augment=STRONG)
    assert torch.equal(first[0], again[0])
    assert torch.equal(first[1], again[1])
    assert not torch.equal(first[0], other[0])


def test_an_epoch_does_not_depend_on_those_before_it(digits: ImageSet) -> None:
    """What an exact resume needs: epoch 2 of an uninterrupted run is epoch 2 of one that begins there."""
    through = [epoch(digits.train, seed=derive(0, "epoch", e), augment=STRONG)[0] for e in range(3)]
    resumed = epoch(load("digits", limit=300).train, seed=derive(0, "epoch", 2), augment=STRONG)[0]
    assert torch.equal(through[2], resumed)


def test_an_epoch_leaves_the_global_random_stream_alone(split: Split) -> None:
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    epoch(split, seed=1, augment=STRONG)
    assert torch.equal(torch.rand(1), expected)


def test_drop_last_leaves_the_incomplete_batch_out_unless_it_is_the_only_one(split: Split) -> None:
    sizes = [len(labels) for _, labels in split.batches(100, drop_last=True)]
    assert sizes == [100, 100]
    assert split.batch_count(100, drop_last=True) == 2
    assert split.batch_count(100) == 3
    assert [len(labels) for _, labels in split.batches(1000, drop_last=True)] == [240]


def test_streaming_and_resident_show_the_same_pictures(digits: ImageSet) -> None:
    streaming = load("digits", limit=300, resident_bytes=0)
    assert streaming.preprocess == digits.preprocess
    for seed in (None, 4):
        assert torch.equal(epoch(streaming.train, seed=seed)[0], epoch(digits.train, seed=seed)[0])


def test_augmentation_needs_a_seed(digits: ImageSet) -> None:
    with pytest.raises(ValueError, match="give a seed"):
        digits.train.batches(8, augment=Augment())


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("augment", [None, STRONG])
def test_a_gpu_shows_what_the_cpu_shows(digits: ImageSet, augment: Augment | None) -> None:
    on_cpu = epoch(digits.train, seed=1, augment=augment)
    on_gpu = epoch(digits.train, seed=1, augment=augment, device="cuda")
    assert torch.allclose(on_cpu[0], on_gpu[0].cpu(), atol=1e-5)
    assert torch.equal(on_cpu[1], on_gpu[1].cpu())
