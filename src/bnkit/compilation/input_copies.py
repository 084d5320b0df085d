"""Copies of a captured graph's inputs, on which it can be run without a mark on the user's."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor


class InputCopies(NamedTuple):
    """What to call a graph with.

    Attributes:
        arguments: the copies in the order of the inputs; a symbolic size is its example's number.
        leaves: the tensors among the copies that the gradient is asked for.
    """

    arguments: list[Any]
    leaves: list[Tensor]


def why_not_copied(inputs: Sequence[Any]) -> str:
    """Return, in words, why inputs cannot be copied; empty if they can."""
    for value in inputs:
        kind = type(value)
        if isinstance(value, FakeTensor) or (isinstance(value, Tensor) and value.is_meta):
            return "the example inputs hold no values"
        if isinstance(value, Tensor):
            if not isinstance(value, nn.Parameter | nn.Buffer) and kind is not Tensor:
                return f"an input is a {kind.__name__}"
            if value.layout != torch.strided or value.is_quantized:
                return "an input is sparse or quantized"
        elif isinstance(value, torch.SymInt | torch.SymFloat | torch.SymBool):
            if value.node.hint is None:
                return "a size is not known"
        elif not isinstance(value, int | float | bool | str | None):
            return f"an input is a {kind.__name__}"
    return ""


def copy_inputs(inputs: Sequence[Any], *, with_gradients: bool) -> InputCopies:
    """Return copies of the inputs of a graph; inputs that share memory have copies that do.

    Args:
        inputs: those for which `why_not_copied` finds nothing.
        with_gradients: whether autograd will record the run.
    """
    tensors = [value for value in inputs if isinstance(value, Tensor)]
    copies = _copies_of(list({id(tensor): tensor for tensor in tensors}.values()))
    leaves: list[Tensor] = []
    arguments: list[Any] = []
    for value in inputs:
        if not isinstance(value, Tensor):
            is_symbolic = isinstance(value, torch.SymInt | torch.SymFloat | torch.SymBool)
            arguments.append(value.node.hint if is_symbolic else value)
            continue
        copied = copies[id(value)]
        if with_gradients and value.requires_grad:
            leaves.append(copied.requires_grad_())
            # Only what is no leaf may be written in place.
            copied = copied if value.is_leaf else copied.clone()
        arguments.append(copied)
    return InputCopies(arguments, leaves)


def _copies_of(tensors: Sequence[Tensor]) -> dict[int, Tensor]:
    groups: dict[Any, list[Tensor]] = defaultdict(list)
    for tensor in tensors:
        groups[(tensor.untyped_storage()._cdata, tensor.dtype)].append(tensor)
    copies: dict[int, Tensor] = {}
    with torch.no_grad():
        for group in groups.values():
            # The stretch of memory that the group covers, and no more of what may be a data set.
            start = min(int(tensor.storage_offset()) for tensor in group)
            stop = max(_end(tensor) for tensor in group)
            values = group[0].detach().as_strided((stop - start,), (1,), start).clone()
            for tensor in group:
                offset = int(tensor.storage_offset()) - start
                place = values.as_strided(tensor.shape, tensor.stride(), offset)
                copies[id(tensor)] = place.detach()
    return copies


def _end(tensor: Tensor) -> int:
    start = int(tensor.storage_offset())
    if tensor.numel() == 0:
        return start
    steps = zip(tensor.shape, tensor.stride(), strict=True)
    return start + 1 + sum((size - 1) * stride for size, stride in steps)
