"""Where the kernel cannot run: machines without what it needs, and tensors that are not memory."""

from __future__ import annotations

import importlib.util

import torch
from torch import Tensor
from torch.autograd import forward_ad
from torch.utils._device import DeviceContext

from bnkit.kernels.numba_cpu import team
from bnkit.kernels.numba_cpu.passes import DTYPES

_PLAIN = (Tensor, torch.nn.Parameter)


def _machine_refusal(dtype: torch.dtype) -> str | None:
    if importlib.util.find_spec("numba") is None:
        return "numba is not installed"
    if dtype == torch.float16 and torch.backends.cpu.get_cpu_capability() == "DEFAULT":
        return "this CPU does not convert float16"
    if not team.shares_threads():
        return "this torch was not built with GNU OpenMP, whose threads the kernel shares"
    return None


# Known from the start, because graph capture cannot look at the machine.
_MACHINE_REFUSALS = {dtype: _machine_refusal(dtype) for dtype in DTYPES}


def machine_refusal(dtype: torch.dtype) -> str | None:
    """Return why this machine cannot run programs for a dtype of `DTYPES`, or None if it can."""
    return _MACHINE_REFUSALS[dtype]


def watched(x: Tensor) -> str | None:
    """Return what must see torch's operators instead of reads of memory, or None.

    While torch.compile captures a graph, nothing is: the graph will hold an operator.
    """
    if torch.compiler.is_compiling():
        return None
    if torch._C._functorch.peek_interpreter_stack() is not None or forward_ad._current_level >= 0:
        return "torch.func or forward-mode derivatives transform torch's operators"
    if type(x) not in _PLAIN or not torch._C._has_storage(x):
        return f"x is a {type(x).__name__}, and not plain memory"
    if torch._C._len_torch_dispatch_stack() or torch._C._get_tracing_state() is not None:
        return "something traces torch's operators"
    if torch._C._len_torch_function_stack() and _is_overridden():
        return "something overrides torch's functions"
    return None


def _is_overridden() -> bool:
    """Return whether a function mode is active, other than that of a default device."""
    count = torch._C._len_torch_function_stack()
    modes = [torch._C._get_function_stack_at(i) for i in range(count)]
    return any(not isinstance(mode, DeviceContext) for mode in modes)
