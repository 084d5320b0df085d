"""Decides, for each batch norm of a captured graph, what can be fused into it, and why not more.

A fused call stands where the batch norm stood, if what is added to it is known by then: nothing
but the addition and the activation moves, and nobody else can see what they work on. Where the
other operand is computed later, the call stands where the addition stood, if nothing in between
touches what the batch norm reads and writes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import SymInt, Tensor
from torch.fx import Node

from bnkit.compilation.effects import Effects
from bnkit.compilation.spellings import (
    ActivationCall,
    BatchNormCall,
    activation_call,
    addition,
    batch_norm_call,
    is_addition,
    unfused_activation,
)

_CONTEXT = "the context, such as grad mode or autocast, changes in between"


@dataclass
class Fusion:
    """One batch norm with what is fused into it.

    Attributes:
        batch_norm: its node.
        add: the addition that follows, or None.
        activation: the activation behind that, or None.
        call: what the activation is.
        is_at_add: whether the fused call stands where the addition stood.
        reasons: why no more was fused, in words.
    """

    batch_norm: Node
    add: Node | None = None
    activation: Node | None = None
    call: ActivationCall | None = None
    is_at_add: bool = False
    reasons: list[str] = field(default_factory=list)

    @property
    def chain(self) -> list[Node]:
        """The nodes that the one call replaces, in order."""
        return [node for node in (self.batch_norm, self.add, self.activation) if node is not None]


def plan(nodes: Sequence[Node], *, records_gradients: bool) -> list[Fusion]:
    """Return a plan for each batch norm that bnkit can compute, in the order of the graph.

    Args:
        nodes: of one graph, in order, with Dynamo's example values.
        records_gradients: whether autograd may record the graph.
    """
    effects = Effects(nodes)
    taken: set[Node] = set()
    plans = []
    # The last first: where two batch norms are added, the one next to the addition need not move.
    for node in reversed(nodes):
        call = batch_norm_call(node)
        if call is None or why_not_computed(node, call):
            continue
        fusion = Fusion(node)
        _extend_by_addition(fusion, call, effects, taken)
        _extend_by_activation(fusion, effects, records_gradients=records_gradients)
        taken.update(fusion.chain)
        plans.append(fusion)
    return plans[::-1]


def why_not_computed(node: Node, call: BatchNormCall) -> str:
    """Return why bnkit cannot compute a batch norm; empty if it can."""
    if not isinstance(call.training, bool):
        return "whether it trains is decided while the graph runs"
    example = _example(call.x)
    if example is None:
        return "the shape of its input is not known"
    if node.target is torch.batch_norm and call.training:
        sizes = [*example.shape[:1], *example.shape[2:]]
        if not all(isinstance(size, int) for size in sizes) or all(size == 1 for size in sizes):
            return "it may get one value per channel, which bnkit refuses and torch.batch_norm not"
    return ""


def _extend_by_addition(
    fusion: Fusion, call: BatchNormCall, effects: Effects, taken: set[Node]
) -> None:
    batch_norm = fusion.batch_norm
    add = _only_user(batch_norm)
    if add is None:
        if any(is_addition(user) or activation_call(user) for user in batch_norm.users):
            fusion.reasons.append("what follows is not fused: others read its output, too")
        return
    if add in taken or not is_addition(add):
        return
    found = addition(add, batch_norm)
    reason = found if isinstance(found, str) else ""
    if not isinstance(found, str):
        reason = _why_not_added(batch_norm, add, found.other, found.overwritten, effects)
        if not reason and not effects.is_before(found.other, batch_norm):
            reason = _why_not_moved(batch_norm, add, call, effects)
            fusion.is_at_add = not reason
    if reason:
        fusion.reasons.append(f"the addition that follows is not fused: {reason}")
    else:
        fusion.add = add


def _why_not_added(
    batch_norm: Node, add: Node, residual: Node, overwritten: Any, effects: Effects
) -> str:
    different = _why_not_alike(_example(batch_norm), _example(residual), _example(add))
    if different:
        return different
    if overwritten is residual and (
        _only_user(residual) is not add or not effects.is_private(residual, add)
    ):
        return "it overwrites a tensor that others may read"
    if effects.changes_context(batch_norm, add):
        return _CONTEXT
    is_known = effects.is_before(residual, batch_norm)
    if is_known and effects.writes_between(batch_norm, add, [residual]):
        return "what is added may change in between"
    if overwritten is not residual and effects.writes_after(add, [residual]):
        return "what is added is overwritten later"
    return ""


def _why_not_alike(one: Tensor | None, other: Tensor | None, total: Tensor | None) -> str:
    """Return how two operands and their sum differ in what a kernel takes for granted."""
    if one is None or other is None or total is None:
        return "a shape is not known"
    if not _same_sizes(one.shape, other.shape):
        return "the shapes differ, or are not known to be equal"
    if one.dtype != other.dtype or one.device != other.device or other.layout != torch.strided:
        return "dtype, device or layout differ"
    if not (
        _same_sizes(one.stride(), other.stride()) and _same_sizes(one.stride(), total.stride())
    ):
        return "the operands lie in memory in different orders"
    return ""


def _why_not_moved(batch_norm: Node, add: Node, call: BatchNormCall, effects: Effects) -> str:
    buffers = (call.running_mean, call.running_var)
    read = (call.x, call.weight, call.bias, *buffers)
    if effects.writes_between(batch_norm, add, read) or (
        call.training and effects.reads_between(batch_norm, add, buffers)
    ):
        return "what is added is computed later, and what lies in between may touch its tensors"
    return ""


def _extend_by_activation(fusion: Fusion, effects: Effects, *, records_gradients: bool) -> None:
    last = fusion.chain[-1]
    activation = _only_user(last)
    if activation is None:
        return
    call = activation_call(activation)
    if call is None:
        name = unfused_activation(activation)
        if name:
            fusion.reasons.append(f"the {name} that follows is not fused: no kernel does")
        return
    reason = ""
    if activation.all_input_nodes != [last]:
        reason = "its parameters are computed while the graph runs"
    elif effects.changes_context(fusion.batch_norm, activation):
        reason = _CONTEXT
    elif records_gradients and _needs_input(call) and _may_be_overwritten(activation, effects):
        # torch keeps the input of such an activation for backward, a fused one may keep the output.
        reason = "its output may be overwritten before backward needs it"
    if reason:
        fusion.reasons.append(f"the {call.name} that follows is not fused: {reason}")
    else:
        fusion.activation, fusion.call = activation, call


def _needs_input(call: ActivationCall) -> bool:
    return call.name != "relu" and not call.is_inplace


def _may_be_overwritten(node: Node, effects: Effects) -> bool:
    is_returned = any(user.op == "output" for user in node.users)
    return is_returned or effects.writes_after(node, [node])


def _only_user(node: Node) -> Node | None:
    """Return the call that alone takes a node's value; None if others do, or it is returned."""
    users = list(node.users)
    if len(users) != 1 or users[0].op not in ("call_function", "call_method"):
        return None
    return users[0]


def _example(value: Any) -> Tensor | None:
    found = value.meta.get("example_value") if isinstance(value, Node) else None
    return found if isinstance(found, Tensor) else None


def _same_sizes(one: Sequence[Any], other: Sequence[Any]) -> bool:
    """Return whether sizes are equal whatever the inputs; asks for no guard."""
    return len(one) == len(other) and all(
        _expression(a) == _expression(b) for a, b in zip(one, other, strict=True)
    )


def _expression(size: Any) -> Any:
    return size.node.expr if isinstance(size, SymInt) else size
