"""How much a core keeps to itself: the size of its second cache."""

from __future__ import annotations

from functools import cache
from pathlib import Path

_SIZE = Path("/sys/devices/system/cpu/cpu0/cache/index2/size")
# What the smallest of the processors that programs are compiled for have.
_USUAL = 2**18
_UNITS = {"K": 2**10, "M": 2**20}


@cache
def second_cache_bytes() -> int:
    """Return the bytes of a core's second cache, as Linux tells them; elsewhere a small one's."""
    try:
        return bytes_of(_SIZE.read_text(encoding="ascii"))
    except (OSError, ValueError):
        return _USUAL


def bytes_of(text: str) -> int:
    """Return the bytes that a size such as `1024K` stands for.

    Raises:
        ValueError: it is no such size.
    """
    text = text.strip()
    unit = _UNITS.get(text[-1:], 0)
    return int(text[:-1]) * unit if unit else int(text)
