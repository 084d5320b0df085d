"""IDX files, MNIST's format: a magic number, the sizes of the axes, then unsigned bytes.

Source: the format's description on MNIST's page (LeCun, Cortes, Burges): two zero bytes, the type
of the values (8: unsigned bytes), the number of axes, each axis as a big-endian int32.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bnkit.lab.data.stored_bytes import MIB, damaged, read_content

_UNSIGNED_BYTES = 0x0800
_MOST_BYTES = 512 * MIB


def read_idx(path: Path, axes: int) -> tuple[NDArray[np.uint8], bytes]:
    """Return a file's array and the bytes it was read from.

    Args:
        path: the file, gzip or not.
        axes: how many the array must have: 3 for images, 1 for labels.

    Raises:
        DataError: the file cannot be read, has another magic number, or another length than its
            header says.
    """
    where = str(path)
    content = read_content(path, _MOST_BYTES, where)
    magic = int.from_bytes(content[:4], "big")
    required = f"the magic number {_UNSIGNED_BYTES + axes} of unsigned bytes with {axes} axes"
    if len(content) < 4 or magic != _UNSIGNED_BYTES + axes:
        raise damaged(f"begins with the magic number {magic}", where, required)
    start = 4 + 4 * axes
    if len(content) < start:
        raise damaged(f"holds {len(content)} bytes", where, f"a header of {start} bytes")
    shape = [int(size) for size in np.frombuffer(content[4:start], ">u4")]
    expected = start + math.prod(shape)
    if len(content) != expected:
        sizes = " × ".join(map(str, shape))
        raise damaged(
            f"holds {len(content)} bytes",
            where,
            f"{expected} bytes, as its header says ({sizes} values after {start} bytes)",
        )
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape), content
