"""CIFAR-10: colour photographs of ten kinds, in the batch files it was published in."""

from __future__ import annotations

import hashlib
from functools import cached_property
from pathlib import Path, PurePosixPath

import numpy as np

from bnkit.lab.data.archives import read_members
from bnkit.lab.data.byte_dataset import ByteArrays, dataset_from_bytes
from bnkit.lab.data.cifar_batches import SHAPE, Batch, read_batch
from bnkit.lab.data.data_folder import data_folder
from bnkit.lab.data.dataset import Dataset
from bnkit.lab.data.hashing import hash_arrays
from bnkit.lab.data.settings import DataSettings
from bnkit.lab.data.stored_bytes import MIB, damaged, read_content
from bnkit.lab.data.stored_copies import StoredCopy, require_copy
from bnkit.lab.data.stored_sets import CIFAR_10, CIFAR_BATCHES, STORED_SETS

CLASS_NAMES = (
    *("airplane", "automobile", "bird", "cat", "deer"),
    *("dog", "frog", "horse", "ship", "truck"),
)

_TEST = "test_batch"
_MOST_BYTES = 64 * MIB  # twice an official batch
_OFFICIAL_MD5 = {file.name: file.md5 for file in STORED_SETS[CIFAR_10].files}
_OFFICIAL_IMAGES = 60_000


class Cifar10Source:
    """CIFAR-10 from its batch files or one of its archives, found in the data folder."""

    def __init__(self, settings: DataSettings, folder: Path | None = None) -> None:
        self._settings = settings
        self._given_folder = folder

    def fingerprint(self) -> str:
        """Return a hash of pixels and labels, the same for both forms, packed or not."""
        return hash_arrays(self._read[0]._asdict())

    def load(self) -> Dataset:
        """Return the images in [0, 1], shape (N, 3, 32, 32); raise `DataError` if damaged."""
        arrays, notes = self._read
        del self._read  # the bytes are not kept beside the floats
        return dataset_from_bytes(arrays, CLASS_NAMES, self._settings, notes, f"data {CIFAR_10}")

    @cached_property
    def _read(self) -> tuple[ByteArrays, list[str]]:
        copy = require_copy(CIFAR_10, data_folder(self._given_folder))
        contents = batch_contents(copy)
        arrays = arrays_of(copy, contents)
        return arrays, _notes(contents, arrays)


def arrays_of(copy: StoredCopy, contents: dict[str, bytes]) -> ByteArrays:
    """Return the images and labels of batch files; without a test batch its arrays are empty.

    Raises:
        DataError: a batch is damaged.
    """
    batches = {
        name: read_batch(name, content, place_of(copy, name)) for name, content in contents.items()
    }
    train = [batch for name, batch in batches.items() if not name.startswith(_TEST)]
    test = [batch for name, batch in batches.items() if name.startswith(_TEST)]
    if not train:
        train, test = test, []
    return ByteArrays(*_joined(train), *_joined(test))


def batch_contents(copy: StoredCopy) -> dict[str, bytes]:
    """Return batch file → its decompressed bytes, training batches first.

    Raises:
        DataError: a file or archive is damaged, or an archive holds no batch file.
    """
    if copy.place.is_dir():
        return {
            name: read_content(path, _MOST_BYTES, str(path)) for name, path in copy.files.items()
        }
    members = read_members(copy.place, _is_batch, _MOST_BYTES)
    contents = {PurePosixPath(name).name: content for name, content in members.items()}
    if not contents:
        raise damaged(
            "holds no batch file", str(copy.place), "members data_batch_1 … 5 and test_batch"
        )
    return contents


def unofficial(contents: dict[str, bytes]) -> list[str]:
    """Return the python batches whose content is not the official one."""
    return [
        name
        for name, content in contents.items()
        if name in _OFFICIAL_MD5
        and hashlib.md5(content, usedforsecurity=False).hexdigest() != _OFFICIAL_MD5[name]
    ]


def _is_batch(name: str) -> bool:
    return PurePosixPath(name).name.removesuffix(".bin") in CIFAR_BATCHES


def place_of(copy: StoredCopy, name: str) -> str:
    """Return a batch file as messages name it: its path, below its archive if it lies in one."""
    return str(copy.files.get(name, copy.place / name))


def _joined(batches: list[Batch]) -> Batch:
    if len(batches) == 1:
        return batches[0]
    if not batches:
        return np.empty((0, *SHAPE), np.uint8), np.empty(0, np.int64)
    return np.concatenate([images for images, _ in batches]), np.concatenate(
        [labels for _, labels in batches]
    )


def _notes(contents: dict[str, bytes], arrays: ByteArrays) -> list[str]:
    notes = []
    train, test = len(arrays.train_labels), len(arrays.test_labels)
    if train + test != _OFFICIAL_IMAGES:
        has_test = any(name.startswith(_TEST) for name in contents)
        notes.append(
            f"A part of CIFAR-10: {len(contents) - has_test} of 5 training batches and "
            f"{'the' if has_test else 'no'} test batch, {train + test} images of "
            f"{_OFFICIAL_IMAGES}."
        )
    differing = unofficial(contents)
    if differing:
        notes.append(f"Contents that are not those of CIFAR-10: {', '.join(differing)}.")
    return notes
