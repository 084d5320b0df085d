"""Inputs scaled by what the training examples are: `scaling` of the `[data]` table."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from bnkit.lab.data.dataset import Dataset
from bnkit.lab.data.settings import DataSettings


def scaled(dataset: Dataset, settings: DataSettings) -> Dataset:
    """Return the data set with each channel, or each feature, brought to one scale.

    `standardise`: (x − mean) / std; `mean-normalise`: (x − mean) / (max − min). All of them are
    taken over the training examples, and over the pixels of a channel, and are used for the test
    examples as well. What does not vary becomes 0.

    Memory: one float64 copy of a split while it is scaled.
    """
    if settings.scaling is None:
        return dataset
    train = dataset.train_images
    axes = (0, *range(2, train.ndim))
    mean = train.mean(axis=axes, keepdims=True, dtype=np.float64)
    if settings.scaling == "standardise":
        spread = train.std(axis=axes, keepdims=True, dtype=np.float64)
    else:
        spread = np.subtract(
            train.max(axis=axes, keepdims=True), train.min(axis=axes, keepdims=True), dtype="f8"
        )
    divisor = np.where(spread > 0, spread, 1)
    train_images, test_images = (
        ((part - mean) / divisor).astype(np.float32) for part in (train, dataset.test_images)
    )
    what = "channel" if train.ndim == 4 else "feature"
    note = f"Each {what} was scaled by the training examples: {settings.scaling}."
    return replace(
        dataset,
        train_images=train_images,
        test_images=test_images,
        notes=(*dataset.notes, note),
    )
