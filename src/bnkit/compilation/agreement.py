"""Runs a given and a rewritten graph on the same inputs, and measures how far they lie apart."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.fx import GraphModule

from bnkit.compilation.input_copies import copy_inputs
from bnkit.inspection.nested_tensors import tensors_in
from bnkit.inspection.preserve import preserve


class Run(NamedTuple):
    """What one run of a graph led to, each a list in a fixed order.

    Attributes:
        outputs: what it returned.
        inputs: its inputs afterwards: buffers move, and an input may be written.
        gradients: of the outputs, weighed at random, by the inputs; None where there is none.
    """

    outputs: list[Tensor]
    inputs: list[Tensor]
    gradients: list[Tensor | None]


class Difference(NamedTuple):
    """How far two runs lie apart: root mean squares of differences, relative to those of values.

    Attributes:
        of_each: the largest, each relative to the same tensor.
        of_kind: the largest, each relative to the largest tensor of its kind (outputs, inputs,
            gradients). A gradient that is zero but for rounding, such as that of a bias before a
            batch norm, differs wholly from itself, and not by this measure.
    """

    of_each: float
    of_kind: float


def run(graph_module: GraphModule, inputs: Sequence[Any], *, with_gradients: bool) -> Run:
    """Run a graph on copies of its inputs, and leave no mark on inputs, graph and random state.

    Args:
        graph_module: the graph.
        inputs: what Dynamo gave as examples.
        with_gradients: whether to run it backwards, too.

    Cost: a copy of the inputs, a forward, and perhaps a backward with gradients of all inputs.
    """
    with preserve(graph_module), _quietly():
        arguments, leaves = copy_inputs(inputs, with_gradients=with_gradients)
        outputs = tensors_in(graph_module(*arguments))
        gradients = _gradients(outputs, leaves) if leaves else []
    after = [value for value in arguments if isinstance(value, Tensor)]
    given = [value for value in inputs if isinstance(value, Tensor)]
    return Run(
        [output.detach() for output in outputs],
        [_shared_if_same(new.detach(), old) for new, old in zip(after, given, strict=True)],
        gradients,
    )


def difference(given: Run, rewritten: Run) -> Difference:
    """Measure how far two runs lie apart; inf if a shape, a dtype, an integer or a NaN differs."""
    each, of_kind = 0.0, 0.0
    for kind in Run._fields:
        ones, others = getattr(given, kind), getattr(rewritten, kind)
        if list(map(_form, ones)) != list(map(_form, others)):
            return Difference(float("inf"), float("inf"))
        pairs = [(one, other) for one, other in zip(ones, others, strict=True) if one is not None]
        largest = max((_size(one) for one, _ in pairs), default=0.0)
        for one, other in pairs:
            apart = _apart(one, other)
            if apart > 0:
                each = max(each, _ratio(apart, _size(one)))
                of_kind = max(of_kind, _ratio(apart, largest))
    return Difference(each, of_kind)


def _apart(one: Tensor, other: Tensor) -> float:
    """Return the root mean square of a difference; inf if more than rounding differs."""
    if not (one.is_floating_point() or one.is_complex()):
        return 0.0 if torch.equal(one, other) else float("inf")
    # Equal infinities, and NaN in the same places, are no difference.
    unequal = (one != other) & ~(one.isnan() & other.isnan())
    if not bool(unequal.any()):
        return 0.0
    apart = torch.where(unequal, one - other, torch.zeros_like(one))
    return _size(apart) if bool(apart.isfinite().all()) else float("inf")


def _size(tensor: Tensor) -> float:
    """Return the root mean square of the finite values."""
    if tensor.numel() == 0 or not (tensor.is_floating_point() or tensor.is_complex()):
        return 0.0
    wide = torch.complex128 if tensor.is_complex() else torch.float64
    finite = tensor.nan_to_num(0.0, 0.0, 0.0)
    return float(torch.linalg.vector_norm(finite, dtype=wide)) / math.sqrt(tensor.numel())


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole > 0 else float("inf")


def _form(tensor: Tensor | None) -> Any:
    return None if tensor is None else (tensor.shape, tensor.dtype, tensor.device)


def _gradients(outputs: Sequence[Tensor], leaves: Sequence[Tensor]) -> list[Tensor | None]:
    """Return the gradients by the leaves of a weighed sum of the outputs."""
    recorded = [output for output in outputs if output.requires_grad]
    if not recorded:
        return []
    # Random weights: a batch norm's outputs have a sum that depends on nothing.
    generator = torch.Generator().manual_seed(0)
    weights = [
        torch.randn(output.shape, generator=generator, dtype=torch.float32).to(
            output.device, output.dtype
        )
        for output in recorded
    ]
    return list(torch.autograd.grad(recorded, leaves, weights, allow_unused=True))


def _shared_if_same(new: Tensor, old: Tensor) -> Tensor:
    """Return the old tensor if the new one equals it, so that no copy is kept."""
    return old.detach() if torch.equal(new, old) else new


@contextmanager
def _quietly() -> Iterator[None]:
    """Warn of nothing a second time, and keep no copy of a weight in autocast's cache."""
    was_enabled = torch.is_autocast_cache_enabled()
    torch.set_autocast_cache_enabled(False)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        torch.set_autocast_cache_enabled(was_enabled)
