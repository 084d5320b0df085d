"""Which kernel computes a tensor's batch norm, and why.

The order: the kernel named in the call, then the one of the innermost `use_kernel`, then `auto`:
the fastest that takes the tensor.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from importlib import import_module
from threading import Lock
from typing import NamedTuple, cast

import torch
from torch import Tensor

from bnkit.errors import ArgumentError, KernelUnavailableError
from bnkit.kernels.contract import (
    FusingKernel,
    Kernel,
    Statistics,
    fuses,
    inverse_std,
    sums_exactly,
)

# functional reaches the kernels through this module alone, the contract's words included.
__all__ = [
    "AUTO",
    "EAGER",
    "NUMBA",
    "FusingKernel",
    "Kernel",
    "KernelChoice",
    "Statistics",
    "exact_statistics",
    "fast_kernels",
    "fuses",
    "inverse_std",
    "is_automatic",
    "kernel_for",
    "kernel_named",
    "kernel_names",
    "select",
    "use_kernel",
]

AUTO = "auto"
EAGER = "eager"
NUMBA = "numba"

# Kernel → the module that holds it as KERNEL; loaded when first used.
_HOMES = {
    NUMBA: "bnkit.kernels.numba_cpu.kernel",
    EAGER: "bnkit.kernels.eager",
    "reference": "bnkit.kernels.reference",
}
# What `auto` tries before it takes eager, which refuses nothing; the fastest first.
_FASTER_THAN_EAGER: tuple[str, ...] = (NUMBA,)

# Values of a tensor from which on a kernel's exact sums are asked for.
_WORTH_EXACT_SUMS = 2**18

_loaded: dict[str, Kernel] = {}

_asked_for: ContextVar[str] = ContextVar("bnkit_kernel", default=AUTO)
# How many use_kernel blocks are open in all threads. torch.compile cannot read a ContextVar, but
# it can guard on this number: while it is zero, the graph has no break; when it changes, the
# graph is captured anew.
_open_blocks = 0
_open_blocks_lock = Lock()


class KernelChoice(NamedTuple):
    """The kernel that a tensor gets, and why; prints as `eager: …`."""

    name: str
    reason: str

    def __str__(self) -> str:
        return f"{self.name}: {self.reason}"


def kernel_names() -> tuple[str, ...]:
    """Return the names that `use_kernel` takes, beside "auto"."""
    return tuple(_HOMES)


def kernel_named(name: str) -> Kernel:
    """Return the kernel of that name.

    Raises:
        ArgumentError: there is none of that name.
    """
    _require_known(name)
    return _load(name)


def kernel_for(
    x: Tensor, name: str | None = None, *, training: bool = True, is_followed: bool = False
) -> KernelChoice:
    """Return which kernel computes the batch norm of `x` here, and why.

    Args:
        x: (N, C, *S).
        name: a kernel, "auto", or None: what `use_kernel` asks for, else "auto".
        training: whether x is normalized by its own statistics.
        is_followed: whether an addition or an activation follows that kernels may fuse, as in
            `BatchNormAct2d`.

    Raises:
        ArgumentError: there is no kernel of that name.
        KernelUnavailableError: the kernel asked for cannot take x.
    """
    chosen = select(x, name, training=training, is_followed=is_followed)
    kernel = _load(chosen)
    asked = name if name is not None else _asked_for.get()
    if asked == AUTO:
        passed_over = [
            f"{other} does not: {_passes_up(_load(other), x, training, is_followed)}"
            for other in _before(chosen)
        ]
        return KernelChoice(chosen, "; ".join([f"auto, {kernel.summary}", *passed_over]))
    how = "named in the call" if name is not None else "asked for by use_kernel"
    return KernelChoice(chosen, f"{how}, {kernel.summary}")


def select(x: Tensor, name: str | None, *, training: bool, is_followed: bool) -> str:
    """Return the name of the kernel for `x`: `kernel_for` without the reason, for the hot path."""
    if name is None:
        name = _asked_for.get() if _open_blocks else AUTO
    if name == AUTO:
        if torch.compiler.is_exporting():
            # An exported program must run where bnkit is not installed.
            return EAGER
        for candidate in _FASTER_THAN_EAGER:
            if _passes_up(_load(candidate), x, training, is_followed) is None:
                return candidate
        return EAGER
    reason = kernel_named(name).refusal(x)
    if reason is not None:
        raise KernelUnavailableError(
            f"kernel {name!r} was asked for by name, and cannot run here: {reason}",
            remedy='Name another kernel, or leave the choice to "auto"',
        )
    return name


def fast_kernels(x: Tensor) -> tuple[str, ...]:
    """Return the kernels faster than eager that can take x, whether or not that pays for x."""
    return tuple(name for name in _FASTER_THAN_EAGER if _load(name).refusal(x) is None)


def exact_statistics(x: Tensor) -> Statistics | None:
    """Return mean and biased variance of each channel, of sums in float64; or None.

    None where no kernel sums so in one read of x, or where a program would first be compiled for
    so few values that torch's operators are done sooner.
    """
    if x.numel() < _WORTH_EXACT_SUMS:
        return None
    for name in _FASTER_THAN_EAGER:
        kernel = _load(name)
        if sums_exactly(kernel) and kernel.refusal(x) is None:
            return kernel.exact_statistics(x)
    return None


def is_automatic(name: str | None) -> bool:
    """Return whether a kernel is left to `auto`: not named in the call, nor by `use_kernel`."""
    if name is None:
        name = _asked_for.get() if _open_blocks else AUTO
    return name == AUTO


def _passes_up(kernel: Kernel, x: Tensor, training: bool, is_followed: bool) -> str | None:
    """Return why `auto` does not give x to a kernel, or None if it does."""
    refusal = kernel.refusal(x)
    if refusal is not None:
        return refusal
    return kernel.reluctance(x, training=training, is_followed=is_followed)


def use_kernel(name: str) -> AbstractContextManager[None]:
    """Return a context in which every batch norm of bnkit is computed by one kernel.

    `with use_kernel("reference"): model(x)` runs a whole model against the float64 truth. The
    backward of an output uses the kernel of its forward, wherever it is called. The choice holds
    in this thread or asyncio task (a ContextVar); "auto" inside a block undoes it.

    Args:
        name: a kernel, or "auto".

    Raises:
        ArgumentError: there is no kernel of that name.
    """
    if name != AUTO:
        _require_known(name)
    return _ask_for(name)


@contextmanager
def _ask_for(name: str) -> Iterator[None]:
    global _open_blocks  # noqa: PLW0603 - see its definition
    token = _asked_for.set(name)
    with _open_blocks_lock:
        _open_blocks += 1
    try:
        yield
    finally:
        with _open_blocks_lock:
            _open_blocks -= 1
        _asked_for.reset(token)


def _before(chosen: str) -> tuple[str, ...]:
    """Return the kernels that `auto` passed over when it chose this one."""
    if chosen in _FASTER_THAN_EAGER:
        return _FASTER_THAN_EAGER[: _FASTER_THAN_EAGER.index(chosen)]
    return _FASTER_THAN_EAGER


def _require_known(name: str) -> None:
    if name in _HOMES:
        return
    known = (AUTO, *_HOMES)
    near = difflib.get_close_matches(str(name), known, n=1)
    raise ArgumentError(
        f"there is no kernel {name!r}",
        required=f"the kernels are {', '.join(known)}",
        remedy=f"The nearest is {near[0]!r}" if near else "",
    )


def _load(name: str) -> Kernel:
    # A dictionary and not functools.cache, which graph capture would not look into.
    if name not in _loaded:
        _loaded[name] = cast(Kernel, import_module(_HOMES[name]).KERNEL)
    return _loaded[name]
