"""Downloading a data set: several mirrors, checked by content, put in place when it is whole."""

from __future__ import annotations

import contextlib
import hashlib
import os
import time
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from bnkit.errors import DataError
from bnkit.lab.data.archives import read_members
from bnkit.lab.data.fetch_progress import FetchProgress, SilentFetch
from bnkit.lab.data.inventory import EMBEDDED_SETS, check_name
from bnkit.lab.data.stored_bytes import MIB, damaged, read_content
from bnkit.lab.data.stored_copies import StoredCopy, find_copy
from bnkit.lab.data.stored_sets import STORED_SETS, Download, StoredSet

_TIMEOUT_SECONDS = 30
_ABANDONED_SECONDS = 3600
_CHUNK_BYTES = 2**16
_MOST_BYTES = 512 * MIB


def fetch(name: str, folder: Path, progress: FetchProgress | None = None) -> StoredCopy | None:
    """Return where a data set lies, downloaded first unless it is there; None if it is embedded.

    Each file is downloaded beside its place, its decompressed content is held against the official
    checksum, and it is renamed into place. What an interrupted call had finished is kept.

    Args:
        name: the data set.
        folder: the data folder; the files go into a folder of the set's name in it.
        progress: told what is going on.

    Raises:
        DataError: there is no such set, nobody may download it freely, no mirror gave the right
            content (the message says what each gave), or the folder cannot be written.
    """
    check_name(name)
    if name in EMBEDDED_SETS:
        return None
    copy = find_copy(name, folder)
    if copy is not None and not copy.missing:
        return copy
    stored = STORED_SETS[name]
    if not stored.downloads:
        raise DataError(
            "cannot be downloaded by bnkit",
            required=stored.by_hand,
            remedy=f"Put into {folder}: {stored.wanted}",
            where=f"data {name}",
        )
    place = folder / name
    try:
        place.mkdir(parents=True, exist_ok=True)
        for download in stored.downloads:
            if not (place / download.name).is_file():
                _fetch_file(stored, download, place / download.name, progress or SilentFetch())
    except OSError as error:
        raise DataError(
            f"cannot write to {place} ({error.strerror or error})",
            required="a writable folder with space left",
            remedy="Choose another folder with --data-dir, or make room",
            where=f"data {name}",
        ) from error
    finally:
        with contextlib.suppress(OSError):  # unless it holds something
            place.rmdir()
    return find_copy(name, folder)


def _fetch_file(
    stored: StoredSet, download: Download, target: Path, progress: FetchProgress
) -> None:
    _remove_abandoned(target)
    temporary = target.with_name(f".{os.getpid()}-{target.name}")
    failures = []
    try:
        for address in download.mirrors:
            progress.started(download.name, address)
            try:
                reason = _download(address, temporary, progress)
            finally:
                progress.stop()
            reason = reason or _wrong_content(stored, download.name, temporary)
            if not reason:
                with temporary.open("rb") as file:
                    os.fsync(file.fileno())
                temporary.replace(target)
                progress.finished(download.name, target.stat().st_size)
                return
            failures.append(f"{address} {reason}")
            progress.failed(failures[-1])
    finally:
        temporary.unlink(missing_ok=True)
    raise DataError(
        f"{download.name} could not be downloaded: {'; '.join(failures)}",
        required="one mirror that gives the official content",
        remedy=f"Try again later, or get it elsewhere and copy it to {target.parent}; "
        "`bnkit study run digits` needs no files",
        where=f"data {stored.name}",
    )


def _remove_abandoned(target: Path) -> None:
    """Remove what calls that were killed left of this file; another may be writing a newer one."""
    for temporary in target.parent.glob(f".*-{target.name}"):
        if time.time() - temporary.stat().st_mtime > _ABANDONED_SECONDS:
            temporary.unlink(missing_ok=True)


def _download(address: str, temporary: Path, progress: FetchProgress) -> str:
    """Write what an address gives to a file; return what went wrong, empty if nothing did."""
    import pooch
    import requests

    # As it is: a server that says it compressed a .gz once more would have requests unpack it.
    downloader = pooch.HTTPDownloader(
        progressbar=progress.bar(),
        chunk_size=_CHUNK_BYTES,
        timeout=_TIMEOUT_SECONDS,
        headers={"Accept-Encoding": "identity"},
    )
    try:
        downloader(address, str(temporary), None)
    except requests.HTTPError as error:
        return f"answered {error.response.status_code}" if error.response is not None else "failed"
    except requests.ConnectionError:
        return "cannot be reached, or broke off"
    except requests.Timeout:
        return f"did not answer within {_TIMEOUT_SECONDS} s"
    except requests.RequestException as error:
        return f"broke off ({type(error).__name__})"
    return ""


def _wrong_content(stored: StoredSet, name: str, temporary: Path) -> str:
    """Return why a download is not the official content; empty if it is."""
    try:
        for file, content in _contents(stored, name, temporary).items():
            found = hashlib.md5(content, usedforsecurity=False).hexdigest()
            expected = {official.name: official.md5 for official in stored.files}[file]
            if found != expected:
                return f"gave other content: md5 of {file} is {found}, of the official {expected}"
    except DataError as error:
        return f"gave a file that {error.given}"
    return ""


def _contents(stored: StoredSet, name: str, temporary: Path) -> Mapping[str, bytes]:
    """Return official file → its decompressed content, of a file or of an archive of several."""
    wanted = [file.name for file in stored.files if file.member_of == name]
    if not wanted:
        content = read_content(temporary, _MOST_BYTES, str(temporary))
        return {name.removesuffix(".gz"): content}
    members = read_members(temporary, lambda member: PurePosixPath(member).name in wanted)
    found = {PurePosixPath(member).name: content for member, content in members.items()}
    missing = [file for file in wanted if file not in found]
    if missing:
        raise damaged(f"has no member {', '.join(missing)}", str(temporary))
    return found
