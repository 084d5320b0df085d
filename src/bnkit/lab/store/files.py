"""Writing a file so that a reader sees the old content or the new, never half of it."""

from __future__ import annotations

import os
from pathlib import Path

from bnkit.errors import StoreError


def write_atomically(path: Path, text: str) -> None:
    """Write `text` to `path` through a temporary file beside it, flushed to disk and renamed.

    Raises:
        StoreError: the file cannot be written; what stood there is untouched.
    """
    try:
        _write_and_rename(path, text)
    except OSError as error:
        raise cannot_write(path, error) from error


def cannot_write(path: Path, error: Exception) -> StoreError:
    """Return the error for a file or folder that cannot be written."""
    return StoreError(
        f"cannot write {path} ({getattr(error, 'strerror', None) or error})",
        required="a writable folder on a disk with space left",
        remedy="Choose another folder with --out, or make room",
    )


def _write_and_rename(path: Path, text: str) -> None:
    temporary = path.with_name(f".{path.name}-{os.getpid()}")
    try:
        with temporary.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
