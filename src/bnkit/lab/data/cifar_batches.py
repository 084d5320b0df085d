"""CIFAR-10's batch files, in their binary and their python form → pixels and labels.

Source: https://www.cs.toronto.edu/~kriz/cifar.html. Binary: records of 1 label byte and 3,072 pixel
bytes, red, green, blue, each by rows. Python: a pickled dictionary with `data`, (N, 3072) bytes in
the same order, and `labels`.
"""

from __future__ import annotations

import io
import pickle
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from bnkit.errors import DataError
from bnkit.lab.data.byte_dataset import check_labels
from bnkit.lab.data.class_labels import Labels
from bnkit.lab.data.stored_bytes import damaged

SHAPE = (3, 32, 32)
CLASSES = 10
_PIXELS = 3072
_RECORD = 1 + _PIXELS

Batch = tuple[NDArray[np.uint8], Labels]


def read_batch(name: str, content: bytes, where: str) -> Batch:
    """Return the images, uint8 (N, 3, 32, 32), and labels, int64 (N,), of a batch file.

    Args:
        name: its file name; `.bin` is the binary form.
        content: its bytes.
        where: what messages begin with.

    Raises:
        DataError: the content is not a batch, has a label out of range, or names code to run.
    """
    if not content:
        raise damaged("is empty, 0 bytes", where)
    images, labels = (
        _read_binary(content, where) if name.endswith(".bin") else _read_python(content, where)
    )
    check_labels(labels, CLASSES, where)
    return images, labels


def _read_binary(content: bytes, where: str) -> Batch:
    if len(content) % _RECORD:
        raise damaged(
            f"holds {len(content)} bytes, {len(content) % _RECORD} more than "
            f"{len(content) // _RECORD} images take",
            where,
            f"a multiple of {_RECORD} bytes: a label and {_PIXELS} pixels for each image",
        )
    records = np.frombuffer(content, np.uint8).reshape(-1, _RECORD)
    return records[:, 1:].reshape(-1, *SHAPE), records[:, 0].astype(np.int64)


def _read_python(content: bytes, where: str) -> Batch:
    try:
        batch = _BatchUnpickler(io.BytesIO(content), where).load()
    except DataError:
        raise
    except Exception as error:  # unpickling damaged bytes may raise anything
        raise damaged(
            f"cannot be read as a pickled batch ({type(error).__name__}: {error})", where
        ) from error
    data, labels = (_entry(batch, key, where) for key in ("data", "labels"))
    if not isinstance(data, np.ndarray) or data.dtype != np.uint8 or data.shape[1:] != (_PIXELS,):
        shape = f"shape {data.shape}, {data.dtype}" if isinstance(data, np.ndarray) else type(data)
        raise damaged(f"its data have {shape}", where, f"uint8 of shape (N, {_PIXELS})")
    targets = _as_array(labels, where)
    if targets.shape != (len(data),) or targets.dtype.kind not in "ui":
        raise damaged(
            f"holds {len(data)} images, and labels of shape {targets.shape}, {targets.dtype}",
            where,
            "one whole number per image",
        )
    return data.reshape(-1, *SHAPE), targets.astype(np.int64)


def _entry(batch: Any, key: str, where: str) -> Any:
    # Written by Python 2, whose strings are bytes.
    for spelling in (key.encode(), key):
        if isinstance(batch, Mapping) and spelling in batch:
            value = batch[spelling]
            return value.array if isinstance(value, _PickledArray) else value
    raise damaged(f"has no {key}", where, "a dictionary with data and labels")


def _as_array(labels: Any, where: str) -> NDArray[Any]:
    try:
        return np.asarray(labels)
    except ValueError as error:
        raise damaged(f"its labels are no list of numbers ({error})", where) from error


class _BatchUnpickler(pickle.Unpickler):
    """Rebuilds dictionaries, strings, numbers and NumPy arrays of whole numbers; nothing else.

    A pickle may name any function and have it called. Here only those of an array can be named, and
    each is replaced by one of ours.
    """

    def __init__(self, file: io.BytesIO, where: str) -> None:
        super().__init__(file, encoding="bytes")
        self._where = where

    def find_class(self, module: str, name: str) -> Any:
        """Return the stand-in for what a pickle names; raise `DataError` for anything else."""
        found = _ALLOWED.get((module, name))
        if found is None:
            raise DataError(
                f"names {module}.{name}, which is no part of a batch and could run code",
                required="a pickle of a dictionary, numbers and NumPy arrays; it was not run",
                remedy="Get the file again, from a source you trust",
                where=self._where,
            )
        return found


class _PickledDtype:
    """Stands in for `numpy.dtype` while a batch is read: a whole number of 1 to 8 bytes."""

    def __init__(self, code: Any, *_: Any) -> None:
        text = code.decode("ascii") if isinstance(code, bytes) else str(code)
        if text not in {f"{kind}{size}" for kind in "ui" for size in (1, 2, 4, 8)}:
            raise ValueError(f"an array of dtype {text!r}")
        self.dtype = np.dtype(text)

    def __setstate__(self, state: Any) -> None:
        if state[1] in (">", b">"):
            self.dtype = self.dtype.newbyteorder(">")


class _PickledArray:
    """Stands in for `numpy.ndarray` while a batch is read: checks the state, then decodes it.

    NumPy's own classes trust what a pickle says of their memory.
    """

    array: NDArray[Any]

    def __setstate__(self, state: Any) -> None:
        _, shape, kind, is_fortran, raw = state
        if not isinstance(raw, bytes):
            raise TypeError("an array whose content is no bytes")
        order: Literal["C", "F"] = "F" if is_fortran else "C"
        self.array = np.frombuffer(raw, kind.dtype).reshape(shape, order=order)


def _new_array(*_: Any) -> _PickledArray:
    return _PickledArray()


def _latin_bytes(text: str, encoding: str) -> bytes:
    # How Python 3 writes bytes for readers of Python 2.
    if encoding not in ("latin1", b"latin1"):
        raise ValueError(f"bytes encoded as {encoding!r}")
    return text.encode("latin1")


_ALLOWED = {
    ("numpy.core.multiarray", "_reconstruct"): _new_array,
    ("numpy._core.multiarray", "_reconstruct"): _new_array,
    ("numpy", "ndarray"): _PickledArray,
    ("numpy", "dtype"): _PickledDtype,
    ("_codecs", "encode"): _latin_bytes,
}
