"""MNIST: handwritten digits, 60,000 + 10,000 grey images of 28×28 pixels, as IDX files."""

from __future__ import annotations

import hashlib
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bnkit.errors import DataError
from bnkit.lab.data.byte_dataset import ByteArrays, check_labels, dataset_from_bytes
from bnkit.lab.data.data_folder import data_folder
from bnkit.lab.data.dataset import Dataset
from bnkit.lab.data.hashing import hash_arrays
from bnkit.lab.data.idx import read_idx
from bnkit.lab.data.settings import DataSettings
from bnkit.lab.data.stored_copies import StoredCopy, absent, require_copy
from bnkit.lab.data.stored_sets import MNIST, STORED_SETS

_SIDE = 28
_OFFICIAL_COUNTS = (60_000, 10_000)


class MnistSource:
    """MNIST from its four files, found in the data folder."""

    def __init__(self, settings: DataSettings, folder: Path | None = None) -> None:
        self._settings = settings
        self._given_folder = folder

    def fingerprint(self) -> str:
        """Return a hash of pixels and labels, the same for compressed and decompressed files."""
        return hash_arrays(self._read[0]._asdict())

    def load(self) -> Dataset:
        """Return the images in [0, 1], shape (N, 1, 28, 28); raise `DataError` if damaged."""
        arrays, differing = self._read
        del self._read  # the bytes are not kept beside the floats
        notes = []
        if differing:
            notes.append(
                f"Contents that are not those of the official MNIST: {', '.join(differing)}."
            )
        counts = (len(arrays.train_labels), len(arrays.test_labels))
        if counts != _OFFICIAL_COUNTS:
            notes.append(f"A part of MNIST: {counts[0]} + {counts[1]} of 60000 + 10000 images.")
        names = tuple(map(str, range(10)))
        return dataset_from_bytes(arrays, names, self._settings, notes, f"data {MNIST}")

    @cached_property
    def _read(self) -> tuple[ByteArrays, list[str]]:
        folder = data_folder(self._given_folder)
        copy = require_copy(MNIST, folder)
        if copy.missing:
            raise absent(MNIST, folder, f"{copy.place} has no {', '.join(copy.missing)}")
        return read_mnist(copy)


def read_mnist(copy: StoredCopy) -> tuple[ByteArrays, list[str]]:
    """Return the four arrays and the files whose content is not the official one.

    Raises:
        DataError: a file is damaged, or images and labels do not fit together.
    """
    arrays: list[NDArray[np.uint8]] = []
    differing = []
    for index, file in enumerate(STORED_SETS[MNIST].files):
        array, content = read_idx(copy.files[file.name], axes=1 if index % 2 else 3)
        arrays.append(array)
        if hashlib.md5(content, usedforsecurity=False).hexdigest() != file.md5:
            differing.append(file.name)
        if index % 2:
            _check_pair(copy, index, arrays)
    images, labels, test_images, test_labels = arrays
    return ByteArrays(
        images[:, None],
        labels.astype(np.int64),
        test_images[:, None],
        test_labels.astype(np.int64),
    ), differing


def _check_pair(copy: StoredCopy, index: int, arrays: list[NDArray[np.uint8]]) -> None:
    names = [file.name for file in STORED_SETS[MNIST].files]
    images, labels = arrays[index - 1 : index + 1]
    image_file, label_file = copy.files[names[index - 1]], copy.files[names[index]]
    if images.shape[1:] != (_SIDE, _SIDE):
        raise DataError(
            f"holds images of {images.shape[1]}×{images.shape[2]} pixels",
            required=f"{_SIDE}×{_SIDE}",
            remedy='Use data.name = "arrays" for images of another size',
            where=str(image_file),
        )
    if len(images) != len(labels) or not len(images):
        raise DataError(
            f"holds {len(images)} images, and {label_file.name} {len(labels)} labels",
            required="one label per image",
            remedy="Remove both and get them again",
            where=str(image_file),
        )
    check_labels(labels, 10, str(label_file))
