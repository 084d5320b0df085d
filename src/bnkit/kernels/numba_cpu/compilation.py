"""Compiles a program for a configuration when it is first asked for, and keeps it on disk."""

from __future__ import annotations

import hashlib
import logging
import os
from functools import cache
from pathlib import Path
from threading import RLock
from typing import Any

from bnkit.kernels.numba_cpu.problem import COMPILE_OPTIONS, Configuration

_addresses: dict[Configuration, int] = {}
_compiled: list[Any] = []
# Numba's own locks are held inside this one: so no fork happens while a thread compiles, and no
# child waits for a thread that it does not have.
_lock = RLock()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_lock.acquire, after_in_parent=_lock.release, after_in_child=_lock.release
    )
_log = logging.getLogger(__name__)


def address_of(configuration: Configuration) -> int:
    """Return the address of a compiled program; the first call of a configuration compiles it.

    Cost: about half a second to compile, or milliseconds where an earlier process left it on disk.
    """
    address = _addresses.get(configuration)
    return _compile(configuration) if address is None else address


def _compile(configuration: Configuration) -> int:
    # Here, and not above: what never compiles need not wait for Numba to be imported.
    from numba import cfunc, types

    from bnkit.kernels.numba_cpu.llvm_types import Block
    from bnkit.kernels.numba_cpu.programs import program

    with _lock:
        if configuration not in _addresses:
            signature = types.void(Block(configuration, _digest()))
            try:
                compiled = cfunc(signature, cache=True, **COMPILE_OPTIONS)(program)
            except Exception as error:
                # No folder to write to, a full disk, a damaged file: compile without one.
                _log.info("compiled without Numba's cache on disk: %r", error)
                compiled = cfunc(signature, **COMPILE_OPTIONS)(program)
            _compiled.append(compiled)
            _addresses[configuration] = compiled.address
    return _addresses[configuration]


@cache
def _digest() -> str:
    """Return a digest of the sources that programs are compiled from.

    Numba's cache watches one file only, by date and size; an installed file may keep both.
    """
    sources = sorted(Path(__file__).parent.glob("*.py"))
    return hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()[:16]
