"""Whether the images asked for fit in memory, told before anything is decoded."""

from __future__ import annotations

import os

from bnkit.errors import DataError

BYTES_PER_VALUE = 4
GIB = 2**30


def check_fits(examples: int, values_each: int, where: str) -> None:
    """Raise unless so many float32 images fit in half of this machine's memory.

    The other half is for the copies that processes train on. Where the system does not tell how
    much memory there is, nothing is checked.

    Raises:
        DataError: they do not fit.
    """
    needed, available = examples * values_each * BYTES_PER_VALUE, _memory_bytes()
    if available is not None and needed > available / 2:
        raise DataError(
            f"{examples} images of {values_each} values each take {needed / GIB:.1f} GiB",
            required=f"at most half of this machine's {available / GIB:.1f} GiB of memory",
            remedy="Give a smaller data.image_size, or fewer images",
            where=where,
        )


def _memory_bytes() -> int | None:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return None
