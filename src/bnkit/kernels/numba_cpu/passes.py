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
from bnkit.kernels.numba_cpu.cache_size import second_cache_bytes
from bnkit.kernels.numba_cpu.compilation import address_of
from bnkit.kernels.numba_cpu.partition import (
    Partition,
    Sizes,
    next_task,
    pieces,
    short_rows,
    whole_channels,
)
from bnkit.kernels.numba_cpu.problem import (
    CACHE_LINE,
    CACHED,
    CHANNELS_LAST,
    CONTIGUOUS,
    GATHERED,
    GATHERED_BYTES,
    MOST_ROUNDS,
    PARTIAL_ROWS,
    SHORT_ROWS,
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
_CPU = torch.device("cpu")

Slots = list[int]


def layout_of(x: Tensor) -> str | None:
    """Return the layout of x, or None if programs see none in it: they need one of these two."""
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
    if x.is_neg():
        x = x.resolve_neg()
    return x if x.is_contiguous() or layout_of(x) is not None else x.contiguous()


def in_a_row(values: Tensor | None) -> Tensor | None:
    """Return values per channel as they must lie: side by side."""
    if values is None or (values.is_contiguous() and not values.is_neg()):
        return values
    return values.resolve_neg().contiguous()


def doubles(rows: int, x: Tensor) -> Tensor:
    """Return room for values per channel; zeros if x has no values to compute them from."""
    make = torch.empty if x.numel() else torch.zeros
    return make((rows, x.shape[1]), dtype=torch.float64, device=_CPU)


def empty_or_zeros(like: Tensor, x: Tensor) -> Tensor:
    """Return room for a gradient per channel; zeros if x has no values to sum."""
    return torch.empty_like(like) if x.numel() else torch.zeros_like(like)


def in_layout_of(x: Tensor, other: Tensor, into: Tensor | None) -> Tensor:
    """Return a tensor of x's shape in the layout of x: itself, or a copy made in `into`."""
    if other.stride() == x.stride() and other.dtype == x.dtype and not other.is_neg():
        return other
    copy = torch.empty_like(x) if into is None else into
    return copy.copy_(other)


class Groups:
    """The phases of a pass; each group waits until all tasks are through with the one before.

    Args:
        groups: phases that are run one after the other on each task.

    Made once for a kind of pass: what is prepared for it is found by its identity.
    """

    def __init__(self, *groups: tuple[int, ...]) -> None:
        self.masks = [sum(group) for group in groups]

    def then(self, *groups: tuple[int, ...]) -> Groups:
        """Return these groups, and more behind them."""
        return Groups(*((mask,) for mask in self.masks), *groups)


class Pass(NamedTuple):
    """A compiled program, and what depends on the sizes and the number of threads alone.

    Attributes:
        program: its address, or 0 for nothing to be run.
        slots: of the block; what each call has its own of is 0.
        workspace: in doubles.
        counters: zeros.
        threads: how many it is for.
        may_sum_masked: see `Configuration`.
    """

    program: int
    slots: Slots
    workspace: int
    counters: bytes
    threads: int
    may_sum_masked: bool


_NOTHING = Pass(0, [0] * _COUNT, 0, b"", 0, may_sum_masked=False)


def forward_pass(
    x: Tensor,
    groups: Groups,
    parameter: Tensor | None,
    activation: str | None = None,
    *,
    has_residual: bool = False,
    output: Tensor | None = None,
    is_backward: bool = False,
    is_exact: bool = False,
) -> Pass:
    """Return the forward pass over x; the first call of a configuration compiles its program.

    Nothing is run over no values.

    Args:
        x: the input, of a layout that `layout_of` knows.
        groups: the phases.
        parameter: weight, bias or alike, or None.
        activation, has_residual: what follows.
        output: y, or None if none is written.
        is_backward: see `backward_pass`.
        is_exact: whether sums are taken in doubles from the first value on.
    """
    if x.numel() == 0:
        return _NOTHING
    return _prepared(
        x.shape,
        x.dtype,
        x.is_contiguous(),
        groups,
        None if parameter is None else parameter.dtype,
        activation,
        has_residual,
        is_backward,
        _goes_past_caches(output),
        is_exact,
        team.threads(),
    )


def backward_pass(
    x: Tensor,
    groups: Groups,
    parameter: Tensor | None,
    activation: str | None = None,
    *,
    has_residual: bool = False,
    output: Tensor | None = None,
) -> Pass:
    """Return the backward pass; a residual counts behind an activation.

    `output` is the gradient of x, or None if none is written; the rest as above.
    """
    return forward_pass(
        x,
        groups,
        parameter,
        activation,
        has_residual=has_residual,
        output=output,
        is_backward=True,
    )


def _goes_past_caches(output: Tensor | None) -> bool:
    """Return whether an output would not stay in the caches, and may be streamed past them."""
    if output is None or output.numel() * output.element_size() < TOO_LARGE_TO_STAY:
        return False
    return output.data_ptr() % CACHE_LINE == 0


@lru_cache(maxsize=1024)
def _prepared(
    shape: tuple[int, ...],
    dtype: torch.dtype,
    is_contiguous: bool,
    groups: Groups,
    parameter_dtype: torch.dtype | None,
    activation: str | None,
    has_residual: bool,
    is_backward: bool,
    goes_past_caches: bool,
    is_exact: bool,
    threads: int,
) -> Pass:
    sizes, partition = _divided(shape, dtype.itemsize, is_contiguous, threads)
    # Where there are no parameters, the program of the usual ones serves.
    usual = torch.promote_types(dtype, torch.float32)
    configuration = Configuration(
        DTYPES[dtype],
        DTYPES[usual if parameter_dtype is None else parameter_dtype],
        sizes.layout,
        activation,
        has_residual,
        is_backward,
        stores=_stores(sizes) if goes_past_caches else CACHED,
        is_exact=is_exact,
    )
    regions, stride = partition.threads, _rounded_up(sizes.c, _WIDEST_VECTOR)
    slots = [0] * _COUNT
    slots[Slot.THREAD_NUMBER] = team.thread_number()
    slots[Slot.BARRIER] = team.barrier() if regions > 1 else 0
    slots[Slot.REGIONS], slots[Slot.TASKS] = regions, partition.tasks
    # A task that has all values of its channels waits for nobody.
    masks = [sum(groups.masks)] if partition.parts == 1 else groups.masks
    slots[Slot.GROUPS] = len(masks)
    slots[Slot.FIRST_GROUP : Slot.FIRST_GROUP + len(masks)] = masks
    slots[Slot.CHANNELS_PER_STEP] = _rounded_up(-(-sizes.c // regions), _FEWEST_CHANNELS)
    slots[_SIZES] = [sizes.n, sizes.c, sizes.s, partition.c, partition.n, partition.s, stride]
    if partition.parts == 1:
        tensors = 1 + is_backward + (is_backward and has_residual)
        room = second_cache_bytes() // tensors
        slots[Slot.NEXT], slots[Slot.NEXT_END] = next_task(sizes, partition, room)
    return Pass(
        address_of(configuration),
        slots,
        (PARTIAL_ROWS * partition.parts + _ROWS) * stride,
        bytes(MOST_ROUNDS * regions * CACHE_LINE),
        regions,
        may_sum_masked=configuration.may_sum_masked,
    )


def _divided(
    shape: tuple[int, ...], value_bytes: int, is_contiguous: bool, threads: int
) -> tuple[Sizes, Partition]:
    """Return a tensor's sizes, as the programs see it, and how it is divided into tasks."""
    n, c, s = shape[0], shape[1], math.prod(shape[2:])
    if not is_contiguous or s == 1:
        sizes = Sizes(n * s, c, 1, CHANNELS_LAST, value_bytes)
    else:
        sizes = Sizes(n, c, s, CONTIGUOUS, value_bytes)
        of_short_rows = short_rows(sizes, threads)
        if of_short_rows is not None:
            return sizes._replace(layout=SHORT_ROWS), of_short_rows
    return sizes, whole_channels(sizes, threads) or pieces(sizes, threads)


def _stores(sizes: Sizes) -> str:
    """Return how an output is written that is to go past the caches."""
    if sizes.layout == SHORT_ROWS:
        return STREAMED
    if sizes.layout == CHANNELS_LAST:
        return CACHED if sizes.c % _WIDEST_VECTOR else STREAMED
    row_bytes = sizes.s * sizes.value_bytes
    return STREAMED if row_bytes % CACHE_LINE == 0 or row_bytes > GATHERED_BYTES else GATHERED


def run_pass(prepared: Pass, slots: Slots) -> None:
    """Run a program over a whole tensor.

    Args:
        prepared: of `forward_pass` or `backward_pass`.
        slots: its slots, and what this call has its own of, beside the workspace.
    """
    if prepared.program == 0:
        return
    workspace = _workspace(prepared.workspace)
    start, row = workspace.start, 8 * slots[Slot.STRIDE]
    slots[Slot.SHIFT], slots[Slot.COEFFICIENTS] = start, start + row
    slots[Slot.PARTIALS] = start + _ROWS * row
    counters = array("q", prepared.counters)
    slots[Slot.COUNTERS] = counters.buffer_info()[0]
    block = array("q", slots)
    team.run(prepared.program, block.buffer_info()[0], prepared.threads)
    _workspaces.append(workspace)


class _Workspace(NamedTuple):
    """Room that programs work in, where it starts, and how many doubles it has."""

    memory: Tensor
    start: int
    doubles: int


# Those that no program works in: one, or as many as threads that once called at the same time.
_workspaces: list[_Workspace] = []


def _workspace(doubles: int) -> _Workspace:
    """Take out a workspace; a new one if there is none, or none as large."""
    try:
        # One step for Python: no two threads get the same.
        workspace = _workspaces.pop()
        if workspace.doubles >= doubles:
            return workspace
    except IndexError:
        pass
    memory = torch.empty(doubles, dtype=torch.float64, device=_CPU)
    return _Workspace(memory, memory.data_ptr(), doubles)


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
