"""Images of bytes with labels, as stored sets hold them → a data set."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from bnkit.errors import DataError
from bnkit.lab.data.array_dataset import untested_note
from bnkit.lab.data.class_labels import Labels
from bnkit.lab.data.dataset import Dataset
from bnkit.lab.data.memory import check_fits
from bnkit.lab.data.preparation import Images, finish, fit_images
from bnkit.lab.data.reduction import reduced_indices
from bnkit.lab.data.settings import DataSettings
from bnkit.lab.data.splitting import split_note, stratified_split, unused_split_note

Bytes = NDArray[np.uint8]


class ByteArrays(NamedTuple):
    """The two splits as they are stored; a test split of no images means that there is none.

    Attributes:
        train_images, test_images: uint8, shape (N, C, H, W).
        train_labels, test_labels: int64, shape (N,), values 0 … K−1.
    """

    train_images: Bytes
    train_labels: Labels
    test_images: Bytes
    test_labels: Labels


def check_labels(labels: NDArray[np.uint8] | Labels, classes: int, where: str) -> None:
    """Raise `DataError` unless all labels are 0 … K−1."""
    bad = np.flatnonzero((labels < 0) | (labels >= classes))
    if len(bad):
        raise DataError(
            f"{len(bad)} labels out of range, the first is {labels[bad[0]]} at index {bad[0]}",
            required=f"labels from 0 to {classes - 1}",
            remedy="Remove it and get it again",
            where=where,
        )


def dataset_from_bytes(
    arrays: ByteArrays,
    class_names: Sequence[str],
    settings: DataSettings,
    notes: Sequence[str],
    where: str,
) -> Dataset:
    """Return the images as float32 in [0, 1], split, reduced and prepared as the settings ask.

    Memory: 4 bytes per value beside the bytes; what is left out is never converted.

    Raises:
        DataError: they do not fit in memory, or the settings do not fit them.
    """
    names = tuple(class_names)
    images, labels = [arrays.train_images, arrays.test_images], [*arrays[1::2]]
    sentences = list(notes)
    if len(arrays.test_labels):
        sentences += unused_split_note(settings)
    else:
        share, seed = settings.test_share, settings.split_seed
        parts = stratified_split(labels[0], names, share, seed, where)
        images, labels = [images[0][part] for part in parts], [labels[0][part] for part in parts]
        sentences.append(split_note(share, seed))
    for index, part in enumerate(("train", "test")):
        # Before they become floats, four times as large.
        kept = reduced_indices(part, labels[index], names, settings, where)
        if kept is not None:
            images[index], labels[index] = images[index][kept.indices], labels[index][kept.indices]
            sentences.append(kept.note)
    sentences += untested_note(labels[1], names)
    check_fits(sum(map(len, images)), int(np.prod(images[0].shape[1:])), where)
    train, test = (fit_images(_in_unit_range(part), settings, where) for part in images)
    dataset = Dataset(train, labels[0], test, labels[1], names, tuple(sentences))
    return finish(dataset, settings, where)


def _in_unit_range(images: Bytes) -> Images:
    scaled: Images = np.divide(images, np.float32(255), dtype=np.float32)
    return scaled
