"""Writing a file so that a reader sees the old content or the new, never half of it."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from bnkit.errors import StoreError


def write_atomically(path: Path, text: str) -> None:
    """Write `text` to `path` through a temporary file beside it, flushed to disk and renamed.

    Raises:
        StoreError: the file cannot be written; what stood there is untouched.
    """

    def write(temporary: Path) -> None:
        temporary.write_text(text, encoding="utf-8")

    write_whole(path, write)


def write_whole(path: Path, write: Callable[[Path], None]) -> None:
    """Have a function write a temporary file beside `path`; flush it to disk and rename it.

    Raises:
        StoreError: the file cannot be written; what stood there is untouched.
        Exception: what the function raises beside OSError.
    """
    temporary = path.with_name(f".{os.getpid()}-{path.name}")
    try:
        try:
            write(temporary)
            with temporary.open("rb") as file:
                os.fsync(file.fileno())
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise cannot_write(path, error) from error


def cannot_write(path: Path, error: Exception) -> StoreError:
    """Return the error for a file or folder that cannot be written."""
    return StoreError(
        f"cannot write {path} ({getattr(error, 'strerror', None) or error})",
        required="a writable folder on a disk with space left",
        remedy="Choose another folder with --out, or make room",
    )
