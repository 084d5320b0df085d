"""All examples of a folder or file, without a split and without labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from bnkit.lab.data.array_dataset import prepared_images
from bnkit.lab.data.array_names import image_keys
from bnkit.lab.data.arrays import load_npy, load_npz
from bnkit.lab.data.class_labels import AnyArray, listed
from bnkit.lab.data.dataset import Dataset
from bnkit.lab.data.folder import decode_all
from bnkit.lab.data.folder_layout import image_files_below
from bnkit.lab.data.pixel_arrays import check_examples
from bnkit.lab.data.preparation import Images, finish
from bnkit.lab.data.settings import DataSettings

# Of a split and of fewer examples than there are: here all are read.
_ALL = {"train_examples": None, "test_examples": None}


def read_unlabelled(settings: DataSettings) -> tuple[Images, list[str]]:
    """Return all examples that lie at a path, and sentences about what was read.

    Args:
        settings: `path`: a folder, of which every image file below it is read, in order of path,
            however it is sorted; an .npy file; or an .npz file, of which the images are read, the
            training examples before those of the test, and labels are not. Of the rest,
            `image_size`, `colour`, `mean`, `std` and `scaling` are used.

    Returns:
        float32, shape (N, C, H, W) for images or (N, D) for features; and the notes.

    Raises:
        DataError: nothing there, or it cannot be decoded or prepared.
    """
    assert settings.path is not None, "whoever reads data names their path"
    path, settings = settings.path, settings.model_copy(update=_ALL)
    parts, notes = (_of_folder if path.is_dir() else _of_file)(path, settings)
    first, *rest = parts
    dataset = finish(_dataset(first, rest[0] if rest else first[:0]), settings, str(path))
    images = np.concatenate([dataset.train_images, dataset.test_images])
    return images, [f"{len(images):,} samples were read from {path}{notes[0]}.", *notes[1:]]


def _of_folder(root: Path, settings: DataSettings) -> tuple[list[Images], list[str]]:
    files, others = image_files_below(root)
    images, notes = decode_all(root, files, settings)
    names = [path.relative_to(root).as_posix() for path in others]
    unread = [f"Files that are no images and not read: {listed(names, 3)}."] if names else []
    return [images], ["", *notes, *unread]


def _of_file(path: Path, settings: DataSettings) -> tuple[list[Images], list[str]]:
    arrays: Mapping[str, AnyArray]
    array = load_npy(path)
    if array is not None:
        arrays, what, unread = {"the array": array}, "", list[str]()
    else:
        arrays, keys = load_npz(path, lambda held: image_keys(held, str(path)))
        what = f" ({' and '.join(arrays)})"
        unread = [key for key in keys if key not in arrays]
    check_examples(arrays, str(path))
    images, notes = prepared_images(arrays, settings, str(path))
    if unread:
        notes.append(f"Arrays that are not read: {listed(unread)}.")
    return images, [what, *notes]


def _dataset(train: Images, test: Images) -> Dataset:
    labels: Sequence[np.ndarray] = [np.zeros(len(part), np.int64) for part in (train, test)]
    return Dataset(train, labels[0], test, labels[1], ("unlabelled",))
