"""Images and labels, decoded once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Dataset:
    """Training and test examples in memory.

    Attributes:
        train_images, test_images: float32, shape (N, C, H, W) for images or (N, D) for features.
        train_labels, test_labels: int64, shape (N,), values 0 … K−1.
        class_names: K names, index = label.
        notes: what a reader of the results should know, one sentence each: how it was split, which
            files were left out, that channels were moved to the front …
    """

    train_images: NDArray[np.float32]
    train_labels: NDArray[np.int64]
    test_images: NDArray[np.float32]
    test_labels: NDArray[np.int64]
    class_names: tuple[str, ...]
    notes: tuple[str, ...] = ()

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one example, without the batch axis."""
        return tuple(self.train_images.shape[1:])

    @property
    def classes(self) -> int:
        """Number of classes K."""
        return len(self.class_names)


class DataSource(Protocol):
    """Where a data set comes from: cheap to fingerprint, loaded only if something trains on it."""

    def fingerprint(self) -> str:
        """Return a hash of the content, independent of where it lies on disk."""

    def load(self) -> Dataset:
        """Decode everything and check it; raise `DataError` for what cannot be used."""
