"""Members of tar and zip archives, read into memory; nothing is ever unpacked to disk.

So no member can land outside a folder, replace a file, or be a device; links are refused.
"""

from __future__ import annotations

import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

from bnkit.errors import DataError
from bnkit.lab.data.hashing import unreadable
from bnkit.lab.data.stored_bytes import MIB, damaged, reading, refuse_unusable_start

# More than ten times what the archives of any set hold.
MOST_BYTES = 4096 * MIB
MOST_BYTES_EACH = 64 * MIB


def read_members(
    path: Path, is_wanted: Callable[[str], bool], most_each: int = MOST_BYTES_EACH
) -> dict[str, bytes]:
    """Return the wanted members of an archive: name → content, in order of name.

    Args:
        path: a zip, or a tar that may be compressed with gzip.
        is_wanted: told a member's name, with forward slashes.
        most_each: bytes that one member may have.

    Raises:
        DataError: the archive is damaged or none; a wanted member is a link, lies outside the
            archive's folder, appears twice, or is too large.
    """
    where = str(path)
    found: dict[str, bytes] = {}
    for name, content in _members(path, is_wanted, most_each, where):
        if name in found:
            raise damaged(f"holds {name} twice", where)
        found[name] = content
    return dict(sorted(found.items()))


def _members(
    path: Path, is_wanted: Callable[[str], bool], most_each: int, where: str
) -> Iterator[tuple[str, bytes]]:
    try:
        with path.open("rb") as file:
            refuse_unusable_start(file.read(16), where)
        is_zip = zipfile.is_zipfile(path)
    except OSError as error:
        raise unreadable(path, error) from error
    if is_zip:
        yield from _zip_members(path, is_wanted, most_each, where)
    else:
        if path.suffix == ".zip":
            raise damaged("is no zip archive, or its end is missing", where)
        yield from reading(
            path, lambda file: _tar_members(file, is_wanted, most_each, where), where
        )


def _tar_members(
    file: IO[bytes], is_wanted: Callable[[str], bool], most_each: int, where: str
) -> list[tuple[str, bytes]]:
    found, total = [], 0
    try:
        with tarfile.open(fileobj=file, mode="r|") as archive:
            for member in archive:
                total += member.size
                _check_total(total, where)
                name = member.name.removeprefix("./")
                if member.isdir() or not is_wanted(name):
                    continue
                if not member.isreg():
                    raise damaged(f"its member {name} is a link or a device", where, "plain files")
                _check_member(name, member.size, most_each, where)
                opened = archive.extractfile(member)
                assert opened is not None, "a plain file can be opened"
                found.append((name, opened.read()))
                if len(found[-1][1]) != member.size:
                    raise damaged(f"is cut off within {name}", where)
            # To the end, where gzip keeps the checksum of it all; tar pads with zeros.
            while rest := file.read(MIB):
                _check_total(total := total + len(rest), where)
    except tarfile.TarError as error:
        raise damaged(f"is no whole tar archive ({error})", where) from error
    return found


def _zip_members(
    path: Path, is_wanted: Callable[[str], bool], most_each: int, where: str
) -> Iterator[tuple[str, bytes]]:
    try:
        with zipfile.ZipFile(path) as archive:
            total = 0
            for member in archive.infolist():
                if member.is_dir() or not is_wanted(member.filename):
                    continue
                total += member.file_size
                _check_total(total, where)
                _check_member(member.filename, member.file_size, most_each, where)
                if (member.external_attr >> 28) == 0xA:
                    raise damaged(f"its member {member.filename} is a link", where, "plain files")
                # Reading stops at the size in the directory and compares the checksum.
                yield member.filename, archive.read(member)
    except OSError as error:
        raise unreadable(path, error) from error
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise damaged(f"is damaged ({error})", where) from error


def _check_total(total: int, where: str) -> None:
    if total > MOST_BYTES:
        raise damaged(f"unpacks to more than {MOST_BYTES // MIB} MiB", where)


def _check_member(name: str, size: int, most: int, where: str) -> None:
    if name.startswith(("/", "\\")) or ".." in name.split("/"):
        raise DataError(
            f"its member {name} lies outside the archive's own folder",
            required="members below one folder",
            remedy="Get the file again, from a source you trust",
            where=where,
        )
    if size > most:
        raise damaged(f"its member {name} has {size / MIB:.0f} MiB", where, f"{most // MIB} MiB")
