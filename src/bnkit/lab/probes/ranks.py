"""What the ranks of a data-parallel training found, averaged over them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor, distributed, nn


class Ranks(Protocol):
    """Averages over ranks; a training on one rank leaves everything as it is."""

    is_first: bool

    def mean(self, values: Sequence[float]) -> list[float]:
        """Return the mean of each value over the ranks."""

    def average(self, tensors: Sequence[Tensor]) -> None:
        """Replace each tensor by its mean over the ranks, in place."""


class OneRank:
    """A training in one process."""

    is_first = True

    def mean(self, values: Sequence[float]) -> list[float]:
        """Return the values."""
        return list(values)

    def average(self, tensors: Sequence[Tensor]) -> None:
        """Leave the tensors."""


class GroupRanks:
    """A DistributedDataParallel training: each rank has its own batches, all have equal weights.

    Every rank must measure at the same steps, else they wait for one another.
    """

    def __init__(self, wrapper: nn.parallel.DistributedDataParallel) -> None:
        self._group = wrapper.process_group
        self._size = distributed.get_world_size(self._group)
        self._device = next(wrapper.parameters()).device
        self.is_first = distributed.get_rank(self._group) == 0

    def mean(self, values: Sequence[float]) -> list[float]:
        """Return the mean of each value over the ranks."""
        dtype = torch.float32 if self._device.type == "mps" else torch.float64
        summed = torch.tensor(list(values), dtype=dtype, device=self._device)
        if len(summed):
            distributed.all_reduce(summed, group=self._group)
        return [float(value) / self._size for value in summed.tolist()]

    def average(self, tensors: Sequence[Tensor]) -> None:
        """Replace each tensor by its mean over the ranks, in place."""
        for tensor in tensors:
            distributed.all_reduce(tensor, group=self._group)
            tensor.div_(self._size)


def ranks_of(called: nn.Module) -> Ranks:
    """Return the ranks that train together with this module."""
    wrapped = called if isinstance(called, nn.parallel.DistributedDataParallel) else None
    inner = getattr(called, "_orig_mod", None)
    if wrapped is None and isinstance(inner, nn.parallel.DistributedDataParallel):
        wrapped = inner
    return OneRank() if wrapped is None else GroupRanks(wrapped)
