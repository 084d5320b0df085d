"""Checks a rewritten graph against the given one on the example inputs, before it is used."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch._ops import OpOverload
from torch.fx import GraphModule

from bnkit.compilation.agreement import Run, difference, run
from bnkit.compilation.call_check import calls_compared
from bnkit.compilation.input_copies import why_not_copied

# Of these operators a second run would be noticed elsewhere.
_REACHING_OUT = ("c10d", "_c10d_functional", "_c10d_functional_autograd", "symm_mem", "rpc")


class CheckResult(NamedTuple):
    """What came of a check.

    Attributes:
        is_refuted: whether the rewritten graph must not be used.
        text: what was compared, or why nothing was, as a sentence without a full stop.
        difference: the largest relative difference; None if nothing was compared.
        tolerance: the one allowed; None if nothing was compared.
    """

    is_refuted: bool
    text: str
    difference: float | None = None
    tolerance: float | None = None


def check(given: GraphModule, rewritten: GraphModule, inputs: Sequence[Any]) -> CheckResult:
    """Run both graphs on copies of the example inputs, and compare all that comes of it.

    Torch's operators compute both: then outputs, inputs afterwards (buffers move) and, where
    autograd records, gradients must agree to eps^(3/4) of the coarsest dtype in the graph, and
    are mostly equal. This shows that the rewritten graph is wired right. On the way each batch
    norm is also computed by the kernel that it will get, which must agree to eps^(1/3): as much
    as it takes when rounding moves a few values across the kink of an activation.

    Cost: a forward and, where autograd records, a backward of each graph, and of each batch norm
    two more; two copies of the inputs and of their gradients.
    """
    reason = why_not_copied(inputs) or _why_not_run(given) or _why_no_room(inputs)
    if reason:
        return CheckResult(False, f"not checked: {reason}")
    try:
        expected = run(given, inputs, with_gradients=torch.is_grad_enabled())
    except Exception as error:
        text = f"not used: the graph as given raised {_named(error)} on copies of its inputs"
        return CheckResult(True, text)
    try:
        return _compare(expected, rewritten, inputs, _coarsest_eps(given))
    except Exception as error:
        return CheckResult(True, f"not used: the rewritten graph raised {_named(error)}")


def _compare(
    expected: Run, rewritten: GraphModule, inputs: Sequence[Any], eps: float
) -> CheckResult:
    """Run the rewritten graph, and judge what comes of it."""
    strict, loose = eps**0.75, eps ** (1 / 3)
    what = "outputs, buffers and gradients" if expected.gradients else "outputs and buffers"
    with calls_compared(rewritten) as found:
        wired = difference(expected, run(rewritten, inputs, with_gradients=torch.is_grad_enabled()))
        by_kernels = max(found, default=0.0)
    # A parallel device adds in another order each time, and what is zero but for rounding differs.
    apart = wired.of_each if _is_on_cpu(inputs) else wired.of_kind
    if not apart <= strict:
        return CheckResult(True, f"not used: {what} disagree", apart, strict)
    if not by_kernels <= loose:
        text = "not used: a kernel disagrees with torch's operators"
        return CheckResult(True, text, by_kernels, loose)
    text = f"checked on the example inputs: {what} agree"
    if not found:
        return CheckResult(False, text, apart, strict)
    text += f", and {len(found)} calls by their kernels with torch's operators"
    return CheckResult(False, text, by_kernels, loose)


def _named(error: Exception) -> str:
    first_line = str(error).strip().partition("\n")[0]
    return f"{type(error).__name__}: {first_line}" if first_line else type(error).__name__


def _is_on_cpu(inputs: Sequence[Any]) -> bool:
    return all(value.device.type == "cpu" for value in inputs if isinstance(value, Tensor))


def _coarsest_eps(graph_module: GraphModule) -> float:
    """Return eps of the coarsest floating-point dtype that a value in the graph has."""
    graphs = [module for module in graph_module.modules() if isinstance(module, GraphModule)]
    values = [node.meta.get("example_value") for module in graphs for node in module.graph.nodes]
    dtypes = {
        value.dtype
        for value in values
        if isinstance(value, Tensor) and (value.is_floating_point() or value.is_complex())
    }
    return max((float(torch.finfo(dtype).eps) for dtype in dtypes), default=1e-7)


def _why_not_run(graph_module: GraphModule) -> str:
    """Return why running the graph once more would leave a mark; empty if it would not."""
    for module in graph_module.modules():
        for node in module.graph.nodes if isinstance(module, GraphModule) else ():
            if isinstance(node.target, OpOverload) and node.target.namespace in _REACHING_OUT:
                return f"{node.target} reaches other processes"
    return ""


def _why_no_room(inputs: Sequence[Any]) -> str:
    """Return why there is no memory for the copies; empty if there is, or nobody says how much."""
    tensors = [value for value in inputs if isinstance(value, Tensor)]
    needed = 3 * sum(tensor.numel() * tensor.element_size() for tensor in tensors)
    device = next((tensor.device for tensor in tensors if tensor.device.type != "cpu"), None)
    available = _available_memory(device)
    if available is None or needed <= available:
        return ""
    return f"copies of its inputs take {needed / 2**30:.1f} GiB, {available / 2**30:.1f} are free"


def _available_memory(device: torch.device | None) -> int | None:
    if device is not None:
        return torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else None
    table = Path("/proc/meminfo")
    if not table.exists():
        return None
    for line in table.read_text("ascii").splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return None
