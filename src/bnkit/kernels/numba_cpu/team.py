"""Runs a program on torch's own OpenMP threads, or on the calling thread alone.

A second pool of threads would fight with torch's for the cores; so programs go to the pool that
torch's operators have just used, through the library that torch itself was linked with.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable
from functools import cache
from pathlib import Path

import torch

_FUNCTIONS = ("GOMP_parallel", "GOMP_barrier", "omp_get_thread_num")
_Parallel = Callable[[int, int, int, int], None]

# A forked child has none of its parent's threads, and OpenMP does not know it.
_is_forked = False


def _after_fork() -> None:
    global _is_forked  # noqa: PLW0603 - see its definition
    _is_forked = True


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def threads() -> int:
    """Return how many threads a program may use: torch's number, and one in a forked child."""
    return 1 if _is_forked else torch.get_num_threads()


def shares_threads() -> bool:
    """Return whether programs can run on torch's threads."""
    return _parallel() is not None


def run(program: int, block: int, wanted: int) -> None:
    """Run the program at an address on a block at another, on `wanted` threads."""
    parallel = _parallel()
    if wanted > 1 and not _is_forked and parallel is not None:
        parallel(program, block, wanted, 0)
    else:
        _alone(program)(block)


@cache
def _alone(program: int) -> Callable[[int], None]:
    # Like every foreign function of ctypes, it lets other Python threads run meanwhile.
    return ctypes.CFUNCTYPE(None, ctypes.c_void_p)(program)


@cache
def thread_number() -> int:
    """Return the address of OpenMP's function that numbers the threads of a team from 0 on."""
    return _address("omp_get_thread_num")


@cache
def barrier() -> int:
    """Return the address of OpenMP's function in which a team waits until all are there."""
    return _address("GOMP_barrier")


def _address(function: str) -> int:
    address = ctypes.cast(getattr(_library(), function), ctypes.c_void_p).value
    assert address is not None
    return address


@cache
def _parallel() -> _Parallel | None:
    """Return GOMP_parallel(function, data, threads, flags) of the library that torch uses."""
    library = _library()
    if library is None:
        return None
    function = library.GOMP_parallel
    function.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint, ctypes.c_uint]
    function.restype = None
    return function


@cache
def _library() -> ctypes.CDLL | None:
    """Return torch's library, through which its GNU OpenMP is reached; None if it has none."""
    for name in ("libtorch_cpu.so", "libtorch_cpu.dylib"):
        path = Path(torch.__file__).parent / "lib" / name
        if path.exists():
            try:
                library = ctypes.CDLL(str(path))
            except OSError:
                return None
            return library if all(hasattr(library, name) for name in _FUNCTIONS) else None
    return None
