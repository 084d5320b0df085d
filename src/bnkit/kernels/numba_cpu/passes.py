"""Runs the phases of a pass over tensors: in one go, or each when all are through the last."""

from __future__ import annotations

import ctypes
import struct
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from bnkit.kernels.numba_cpu import team
from bnkit.kernels.numba_cpu.compilation import address_of
from bnkit.kernels.numba_cpu.partition import Partition, Sizes, pieces, whole_channels
from bnkit.kernels.numba_cpu.problem import (
    CHANNELS_LAST,
    CONTIGUOUS,
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
_Block = ctypes.c_int64 * len(Slot)
# Rows of the workspace beside the partial sums: the shift, and up to five coefficients.
_ROWS = 6
_WIDEST_VECTOR = 16
# Channels from which on it pays to share the phases per channel among the threads.
_MANY_CHANNELS = 1024
_PER_CHANNEL_STEP = 256


Slots = dict[Slot, int]


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
    return x if layout_of(x) is not None else x.contiguous()


def doubles(rows: int, x: Tensor) -> Tensor:
    """Return room for values per channel; zeros if x has no values to compute them from."""
    make = torch.empty if x.numel() else torch.zeros
    return make(rows, x.shape[1], dtype=torch.float64)


def in_layout_of(x: Tensor, other: Tensor, into: Tensor | None) -> Tensor:
    """Return a tensor of x's shape in the layout of x: itself, or a copy made in `into`."""
    if other.stride() == x.stride() and other.dtype == x.dtype:
        return other
    copy = torch.empty_like(x) if into is None else into
    return copy.copy_(other)


def forward_configuration(
    x: Tensor,
    parameter: Tensor | None,
    activation: str | None = None,
    *,
    has_residual: bool = False,
) -> Configuration:
    """Return what the forward program is compiled for; `parameter` is weight, bias or alike."""
    dtype = (x if parameter is None else parameter).dtype
    layout = layout_of(x)
    assert layout is not None
    return Configuration(DTYPES[x.dtype], DTYPES[dtype], layout, activation, has_residual, False)


def backward_configuration(
    x: Tensor,
    parameter: Tensor | None,
    activation: str | None = None,
    *,
    has_residual: bool = False,
) -> Configuration:
    """Return what the backward program is compiled for; a residual counts behind an activation."""
    forward = forward_configuration(x, parameter, activation, has_residual=has_residual)
    return forward._replace(is_backward=True)


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
    tensors: int,
) -> None:
    """Run a program's phases over a whole tensor.

    Args:
        configuration: of the program.
        x: the tensor, of a layout that `layout_of` knows.
        groups: the phases. Tasks that have all values of their channels run all of them; else
            each group waits until all tasks are through with the one before.
        slots: what the program is given, beside sizes and workspace.
        tensors: how many tensors of x's size it reads.
    """
    if x.numel() == 0:
        return
    sizes, threads = _sizes_of(x, configuration.layout), team.threads()
    whole = whole_channels(sizes, threads, tensors)
    partition = whole or pieces(sizes, threads)
    stride = -(-sizes.c // _WIDEST_VECTOR) * _WIDEST_VECTOR
    workspace = torch.empty((2 * partition.parts + _ROWS) * stride, dtype=torch.float64)
    block = _filled(sizes, partition, stride, workspace.data_ptr(), slots)
    block[Slot.X] = x.data_ptr()
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
    program: int, block: Any, phases: int, sizes: Sizes, partition: Partition
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


def _launch(program: int, block: Any, phases: int, tasks: int, threads: int) -> None:
    block[0:3] = [0, tasks, phases]
    team.run(program, ctypes.addressof(block), threads)


def _filled(sizes: Sizes, partition: Partition, stride: int, workspace: int, slots: Slots) -> Any:
    block = _Block()
    block[3:10] = [sizes.n, sizes.c, sizes.s, partition.c, partition.n, partition.s, stride]
    for place, value in slots.items():
        block[place] = value
    row = 8 * stride
    block[Slot.SHIFT] = workspace
    block[Slot.COEFFICIENTS] = workspace + row
    block[Slot.PARTIALS] = workspace + _ROWS * row
    return block


@lru_cache
def bits_of(value: float) -> int:
    """Return the bits of a double as an integer."""
    bits: int = struct.unpack("q", struct.pack("d", value))[0]
    return bits


def address(tensor: Tensor | None) -> int:
    """Return where a tensor lies, or 0 for none."""
    return 0 if tensor is None else tensor.data_ptr()
