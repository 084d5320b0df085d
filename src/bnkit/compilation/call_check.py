"""Compares what a kernel makes of each batch norm in a graph with what torch's operators make."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.fx import GraphModule

from bnkit.compilation.agreement import Run, difference
from bnkit.functional import batch_norm
from bnkit.kernels.dispatch import EAGER, kernel_for

_BUFFERS = ("running_mean", "running_var")
_NAMES = ("x", *_BUFFERS, "weight", "bias", "training", "momentum", "eps")
# Dynamo compiles one graph at a time; backward may call from a thread of its own.
_findings: list[float] = []


@contextmanager
def calls_compared(graph_module: GraphModule) -> Iterator[list[float]]:
    """Within, torch's operators compute the graph's batch norms, and each kernel its own again.

    Calls are compared one by one, on the same values: over a deep network rounding is amplified
    without bounds, and says nothing about a kernel.

    Args:
        graph_module: its calls of `functional.batch_norm` are exchanged, and put back at the end.

    Yields:
        The difference that each call made, relative to the largest tensor of its kind (output,
        buffers, gradients). Calls that torch's operators compute anyway are not in it.
    """
    _findings.clear()
    _exchange(graph_module, batch_norm, compared_batch_norm)
    try:
        yield _findings
    finally:
        _exchange(graph_module, compared_batch_norm, batch_norm)


def compared_batch_norm(*arguments: Any, **keywords: Any) -> Tensor:
    """Return what torch's operators make of a call, and note how far its kernel is from it."""
    given = {**dict(zip(_NAMES, arguments, strict=False)), **keywords}
    if kernel_for(given["x"], is_followed=True).name != EAGER:
        one, other = _run(given, kernel=EAGER), _run(given, kernel=None)
        _findings.append(difference(one, other).of_kind)
    return batch_norm(*arguments, **keywords, kernel=EAGER)


def _run(given: dict[str, Any], *, kernel: str | None) -> Run:
    """Compute one call, forwards and backwards, on copies of what it may write."""
    wants_gradients = torch.is_grad_enabled()
    own: dict[str, Any] = {}
    for name, value in given.items():
        own[name] = value.detach() if isinstance(value, Tensor) else value
        if name in _BUFFERS and isinstance(value, Tensor):
            own[name] = value.detach().clone()
        elif isinstance(value, Tensor) and value.requires_grad and wants_gradients:
            own[name].requires_grad_()
    leaves = [value for value in own.values() if isinstance(value, Tensor) and value.requires_grad]
    y = batch_norm(**own, kernel=kernel)
    gradients: list[Tensor | None] = []
    if leaves:
        weights = torch.linspace(-1.0, 1.0, 97, device=y.device, dtype=y.dtype)
        weights = weights.repeat(y.numel() // 97 + 1)[: y.numel()].view(y.shape)
        gradients = list(torch.autograd.grad(y, leaves, weights))
    buffers = [own[name] for name in _BUFFERS if isinstance(own[name], Tensor)]
    return Run([y.detach()], buffers, gradients)


def _exchange(graph_module: GraphModule, old: Any, new: Any) -> None:
    for module in graph_module.modules():
        if not isinstance(module, GraphModule):
            continue
        found = [node for node in module.graph.nodes if node.target is old]
        for node in found:
            node.target = new
        if found:
            module.recompile()
