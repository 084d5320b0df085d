"""Small files in the formats of the stored data sets, and where the real ones lie."""

from __future__ import annotations

import gzip
import io
import os
import pickle
import struct
import tarfile
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from source_tree import ROOT

Array = NDArray[Any]


def real_data(name: str) -> Path:
    """Return the folder that holds a real data set; skip the test where it is absent."""
    from bnkit.lab.data.stored_copies import find_copy

    folder = Path(os.environ.get("BNKIT_DATA_DIR") or ROOT.parent / "shared" / "data")
    copy = find_copy(name, folder)
    if copy is None:
        pytest.skip(f"{name} is not in {folder}; BNKIT_DATA_DIR names another folder")
    return folder


def digit_labels(count: int) -> Array:
    """Return labels 3, 4 … 9, 0, 1, 2, 3 …"""
    return ((np.arange(count) + 3) % 10).astype(np.uint8)


def pixels(*shape: int, seed: int = 0) -> Array:
    """Return random bytes."""
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def idx_bytes(array: Array) -> bytes:
    """Return an array of bytes as an IDX file holds it."""
    return struct.pack(f">I{array.ndim}I", 0x0800 + array.ndim, *array.shape) + array.tobytes()


def mnist_arrays(train: int = 40, test: int = 20) -> dict[str, Array]:
    """Return official file name → array."""
    return {
        "train-images-idx3-ubyte": pixels(train, 28, 28),
        "train-labels-idx1-ubyte": digit_labels(train),
        "t10k-images-idx3-ubyte": pixels(test, 28, 28, seed=1),
        "t10k-labels-idx1-ubyte": digit_labels(test),
    }


def write_mnist(folder: Path, *, compress: bool = True, **changes: bytes) -> Path:
    """Write the four files; `train_images=…` and the like replace a file's content."""
    folder.mkdir(parents=True, exist_ok=True)
    keys = ("train_images", "train_labels", "test_images", "test_labels")
    for key, (name, array) in zip(keys, mnist_arrays().items(), strict=True):
        content = changes.get(key, idx_bytes(array))
        path = folder / (f"{name}.gz" if compress else name)
        path.write_bytes(gzip.compress(content) if compress else content)
    return folder


def binary_batch(images: Array, labels: Array) -> bytes:
    """Return a CIFAR batch in the binary form."""
    return np.concatenate([labels[:, None], images.reshape(len(images), -1)], axis=1).tobytes()


class _Python2Pickler(pickle._Pickler):
    """Writes bytes as Python 2 wrote its strings."""

    dispatch: ClassVar[dict[type, Any]] = dict(pickle._Pickler.dispatch)

    def save_bytes(self, content: bytes) -> None:
        short = len(content) < 256
        size = bytes([len(content)]) if short else struct.pack("<i", len(content))
        self.write((b"U" if short else b"T") + size + content)
        self.memoize(content)

    dispatch[bytes] = save_bytes


def python_batch(images: Array, labels: Array, /, **changes: Any) -> bytes:
    """Return a CIFAR batch as Python 2 pickled it, with the module names of that time's NumPy."""
    batch = {
        b"batch_label": b"training batch",
        b"labels": [int(label) for label in labels],
        b"data": images.reshape(len(images), -1),
        b"filenames": [b"leptodactylus_pentadactylus_s_000004.png"] * len(images),
    }
    batch |= {key.encode(): value for key, value in changes.items()}
    file = io.BytesIO()
    _Python2Pickler(file, protocol=2).dump(batch)
    return file.getvalue().replace(b"numpy._core.multiarray", b"numpy.core.multiarray")


def cifar_batches(*names: str, count: int = 30) -> dict[str, tuple[Array, Array]]:
    """Return batch name → images and labels; each batch has others."""
    return {
        name: (pixels(count, 3, 32, 32, seed=index), digit_labels(count))
        for index, name in enumerate(names)
    }


def tar_gz(members: Mapping[str, bytes | tarfile.TarInfo]) -> bytes:
    """Return a compressed tar of name → content; a TarInfo is put in as it is."""
    file = io.BytesIO()
    # Without the time: tests are named by what they are given, and must be named alike everywhere.
    packed = gzip.GzipFile(fileobj=file, mode="wb", mtime=0)
    with packed, tarfile.open(fileobj=packed, mode="w") as archive:
        for name, content in members.items():
            if isinstance(content, tarfile.TarInfo):
                archive.addfile(content)
                continue
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return file.getvalue()


def zip_bytes(members: Mapping[str, bytes]) -> bytes:
    """Return a zip of name → content."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return file.getvalue()


def png(image: Array) -> bytes:
    """Return an image as a PNG file holds it."""
    file = io.BytesIO()
    Image.fromarray(image).save(file, "PNG")
    return file.getvalue()


def digit_images(pattern: str = "digit_{}", side: int = 32) -> dict[str, bytes]:
    """Return Train/<digit>/<n>.png → content: three training and two test images of each digit."""
    return {
        f"{split}/{pattern.format(digit)}/{number}.png": png(
            pixels(side, side, seed=100 * number + digit + offset)
        )
        for split, count, offset in (("Train", 3, 0), ("Test", 2, 50))
        for digit in range(10)
        for number in range(count)
    }


def write_files(root: Path, files: Mapping[str, bytes]) -> Path:
    """Write relative path → content below a folder."""
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return root
