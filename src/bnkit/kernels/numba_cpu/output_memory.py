"""Memory for outputs: fresh pages cost more than the arithmetic that fills them."""

from __future__ import annotations

import ctypes
import mmap
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path

import torch
from torch import Tensor

# The C library gives memory of this size back when it is freed, or soon, and maps it anew.
_OFTEN_NEW = 2**22
_SETTING = Path("/sys/kernel/mm/transparent_hugepage/enabled")


def empty_like(x: Tensor) -> Tensor:
    """Return an uninitialized tensor of the shape, dtype and strides of x.

    Linux is asked to back a large one with huge pages where it leaves that to the program: a
    512th of the page faults. That is said of the memory of this tensor alone.
    """
    y = torch.empty_like(x)
    size = y.numel() * y.element_size()
    if size >= _OFTEN_NEW:
        advise = _madvise()
        if advise is not None:
            page = mmap.PAGESIZE
            start = -(-y.data_ptr() // page) * page
            end = (y.data_ptr() + size) // page * page
            advise(start, end - start, mmap.MADV_HUGEPAGE)
    return y


@cache
def _madvise() -> Callable[[int, int, int], int] | None:
    """Return the C library's madvise, or None where huge pages cannot be asked for."""
    if sys.platform != "linux":
        return None
    try:
        if "[madvise]" not in _SETTING.read_text(encoding="ascii"):
            return None
    except OSError:
        return None
    function = ctypes.CDLL(None).madvise
    function.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    return function
