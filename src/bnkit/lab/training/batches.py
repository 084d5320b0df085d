"""Tensors on the device, and the order in which they are visited."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from bnkit.lab.data import Dataset


@dataclass(frozen=True)
class Split:
    """Images (N, …), float32 or float64, and labels (N,) int64, on the training device."""

    images: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)


def to_device(
    dataset: Dataset, device: torch.device, dtype: torch.dtype = torch.float32
) -> tuple[Split, Split]:
    """Return the training and the test split as tensors on the device, images in `dtype`."""
    splits = (
        (dataset.train_images, dataset.train_labels),
        (dataset.test_images, dataset.test_labels),
    )
    train, test = (Split(_tensor(x, device, dtype), _tensor(y, device)) for x, y in splits)
    return train, test


def _tensor(array: NDArray[Any], device: torch.device, dtype: torch.dtype | None = None) -> Tensor:
    # Copied: arrays that other processes share are read-only, and torch has no read-only tensors.
    return torch.tensor(array, device=device, dtype=dtype)


def shuffled_batches(
    split: Split, batch_size: int, drop_last: bool, generator: torch.Generator
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield the batches of one epoch in an order drawn from `generator` alone.

    The order does not depend on the network or on what else draws random numbers, so it is the same
    in every arm.
    """
    order = torch.randperm(len(split), generator=generator)
    last = len(split) - len(split) % batch_size if drop_last else len(split)
    for start in range(0, last, batch_size):
        index = order[start : min(start + batch_size, last)].to(split.labels.device)
        yield split.images[index], split.labels[index]


def grouped_batches(
    split: Split, batch_size: int, drop_last: bool, accumulate: int, seed: int
) -> Iterator[list[tuple[Tensor, Tensor]]]:
    """Yield the batches of each optimizer step, epoch after epoch without end.

    A step has `accumulate` batches; the last one of an epoch may have fewer, as no step spans two
    epochs.
    """
    generator = torch.Generator().manual_seed(seed)
    while True:
        batches = shuffled_batches(split, batch_size, drop_last, generator)
        while group := list(islice(batches, accumulate)):
            yield group
