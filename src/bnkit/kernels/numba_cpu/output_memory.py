"""Memory for outputs: fresh pages cost more than the arithmetic that fills them.

The C library gives large memory back to the system when a tensor is freed, and has it mapped, and
filled with zeros page by page, for the next tensor of the same size. So what outputs lay in is kept
here and written again once nobody holds it any more.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from threading import RLock
from typing import Any

import torch
from torch import Tensor

# The C library may give memory of this size back when it is freed, and maps it anew.
OFTEN_NEW = 2**21
# What nobody held for so long is given back at the next call.
_IDLE_SECONDS = 30.0
_SETTING = Path("/sys/kernel/mm/transparent_hugepage/enabled")


def empty_like(x: Tensor) -> Tensor:
    """Return an uninitialized tensor of the shape, dtype and strides of x, a dense tensor.

    A large one lies in memory that an earlier one left, where there is any of that size.
    """
    size = x.numel() * x.element_size()
    if size < OFTEN_NEW or not _can_tell():
        return torch.empty_like(x)
    return _cache.tensor(size, x)


def empty_cache() -> int:
    """Give the memory that large outputs left back to the system, and return its bytes.

    bnkit's CPU kernel keeps what its outputs of 2 MiB and more lay in, and writes the next ones
    there. It never keeps more than those outputs held at one time, and at its next call it gives
    back what was not used for half a minute; so a training loop has no need of this.
    """
    return _cache.give_back()


def kept_bytes() -> int:
    """Return the bytes that are kept and that no tensor holds."""
    return _cache.kept_bytes()


@dataclass(eq=False)
class _Block:
    """Memory that one tensor at a time lies in."""

    storage: torch.UntypedStorage
    size: int
    last_use: float = 0.0

    def is_free(self) -> bool:
        """Return whether nobody else holds the storage: no tensor, view or Python name."""
        return _holders(self) == _holders_of_free()

    def is_usable(self) -> bool:
        """Return whether the storage is still what it was: not resized, not moved to be shared."""
        return self.storage.nbytes() == self.size and not self.storage.is_shared()


def _holders(block: _Block) -> tuple[int, int]:
    """Return who holds a storage: Python names, and tensors (of any kind, views too)."""
    storage = block.storage
    return sys.getrefcount(storage), torch._C._storage_Use_Count(storage._cdata)


@cache
def _holders_of_free() -> tuple[int, int]:
    """Return what `_holders` counts where nobody but the block holds the storage."""
    return _holders(_Block(_new_storage(1), 1))


@cache
def _can_tell() -> bool:
    """Return whether this torch and this Python tell who holds a storage."""
    is_locked: Callable[[], bool] = getattr(sys, "_is_gil_enabled", lambda: True)
    if not is_locked() or not hasattr(torch._C, "_storage_Use_Count"):
        return False
    block = _Block(_new_storage(1), 1)
    alone = _holders(block)
    tensor = torch.empty(0, dtype=torch.uint8, device="cpu").set_(block.storage)
    held = _holders(block)
    del tensor
    return alone == _holders(block) and alone != held


@dataclass
class _Cache:
    """The blocks, by size; the least recently used of a size first."""

    blocks: dict[int, list[_Block]] = field(default_factory=dict)
    lock: Any = field(default_factory=RLock)
    is_busy: bool = False
    last_sweep: float = 0.0

    @contextmanager
    def entered(self) -> Iterator[bool]:
        """Hold the lock; yield False to a signal handler or finalizer that runs within a call."""
        with self.lock:
            if self.is_busy:
                yield False
                return
            self.is_busy = True
            try:
                yield True
            finally:
                self.is_busy = False

    def tensor(self, size: int, like: Tensor) -> Tensor:
        """Return a tensor like another one, `size` bytes long, in a block that is free."""
        # As `entered` does, which takes longer: this is in the hot path.
        with self.lock:
            if self.is_busy:
                return torch.empty_like(like)
            self.is_busy = True
            try:
                storage = self._storage(size)
            finally:
                self.is_busy = False
        # Held by its name here, it is not free for anybody else meanwhile.
        y = torch.empty(0, dtype=like.dtype, device="cpu")
        return y.set_(storage, 0, like.shape, like.stride())

    def _storage(self, size: int) -> torch.UntypedStorage:
        """Return memory that nobody else holds: kept, or new."""
        now = time.monotonic()
        if now - self.last_sweep > _IDLE_SECONDS:
            self.last_sweep = now
            self._drop([b for b in self._free() if now - b.last_use > _IDLE_SECONDS])
        block = self._reusable(size)
        if block is None:
            self._make_room(size)
            block = _Block(_huge_pages(_new_storage(size)), size)
        self.blocks.setdefault(size, []).append(block)
        block.last_use = now
        return block.storage

    def give_back(self) -> int:
        """Drop all that is free, and return its bytes."""
        with self.entered() as is_first:
            free = self._free() if is_first else []
            self._drop(free)
            return sum(block.size for block in free)

    def kept_bytes(self) -> int:
        """Return the bytes of what is free."""
        with self.entered() as is_first:
            return sum(block.size for block in self._free()) if is_first else 0

    def _reusable(self, size: int) -> _Block | None:
        """Take out and return the free block that was used last: most of it may be cached."""
        blocks = self.blocks.get(size, [])
        for position in range(len(blocks) - 1, -1, -1):
            if blocks[position].is_free():
                block = blocks.pop(position)
                return block if block.is_usable() else self._reusable(size)
        return None

    def _make_room(self, size: int) -> None:
        """Drop at least as many free bytes as are about to be added, if there are so many.

        So that what is kept and what is in use are never more than was once in use at a time.
        """
        free = sorted(self._free(), key=lambda block: block.last_use)
        dropped = [block for block in free if not block.is_usable()]
        for block in free:
            if size <= 0:
                break
            if block.is_usable():
                dropped.append(block)
                size -= block.size
        self._drop(dropped)

    def _free(self) -> list[_Block]:
        return [block for blocks in self.blocks.values() for block in blocks if block.is_free()]

    def _drop(self, dropped: list[_Block]) -> None:
        for block in dropped:
            blocks = self.blocks[block.size]
            blocks.remove(block)
            if not blocks:
                del self.blocks[block.size]


_cache = _Cache()
if hasattr(os, "register_at_fork"):
    # No child waits for a thread that it does not have.
    os.register_at_fork(
        before=_cache.lock.acquire,
        after_in_parent=_cache.lock.release,
        after_in_child=_cache.lock.release,
    )


def _new_storage(size: int) -> torch.UntypedStorage:
    return torch.UntypedStorage(size, device="cpu")  # type: ignore[no-untyped-call]


def _huge_pages(storage: torch.UntypedStorage) -> torch.UntypedStorage:
    """Ask Linux to back memory with huge pages where it leaves that to the program.

    A 512th of the page faults, and of the translations; it is said of this memory alone.
    """
    advise = _madvise()
    if advise is not None:
        page = mmap.PAGESIZE
        start = -(-storage.data_ptr() // page) * page
        end = (storage.data_ptr() + storage.nbytes()) // page * page
        advise(start, end - start, mmap.MADV_HUGEPAGE)
    return storage


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
