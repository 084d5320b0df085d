"""Runs the phases of a pass over tensors: in one go, or each when all are through the last."""

from __future__ import annotations

import math
import struct
from array import array
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

from bnkit.kernels.numba_cpu import team
from bnkit.kernels.numba_cpu.compilation import address_of
from bnkit.kernels.numba_cpu.partition import Sizes, pieces, whole_channels
from bnkit.kernels.numba_cpu.problem import (
    CACHE_LINE,
    CACHED,
    CHANNELS_LAST,
    CONTIGUOUS,
    GATHERED,
    GATHERED_BYTES,
    MOST_ROUNDS,
    PARTIAL_ROWS,
    STREAMED,
    Configuration,
    Slot,
)

DTYPES = {
    torch.float32: "float32",
    torch.float64: "float64",
    torch.bfloat16: "bfloat16",
    torch.float16: "float16",
}
_COUNT = max(Slot) + 1
_SIZES = slice(Slot.N, Slot.STRIDE + 1)
# Rows of the workspace beside the partial sums: the shift, and up to five coefficients.
_ROWS = 6
_WIDEST_VECTOR = 16
# Channels that a thread takes at least in the phases that read values per channel.
_FEWEST_CHANNELS = 64
# Bytes of an output that the next operator would not find in a cache: it, and what it was made
# from, are more than last-level caches have for one process.
TOO_LARGE_TO_STAY = 2**22


Slots = list[int]


def no_slots() -> Slots:
    """Return the numbers of a block that is given nothing yet."""
    return [0] * _COUNT


def layout_of(x: Tensor) -> str | None:
    """Return the layout that the programs see in x, or None if there is none for it."""
    if x.is_contiguous():
        # Without spatial axes, or with axes of one value, the two layouts are the same.
        return CHANNELS_LAST if x.numel() == x.shape[0] * x.shape[1] else CONTIGUOUS
    rank = x.dim()
    if rank == 4 and x.is_contiguous(memory_format=torch.channels_last):
        return CHANNELS_LAST
    if rank == 5 and x.is_contiguous(memory_format=torch.channels_last_3d):
        return CHANNELS_LAST
    return None


def dense(x: Tensor) -> Tensor:
    """Return x, or a copy of it in a layout that the programs see."""
    x = x.resolve_neg()
    return x if layout_of(x) is not None else x.contiguous()


def in_a_row(values: Tensor | None) -> Tensor | None:
    """Return values per channel as they must lie: side by side."""
    return None if values is None else values.resolve_neg().contiguous()


def doubles(rows: int, x: Tensor) -> Tensor:
    """Return room for values per channel; zeros if x has no values to compute them from."""
    make = torch.empty if x.numel() else torch.zeros
    return make(rows, x.shape[1], dtype=torch.float64, device=x.device)


def empty_or_zeros(like: Tensor, x: Tensor) -> Tensor:
    """Return room for a gradient per channel; zeros if x has no values to sum."""
    return torch.empty_like(like) if x.numel() else torch.zeros_like(like)


def in_layout_of(x: Tensor, other: Tensor, into: Tensor | None) -> Tensor:
    """Return a tensor of x's shape in the layout of x: itself, or a copy made in `into`."""
    if other.stride() == x.stride() and other.dtype == x.dtype and not other.is_neg():
        return other
    copy = torch.empty_like(x) if into is None else into
    return copy.copy_(other)


def forward_configuration(
    x: Tensor,
    parameter: Tensor | None,
    activation: str | None = None,
    *,
    has_residual: bool = False,
    output: Tensor | None = None,
    is_backward: bool = False,
) -> Configuration:
    """Return what the forward program is compiled for.

    Args:
        x: the input.
        parameter: weight, bias or alike, or None.
        activation, has_residual: what follows.
        output: y, or None if none is written.
        is_backward: see `backward_configuration`.
    """
    dtype = DTYPES[x.dtype]
    # Where there are none, the program of the usual ones serves.
    usual = torch.promote_types(x.dtype, torch.float32)
    parameter_dtype = DTYPES[usual if parameter is None else parameter.dtype]
    layout = layout_of(x)
    assert layout is not None
    return Configuration(
        dtype,
        parameter_dtype,
        layout,
        activation,
        has_residual,
        is_backward,
        stores=_stores(output, layout),
    )


def _stores(output: Tensor | None, layout: str) -> str:
    """Return how an output is written: past the caches if it would not stay in them anyway."""
    if output is None or output.data_ptr() % CACHE_LINE:
        return CACHED
    size, (n, c) = output.element_size(), output.shape[:2]
    if output.numel() * size < TOO_LARGE_TO_STAY:
        return CACHED
    if layout == CHANNELS_LAST:
        return CACHED if c % _WIDEST_VECTOR else STREAMED
    row_bytes = output.numel() // (n * c) * size
    return STREAMED if row_bytes % CACHE_LINE == 0 or row_bytes > GATHERED_BYTES else GATHERED


def backward_configuration(
    x: Tensor,
    parameter: Tensor | None,
    activation: str | None = None,
    *,
    has_residual: bool = False,
    output: Tensor | None = None,
) -> Configuration:
    """Return what the backward program is compiled for; a residual counts behind an activation.

    `output` is the gradient of x, or None if none is written; the rest as above.
    """
    return forward_configuration(
        x,
        parameter,
        activation,
        has_residual=has_residual,
        output=output,
        is_backward=True,
    )


def run_pass(
    configuration: Configuration,
    x: Tensor,
    groups: tuple[tuple[int, ...], ...],
    slots: Slots,
) -> None:
    """Run a program's phases over a whole tensor.

    Args:
        configuration: of the program.
        x: the tensor, of a layout that `layout_of` knows.
        groups: the phases. Tasks that have all values of their channels run all of them; else
            each group waits until all tasks are through with the one before.
        slots: what the program is given, beside sizes and workspace.
    """
    if x.numel() == 0:
        return
    plan = _plan(tuple(x.shape), x.element_size(), configuration.layout, team.threads())
    workspace = torch.empty(plan.workspace, dtype=torch.float64, device=x.device)
    start = workspace.data_ptr()
    slots[: Slot.X] = plan.slots
    if plan.is_whole:
        slots[Slot.GROUPS], slots[Slot.FIRST_GROUP] = 1, sum(map(sum, groups))
    else:
        slots[Slot.GROUPS] = len(groups)
        slots[Slot.FIRST_GROUP : Slot.FIRST_GROUP + len(groups)] = map(sum, groups)
    counters = array("q", plan.counters)
    slots[Slot.COUNTERS], slots[Slot.X] = counters.buffer_info()[0], x.data_ptr()
    row = 8 * slots[Slot.STRIDE]
    slots[Slot.SHIFT], slots[Slot.COEFFICIENTS] = start, start + row
    slots[Slot.PARTIALS] = start + _ROWS * row
    block = array("q", slots)
    team.run(address_of(configuration), block.buffer_info()[0], plan.threads)


class _Plan(NamedTuple):
    """What depends on the sizes of a tensor and on the number of threads alone.

    Attributes:
        slots: those before `Slot.X`.
        workspace: in doubles.
        counters: zeros.
        is_whole: whether tasks have all values of their channels.
        threads: how many it is for.
    """

    slots: list[int]
    workspace: int
    counters: bytes
    is_whole: bool
    threads: int


@lru_cache(maxsize=512)
def _plan(shape: tuple[int, ...], value_bytes: int, layout: str, threads: int) -> _Plan:
    n, c, s = shape[0], shape[1], math.prod(shape[2:])
    sizes = Sizes(n, c, s, layout, value_bytes)
    if layout == CHANNELS_LAST:
        sizes = Sizes(n * s, c, 1, layout, value_bytes)
    whole = whole_channels(sizes, threads)
    partition = whole or pieces(sizes, threads)
    regions = partition.threads
    stride = _rounded_up(c, _WIDEST_VECTOR)
    slots = no_slots()
    slots[Slot.THREAD_NUMBER] = team.thread_number()
    slots[Slot.BARRIER] = team.barrier() if regions > 1 else 0
    slots[Slot.REGIONS], slots[Slot.TASKS] = regions, partition.tasks
    slots[Slot.CHANNELS_PER_STEP] = _rounded_up(-(-c // regions), _FEWEST_CHANNELS)
    slots[_SIZES] = [sizes.n, c, sizes.s, partition.c, partition.n, partition.s, stride]
    workspace = (PARTIAL_ROWS * partition.parts + _ROWS) * stride
    counters = bytes(MOST_ROUNDS * regions * CACHE_LINE)
    return _Plan(slots[: Slot.X], workspace, counters, whole is not None, regions)


def _rounded_up(value: int, unit: int) -> int:
    return -(-value // unit) * unit


@lru_cache
def bits_of(value: float) -> int:
    """Return the bits of a double as an integer."""
    bits: int = struct.unpack("q", struct.pack("d", value))[0]
    return bits


def address(tensor: Tensor | None) -> int:
    """Return where a tensor lies, or 0 for none."""
    return 0 if tensor is None else tensor.data_ptr()
