"""The bytes of one file, gzip or not, with a bound on how many they may become."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import IO, TypeVar, cast

from bnkit.errors import DataError
from bnkit.lab.data.hashing import unreadable

GZIP_MAGIC = b"\x1f\x8b"
_WEB_PAGE = (b"<!doctype", b"<html", b"<?xml", b"<head")
MIB = 2**20

T = TypeVar("T")


def read_content(path: Path, most: int, where: str) -> bytes:
    """Return a file's bytes, decompressed if it is gzip, whatever its name says.

    Args:
        path: the file.
        most: bytes that the content may have; no more are decompressed.
        where: what messages begin with.

    Raises:
        DataError: it cannot be read, is cut off or damaged, or its content is larger.
    """
    content = reading(path, lambda file: file.read(most + 1), where)
    if len(content) > most:
        raise DataError(
            f"holds more than {most / MIB:.0f} MiB once decompressed",
            required=f"at most {most / MIB:.0f} MiB",
            remedy="Get the official file",
            where=where,
        )
    return content


def reading(path: Path, read: Callable[[IO[bytes]], T], where: str) -> T:
    """Return what a function reads from a file's decompressed content.

    Raises:
        DataError: the file cannot be read, is empty, cut off or damaged.
    """
    try:
        with path.open("rb") as raw:
            start = raw.read(16)
            raw.seek(0)
            refuse_unusable_start(start, where)
            if not start.startswith(GZIP_MAGIC):
                if path.suffix in (".gz", ".tgz"):
                    raise damaged(f"begins with {start[:4].hex(' ')}, which is not gzip", where)
                return read(raw)
            with gzip.GzipFile(fileobj=raw) as file:
                return read(cast(IO[bytes], file))
    except EOFError as error:
        raise damaged("is cut off: the end of its compressed content is missing", where) from error
    except (gzip.BadGzipFile, zlib.error) as error:
        raise damaged(f"is damaged ({error})", where) from error
    except OSError as error:
        raise unreadable(path, error) from error


def refuse_unusable_start(start: bytes, where: str) -> None:
    """Raise `DataError` for an empty file and for a web page that was saved as data."""
    if not start:
        raise damaged("is empty, 0 bytes", where)
    if start.lstrip().lower().startswith(_WEB_PAGE):
        raise damaged("is a web page, as servers send when they do not have the file", where)


def damaged(given: str, where: str, required: str = "the whole file as published") -> DataError:
    """Return the error for a file whose content cannot be right."""
    return DataError(given, required=required, remedy="Remove it and get it again", where=where)
