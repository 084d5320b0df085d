"""Hashes of content: what is in files and arrays, not where they lie."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bnkit.errors import DataError


def hash_file(path: Path) -> str:
    """Return the SHA-256 of a file's bytes.

    Raises:
        DataError: it cannot be read.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise unreadable(path, error) from error


def hash_files(files: Iterable[tuple[str, Path]]) -> str:
    """Return one hash over (relative name, file) pairs, names and bytes both."""
    digest = hashlib.sha256()
    for name, path in files:
        # Each entry ends in a hash of fixed length, so no two lists run into the same bytes.
        encoded = os.fsencode(name)
        digest.update(b"%d:%b:%b" % (len(encoded), encoded, hash_file(path).encode()))
    return digest.hexdigest()


def hash_arrays(arrays: Mapping[str, NDArray[Any]]) -> str:
    """Return one hash over names, dtypes, shapes and values; the order of names does not matter."""
    digest = hashlib.sha256()
    for name, array in sorted(arrays.items()):
        digest.update(f"{name}:{array.dtype.str}:{array.shape}:".encode())
        # As bytes: numpy has dtypes, strings among them, that offer no buffer of their own.
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def unreadable(path: Path, error: OSError) -> DataError:
    """Return the error for a file or folder that the operating system does not let us read."""
    return DataError(
        f"cannot be read ({error.strerror or error})",
        required="a readable file",
        remedy="Check its permissions",
        where=str(path),
    )
