"""How the values of a tensor are divided into tasks."""

from __future__ import annotations

import math
from typing import NamedTuple

from bnkit.kernels.numba_cpu.problem import (
    BYTES_PER_PASS,
    CACHE_LINE,
    CHANNELS_LAST,
    CHANNELS_PER_PASS,
    CONTIGUOUS,
    MOST_COLUMNS,
)

# So many tasks for each thread, so that one that is held up is made up for by the others.
_TASKS_PER_THREAD = 4
# Values below which waking other threads takes longer than the work.
_ONE_THREAD = 2**15
# Bytes of a row up to which it is short, and rows of a channel from which on that pays.
_SHORT_ROW = 2048
_FEWEST_ROWS = 8
# Of a core's cache, what the next task's values may take.
_SHARE_OF_NEXT = 0.45


class Sizes(NamedTuple):
    """A tensor as the programs see it: (N, C, S), or (N, C) with S = 1 if channels are last."""

    n: int
    c: int
    s: int
    layout: str
    value_bytes: int


class Partition(NamedTuple):
    """The size of a task along N, C and S, the number of tasks, and of parts of each channel."""

    n: int
    c: int
    s: int
    tasks: int
    parts: int
    threads: int


def whole_channels(sizes: Sizes, threads: int) -> Partition | None:
    """Return tasks that take all values of their channels, or None if that does not pay.

    It pays for contiguous data whose channels can be shared out evenly: what a task reads is still
    in the cache when it is read for the second time. Where channels are last, those of a task are
    scattered, and reading them so costs more than reading everything twice.
    """
    if sizes.n * sizes.c * sizes.s < _ONE_THREAD:
        return _partition(sizes, sizes.n, sizes.c, sizes.s, 1)
    if sizes.layout == CHANNELS_LAST:
        return None
    step = _channels_per_task(sizes)
    if -(-sizes.c // step) < _TASKS_PER_THREAD * threads:
        step = max(1, sizes.c // (_TASKS_PER_THREAD * threads))
    tasks = -(-sizes.c // step)
    if tasks < _TASKS_PER_THREAD * threads and tasks % threads:
        return None
    return _partition(sizes, sizes.n, step, sizes.s, threads)


def short_rows(sizes: Sizes, threads: int) -> Partition | None:
    """Return tasks whose channels make one row of whole cache lines together, or None.

    None where rows are long enough to be read by themselves, or whole lines already; where they
    are too few to spread over them what is kept for channels; or cannot be shared out evenly.
    """
    n, c, s, layout, value_bytes = sizes
    row = s * value_bytes
    is_short = row <= _SHORT_ROW and row % CACHE_LINE != 0
    if layout != CONTIGUOUS or not is_short or n < _FEWEST_ROWS or n * c * s < _ONE_THREAD:
        return None
    whole_lines = CACHE_LINE // math.gcd(row, CACHE_LINE)
    most = min(MOST_COLUMNS // s, max(BYTES_PER_PASS // row, whole_lines))
    for step in range(most - most % whole_lines, 0, -whole_lines):
        if c % step == 0 and c // step >= _TASKS_PER_THREAD * threads:
            return _partition(sizes, n, step, s, threads)
    return None


def next_task(sizes: Sizes, partition: Partition, room: int) -> tuple[int, int]:
    """Return how far behind a task's values those of the next one lie, and up to which index.

    For tasks that have all values of their channels. They read a tensor, and then write one: where
    the next task's values are asked for while this one's output is written, memory does both at a
    time. Of the first rows only, of as many as the cache can hold beside this task's.

    Args:
        sizes, partition: of the tensor.
        room: bytes of the cache that a core has to itself, for each tensor that is summed.
    """
    row = partition.c * sizes.s * sizes.value_bytes
    rows = min(sizes.n, int(_SHARE_OF_NEXT * room) // max(row, 1))
    if sizes.layout == CHANNELS_LAST or partition.tasks == 1:
        rows = 0
    return partition.c * sizes.s, rows * sizes.c * sizes.s


def _channels_per_task(sizes: Sizes) -> int:
    """Return channels that make one long read, and whole cache lines if that takes few of them.

    A cache line that two tasks write goes back and forth between two threads.
    """
    row = sizes.s * sizes.value_bytes
    fitting = max(1, min(BYTES_PER_PASS // row, CHANNELS_PER_PASS))
    whole_lines = CACHE_LINE // math.gcd(row, CACHE_LINE)
    if whole_lines > CHANNELS_PER_PASS:
        return fitting
    return max(fitting // whole_lines, 1) * whole_lines


def pieces(sizes: Sizes, threads: int) -> Partition:
    """Return tasks that take a piece of N (and of S) of every channel."""
    if sizes.n * sizes.c * sizes.s < _ONE_THREAD:
        return _partition(sizes, sizes.n, sizes.c, sizes.s, 1)
    wanted = _TASKS_PER_THREAD * threads
    if sizes.n >= wanted or sizes.layout == CHANNELS_LAST:
        return _partition(sizes, -(-sizes.n // wanted), sizes.c, sizes.s, threads)
    step = -(-sizes.s // -(-wanted // sizes.n))
    return _partition(sizes, 1, sizes.c, -(-step // 64) * 64, threads)


def _partition(sizes: Sizes, n: int, c: int, s: int, threads: int) -> Partition:
    parts = -(-sizes.n // n) * -(-sizes.s // s)
    tasks = parts * -(-sizes.c // c)
    return Partition(n, c, s, tasks, parts, min(threads, tasks))
