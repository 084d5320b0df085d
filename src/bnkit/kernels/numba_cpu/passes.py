"""Runs the phases of a pass over tensors: in one go, or each when all are through the last."""

from __future__ import annotations

import struct
from array import array
from functools import lru_cache

import torch
from torch import Tensor

from bnkit.kernels.numba_cpu import team
from bnkit.kernels.numba_cpu.compilation import address_of
from bnkit.kernels.numba_cpu.partition import Partition, Sizes, pieces, whole_channels
from bnkit.kernels.numba_cpu.problem import (
    CHANNELS_LAST,
    CONTIGUOUS,
    PARTIAL_ROWS,
    Configuration,
    Phase,
    Slot,
)

DTYPES = {
    torch.float32: "float32",
    torch.float64: "float64",
    torch.bfloat16: "bfloat16",
    torch.float16: "float16",
}
_COUNT = len(Slot)
_SIZES = slice(Slot.N, Slot.STRIDE + 1)
# Rows of the workspace beside the partial sums: the shift, and up to five coefficients.
_ROWS = 6
_WIDEST_VECTOR = 16
# Channels from which on it pays to share the phases per channel among the threads.
_MANY_CHANNELS = 1024
_PER_CHANNEL_STEP = 256


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
    is_backward: bool = False,
) -> Configuration:
    """Return what the forward program is compiled for; `parameter` is weight, bias or alike."""
    dtype = DTYPES[x.dtype]
    parameter_dtype = dtype if parameter is None else DTYPES[parameter.dtype]
    layout = layout_of(x)
    assert layout is not None
    return Configuration(dtype, parameter_dtype, layout, activation, has_residual, is_backward)


def backward_configuration(
    x: Tensor,
    parameter: Tensor | None,
    activation: str | None = None,
    *,
    has_residual: bool = False,
) -> Configuration:
    """Return what the backward program is compiled for; a residual counts behind an activation."""
    return forward_configuration(
        x, parameter, activation, has_residual=has_residual, is_backward=True
    )


def _sizes_of(x: Tensor, layout: str) -> Sizes:
    c = x.shape[1]
    if layout == CHANNELS_LAST:
        return Sizes(x.numel() // c, c, 1, layout, x.element_size())
    n = x.shape[0]
    return Sizes(n, c, x.numel() // (n * c), layout, x.element_size())


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
    sizes, threads = _sizes_of(x, configuration.layout), team.threads()
    whole = whole_channels(sizes, threads)
    partition = whole or pieces(sizes, threads)
    stride = -(-sizes.c // _WIDEST_VECTOR) * _WIDEST_VECTOR
    workspace = torch.empty(
        (PARTIAL_ROWS * partition.parts + _ROWS) * stride, dtype=torch.float64, device=x.device
    )
    slots[Slot.X] = x.data_ptr()
    block = _block(slots, sizes, partition, stride, workspace.data_ptr())
    program = address_of(configuration)
    if whole is not None:
        phases = sum(map(sum, groups))
        _launch(program, block, phases, partition.tasks, partition.threads)
        return
    for group in groups:
        _launch_group(program, block, sum(group), sizes, partition)
        if block[Slot.IS_RESCAN]:
            _launch_group(program, block, int(Phase.SUM), sizes, partition)
            _launch_group(program, block, int(Phase.FINISH), sizes, partition)
            block[Slot.IS_RESCAN] = 0


def _launch_group(
    program: int, block: array[int], phases: int, sizes: Sizes, partition: Partition
) -> None:
    """Run phases: over all tasks if they read x, else once for each channel."""
    if phases & (Phase.SUM | Phase.MAP):
        _launch(program, block, phases, partition.tasks, partition.threads)
    elif sizes.c < _MANY_CHANNELS:
        _launch(program, block, phases, 1, 1)
    else:
        block[Slot.CHANNELS_PER_TASK] = _PER_CHANNEL_STEP
        tasks = -(-sizes.c // _PER_CHANNEL_STEP)
        _launch(program, block, phases, tasks, partition.threads)
        block[Slot.CHANNELS_PER_TASK] = partition.c


def _launch(program: int, block: array[int], phases: int, tasks: int, threads: int) -> None:
    block[Slot.NEXT_TASK], block[Slot.TASKS], block[Slot.PHASES] = 0, tasks, phases
    block[Slot.REGIONS] = min(threads, tasks)
    team.run(program, block.buffer_info()[0], threads)


def _block(
    slots: Slots, sizes: Sizes, partition: Partition, stride: int, workspace: int
) -> array[int]:
    """Return what the program is given, as it lies in memory."""
    slots[_SIZES] = [sizes.n, sizes.c, sizes.s, partition.c, partition.n, partition.s, stride]
    row = 8 * stride
    slots[Slot.SHIFT] = workspace
    slots[Slot.COEFFICIENTS] = workspace + row
    slots[Slot.PARTIALS] = workspace + _ROWS * row
    return array("q", slots)


@lru_cache
def bits_of(value: float) -> int:
    """Return the bits of a double as an integer."""
    bits: int = struct.unpack("q", struct.pack("d", value))[0]
    return bits


def address(tensor: Tensor | None) -> int:
    """Return where a tensor lies, or 0 for none."""
    return 0 if tensor is None else tensor.data_ptr()
