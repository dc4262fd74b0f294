"""One training by several processes, the ranks: what each takes of a batch, and what they tell each other.

    gradient of a batch = mean over the ranks of the gradients of their rows        (torch's DistributedDataParallel)

A training by W ranks is that by one process on the same batches, up to rounding. So whatever looks across images, or
is drawn for each of them, is what it is in one process:
- Rank r takes rows r·B/W … (r+1)·B/W − 1 of a batch of B, which W must divide. MixUp and CutMix pair each image with
  the one before; a rank decodes that one as well.
- Batch norm takes its statistics over all ranks. Drop path draws for the whole batch, on every rank from the same seed,
  and a rank keeps its own rows. torch's SyncBatchNorm does not run on CPUs, and DDP has nothing for the draws.
- Evaluation gives whole batches to the ranks in turn. No image is counted twice, and each batch is what one process
  would compute.
Checkpoints do not depend on W. Rank 0 reads and writes them, and tells the others.

Sums of gradients have another order than in one process: equal to about 1e-6 of a step in float32.

Legend: B images of a batch, N of a split, W ranks.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar, cast

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from nas.device import torch_threads
from nas.environment import errors_shown_as_before, restored
from nas.errors import SpecError
from nas.model.branch import DropPath

if TYPE_CHECKING:
    from nas.data import ImageSet
    from nas.train.recipe import Training

PATIENCE = timedelta(minutes=30)  # for a rank that is late; one that has died is noticed at once
M = TypeVar("M", bound=nn.Module)
T = TypeVar("T")


@dataclass(frozen=True)
class Ranks:
    """This process's place among the `count` of a training. The default is a training by one process.

    >>> Ranks(rank=1, count=4).rows(8)
    slice(2, 4, None)
    """

    rank: int = 0
    count: int = 1

    @property
    def first(self) -> bool:
        """Whether this process reads and writes files, and reports."""
        return self.rank == 0

    # ------------------------------------------------------------------------------------------------------------------
    # Shares of a batch
    # ------------------------------------------------------------------------------------------------------------------
    def rows(self, batch: int) -> slice:
        """The rows of this rank in a batch of so many images."""
        share = batch // self.count
        return slice(self.rank * share, (self.rank + 1) * share)

    def of_training(self, places: Iterable[Tensor]) -> Iterable[Tensor]:
        """This rank's rows of every batch, with the one before them in front. A `Sharing` of nas/data/split.py."""
        if self.count == 1:
            return places
        return (self._with_one_before(places_B) for places_B in places)

    def _with_one_before(self, places_B: Tensor) -> Tensor:
        rows = self.rows(len(places_B))
        return torch.cat([places_B[rows.start - 1].reshape(1), places_B[rows]])

    def of_evaluation(self, places: Iterable[Tensor]) -> Iterable[Tensor]:
        """Every W-th batch. A `Sharing` of nas/data/split.py."""
        return (places_B for number, places_B in enumerate(places) if number % self.count == self.rank)

    def own(self, *batches: Tensor) -> tuple[Tensor, ...]:
        """Batches of `of_training` without the row in front, once images are mixed."""
        return batches if self.count == 1 else tuple(each[1:] for each in batches)

    # ------------------------------------------------------------------------------------------------------------------
    # Messages
    # ------------------------------------------------------------------------------------------------------------------
    def mean(self, values: Tensor) -> Tensor:
        """The mean over all ranks, elementwise."""
        return self.total(values) / self.count

    def total(self, values: Tensor) -> Tensor:
        """The sum over all ranks, elementwise."""
        return values if self.count == 1 else _summed(values)

    def told(self, ask: Callable[[], T]) -> T:
        """The answer of rank 0, which alone asks."""
        if self.count == 1:
            return ask()
        answer = [ask() if self.first else None]
        dist.broadcast_object_list(answer, src=0, device=torch.device("cpu"))  # a checkpoint may be large for a GPU
        return cast(T, answer[0])

    # ------------------------------------------------------------------------------------------------------------------
    # Models
    # ------------------------------------------------------------------------------------------------------------------
    def agreed(self, model: M) -> M:
        """The model with the weights of rank 0, and with layers that look at the whole batch."""
        if self.count > 1:
            for tensor in model.state_dict().values():
                dist.broadcast(tensor, src=0)
            self._look_at_the_whole(model)
        return model

    def _look_at_the_whole(self, module: nn.Module) -> None:
        for name, child in module.named_children():
            if isinstance(child, DropPath):
                setattr(module, name, _DropPath(child.drop_prob, self))
            elif isinstance(child, nn.BatchNorm2d):
                child.__class__ = _BatchNorm
            self._look_at_the_whole(child)

    def parallel(self, model: nn.Module) -> nn.Module:
        """The model whose backward pass leaves the gradients of the whole batch. All its weights have one."""
        if self.count == 1:
            return model
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # torch 2.11 does not know the new name of the first option
            return DistributedDataParallel(model, broadcast_buffers=False)

    def exchange(self, parallel: nn.Module, whether: bool) -> None:
        """Whether the next backward pass exchanges gradients, or they wait for the last batch of an update."""
        if isinstance(parallel, DistributedDataParallel):
            parallel.require_backward_grad_sync = whether


@contextmanager
def meeting(rank: int, count: int, address: str, device: str | torch.device) -> Iterator[Ranks]:
    """The ranks of a training, once all of them have come. To be entered by all.

    address: `file:///PATH` of a file that does not exist yet, for ranks on one machine, which then talk through the
    loopback device alone; or `tcp://HOST:PORT` on the machine of rank 0. torch listens on that port on every interface.
    Afterwards the process is as before: its threads, environment, filters of warnings, hook for errors, current GPU.
    """
    device = torch.device(device)
    own_gpu = device.type == "cuda" and device.index is not None
    with (
        torch_threads(),
        restored("GLOO_SOCKET_IFNAME"),
        errors_shown_as_before(),
        warnings.catch_warnings(),
        torch.cuda.device(device) if own_gpu else nullcontext(),
    ):
        if address.startswith("file:"):
            os.environ["GLOO_SOCKET_IFNAME"] = "lo"
        else:
            os.environ.pop("GLOO_SOCKET_IFNAME", None)
        warnings.filterwarnings("ignore", "Grad strides do not match", UserWarning)  # of kernels of one row
        backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
        dist.init_process_group(backend, init_method=address, rank=rank, world_size=count, timeout=PATIENCE)
        try:
            yield Ranks(rank, count)
        finally:
            dist.destroy_process_group()


def check_shares(training: Training, images: ImageSet, count: int) -> None:
    """Raise SpecError if the images of a batch cannot be shared equally between so many ranks."""
    batch = min(training.batch_size, len(images.train))
    if batch % count:
        message = f"{batch} images a batch cannot be shared equally between {count} processes; expected a multiple"
        raise SpecError(message, path="training.batch_size")


def is_parting(error: BaseException) -> bool:
    """Whether an error of a rank only says that another one has left."""
    return isinstance(error, dist.DistError) or (isinstance(error, RuntimeError) and "gloo" in str(error))


class _DropPath(DropPath):
    """Drawn for the whole batch, of which a rank keeps its rows."""

    def __init__(self, drop_prob: float, ranks: Ranks):
        super().__init__(drop_prob)
        self.ranks = ranks

    def kept(self, x_BNC: Tensor, batch: int) -> Tensor:
        whole = batch * self.ranks.count
        return super().kept(x_BNC, whole)[self.ranks.rows(whole)]


class _Sum(torch.autograd.Function):
    """The sum over all ranks. Each of them has a loss that depends on it, so that gradients are summed as well."""

    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        return _summed(values)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        gradient: Tensor = gradients[0]
        return _summed(gradient)


def _summed(values: Tensor) -> Tensor:
    total = values.clone()
    dist.all_reduce(total)
    return total


class _BatchNorm(nn.BatchNorm2d):
    """Batch norm with the statistics of all ranks, which have equally many images."""

    def forward(self, x_BCHW: Tensor) -> Tensor:
        if not self.training:
            return super().forward(x_BCHW)
        assert self.running_mean is not None and self.running_var is not None and self.num_batches_tracked is not None
        count, given = dist.get_world_size(), x_BCHW.dtype
        x_BCHW = x_BCHW.to(self.weight.dtype)
        mean_C = _Sum.apply(x_BCHW.mean((0, 2, 3))) / count
        apart_BCHW = x_BCHW - mean_C[:, None, None]
        var_C = _Sum.apply(apart_BCHW.square().mean((0, 2, 3))) / count
        with torch.no_grad():
            seen = x_BCHW.numel() // x_BCHW.shape[1] * count
            self.num_batches_tracked.add_(1)
            self.running_mean.lerp_(mean_C, cast(float, self.momentum))
            self.running_var.lerp_(var_C * seen / (seen - 1), cast(float, self.momentum))
        scale_C = (var_C + self.eps).rsqrt() * self.weight
        y_BCHW: Tensor = apart_BCHW * scale_C[:, None, None] + self.bias[:, None, None]
        return y_BCHW.to(given)
