"""A split too large to keep decoded: torch's DataLoader decodes and augments it, image by image, while it trains.

Legend: N images of the split, B of a batch, C channels, S side of the image.

The randomness of an image comes from the epoch's seed and its place in the epoch, never from the worker that happens to
decode it, so that any number of workers gives the same batches. There are as many workers as torch has threads: a trial
that was given one core decodes in its own process.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, default_collate

from nas.data.augment import CROP_RATIO, ERASED_AREA, ERASED_RATIO, Augment
from nas.data.pictures import Form
from nas.data.split import Batches, Split, Subset
from nas.errors import DataError

MAX_WORKERS = 16


class Streaming(Split):
    """A split that is decoded anew in every epoch."""

    def _epoch(
        self,
        order_N: Tensor,
        batch_size: int,
        device: torch.device,
        generator: torch.Generator,
        augment: Augment | None,
    ) -> Batches:
        threads = torch.get_num_threads()
        loader = DataLoader(
            _Epoch(self.subset, order_N, _transform(self.subset, self.preprocess.mean, augment), generator),
            batch_size,
            num_workers=min(threads, MAX_WORKERS) if threads > 1 else 0,
            collate_fn=_collate,
            pin_memory=device.type == "cuda",
            generator=generator,  # the loader draws a seed on each start: not from the global stream
        )
        normalise = self.preprocess.normaliser(device)
        for batch in loader:
            if isinstance(batch, DataError):
                raise batch
            images_BCSS, labels_B = batch
            images_BCSS = images_BCSS.to(device, non_blocking=True)
            yield normalise(images_BCSS), labels_B.to(device, non_blocking=True)


class _Epoch(Dataset[tuple[Tensor, int] | DataError]):
    """The images of one epoch in the order in which they are shown."""

    def __init__(self, subset: Subset, order_N: Tensor, transform: nn.Module | None, generator: torch.Generator):
        self.subset, self.transform = subset, transform
        self.indices_N = subset.indices[order_N.numpy()]
        self.seeds_N = torch.randint(2**31, (len(order_N),), generator=generator)

    def __len__(self) -> int:
        return len(self.indices_N)

    def __getitem__(self, place: int) -> tuple[Tensor, int] | DataError:
        index = int(self.indices_N[place])
        try:
            image_CHW = self.subset.pictures.original(index, self.subset.form.channels)
        except DataError as error:  # handed on as a value: raised in a worker, it would arrive wrapped in a traceback
            return error
        label = int(self.subset.pictures.labels[index])
        if self.transform is None:
            return self.subset.form.fit(image_CHW), label
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(int(self.seeds_N[place]))
            augmented_CSS: Tensor = self.transform(image_CHW)
            return augmented_CSS, label


def _collate(items: list[tuple[Tensor, int] | DataError]) -> list[Tensor] | DataError:
    return next((item for item in items if isinstance(item, DataError)), None) or default_collate(items)


class _Fit(nn.Module):
    def __init__(self, form: Form):
        super().__init__()
        self.form = form

    def forward(self, image_CHW: Tensor) -> Tensor:
        return self.form.fit(image_CHW)


def _transform(subset: Subset, mean: tuple[float, ...], augment: Augment | None) -> nn.Module | None:
    if augment is None:
        return None
    from torchvision.transforms import v2

    form, steps = subset.form, list[nn.Module]()
    if augment.min_area < 1:
        way = v2.InterpolationMode(form.interpolation)
        steps += [v2.RandomResizedCrop(form.size, (augment.min_area, 1), CROP_RATIO, interpolation=way)]
    else:
        steps += [_Fit(form), v2.RandomCrop(form.size, padding=augment.padding(form.size))]
    if augment.flip and subset.flip:
        steps.append(v2.RandomHorizontalFlip())
    if augment.erase:
        colour = [255 * value for value in mean]
        steps.append(v2.RandomErasing(augment.erase, scale=ERASED_AREA, ratio=ERASED_RATIO, value=colour))
    transform: nn.Module = v2.Compose(steps)
    return transform
