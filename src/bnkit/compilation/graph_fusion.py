"""Rewrites a captured graph so that bnkit computes its batch norms, with what follows fused in."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch._ops import OpOverload, OpOverloadPacket
from torch.fx import GraphModule, Node

from bnkit.compilation.checkpointing import (
    is_plain_checkpoint,
    replace_checkpoint,
    run_checkpointed,
)
from bnkit.compilation.fusion_plan import Fusion, plan, why_not_computed
from bnkit.compilation.spellings import addition, batch_norm_call, target_name
from bnkit.functional import batch_norm
from bnkit.rewrite.result import Change, Skipped

_TORCH_FUNC = ("torch._C._functorch", "torch._functorch")


@dataclass(frozen=True)
class Fused:
    """A rewritten copy of a graph, with the account of it.

    Attributes:
        graph_module: the copy; shares parameters and bodies that did not change with the given.
        batch_norms: how many calls of batch norm the graph has, those in bodies included.
        changes: the calls that bnkit now computes.
        skipped: what was left as it was.
    """

    graph_module: GraphModule
    batch_norms: int
    changes: list[Change]
    skipped: list[Skipped]


def fuse(given: GraphModule, *, records_gradients: bool) -> Fused:
    """Return a copy of a graph in which bnkit computes every batch norm that it can.

    Args:
        given: as Dynamo captured it; left as it is.
        records_gradients: whether autograd may record the graph.
    """
    fused = Fused(_copy_of(given), 0, [], [])
    graph = fused.graph_module.graph
    nodes = list(graph.nodes)
    calls = [(node, call) for node in nodes if (call := batch_norm_call(node)) is not None]
    if any(_is_torch_func(node) for node in nodes):
        reason = "left as it is: the graph works within torch.func"
        skipped = [Skipped(path_of(node), reason) for node, _ in calls]
        return Fused(fused.graph_module, len(calls), [], skipped)
    for node, call in calls:
        if reason := why_not_computed(node, call):
            fused.skipped.append(Skipped(path_of(node), f"left as it is: {reason}"))
    for node in nodes:
        if _is_own_operator(node):
            reason = "left as it is: bnkit's operator computes it, and what it fuses, already"
            fused.skipped.append(Skipped(path_of(node), reason))
    fusions = plan(nodes, records_gradients=records_gradients)
    for fusion in fusions:
        path = path_of(fusion.batch_norm)
        fused.changes.append(Change(path, _what(fusion)))
        fused.skipped.extend(Skipped(path, reason) for reason in fusion.reasons)
        _replace(fusion)
    count = len(calls) + _fuse_bodies(fused, nodes, records_gradients=records_gradients)
    graph.lint()
    fused.graph_module.recompile()
    return Fused(fused.graph_module, count, fused.changes, fused.skipped)


def with_own_checkpoints(given: GraphModule) -> GraphModule:
    """Return the graph, or a copy of it that runs its checkpoints as they run outside of Dynamo."""
    nodes = list(given.graph.nodes)
    if not any(_plain_checkpoints(given, node) for node in nodes):
        return given
    copied = _copy_of(given)
    for node in list(copied.graph.nodes):
        for checkpoint in _plain_checkpoints(copied, node):
            replace_checkpoint(checkpoint)
            body = _body(copied, node)
            assert body is not None
            setattr(copied, str(node.target), with_own_checkpoints(body))
    copied.recompile()
    return copied


def _plain_checkpoints(graph_module: GraphModule, node: Node) -> list[Node]:
    """Return the checkpoints whose body a node names; none if it has other uses."""
    body = _body(graph_module, node)
    if body is None or not all(is_plain_checkpoint(user, body) for user in node.users):
        return []
    return list(node.users)


def path_of(node: Node) -> str:
    """Return the path of the module that a node was called by; its own name outside of modules."""
    stack = list(node.meta.get("nn_module_stack", {}).values())
    if not stack:
        return f"({node.name})"
    # The last is the innermost: "L['self'].layer1.bn1", where the first name is a variable's.
    found = re.fullmatch(r"[LG]\['(\w+)'\]\.?(.*)", stack[-1][0])
    if found is None:
        return str(stack[-1][0])
    return found[2] or ("(model)" if found[1] in ("self", "fn") else found[1])


def _copy_of(given: GraphModule) -> GraphModule:
    graph = torch.fx.Graph()
    output = graph.graph_copy(given.graph, {}, return_output_node=True)
    assert isinstance(output, tuple)
    value, given_output = output
    graph.output(value).meta = copy.copy(given_output.meta)
    copied = GraphModule(given, graph, class_name=type(given).__name__)
    copied.meta = dict(given.meta)
    return copied


def _what(fusion: Fusion) -> str:
    names = ["batch norm"]
    if fusion.add is not None:
        names.append("add")
    if fusion.call is not None:
        names.append(fusion.call.name)
    return " + ".join(names) + (" in one call" if len(names) > 1 else "")


def _replace(fusion: Fusion) -> None:
    """Put one call in the place of the nodes of a fusion."""
    # Read anew: an earlier replacement may stand in the place of an argument.
    call = batch_norm_call(fusion.batch_norm)
    assert call is not None
    keywords: dict[str, Any] = {}
    if fusion.add is not None:
        found = addition(fusion.add, fusion.batch_norm)
        assert not isinstance(found, str)
        keywords["residual"] = found.other
    if fusion.call is not None:
        keywords["activation"] = fusion.call.name
        if fusion.call.negative_slope is not None:
            keywords["negative_slope"] = fusion.call.negative_slope
    place = fusion.add if fusion.is_at_add and fusion.add is not None else fusion.batch_norm
    graph, last = place.graph, fusion.chain[-1]
    with graph.inserting_before(place):
        new = graph.call_function(batch_norm, tuple(call), keywords)
    new.meta = {**fusion.batch_norm.meta}
    if "example_value" in last.meta:
        new.meta["example_value"] = last.meta["example_value"]
    last.replace_all_uses_with(new)
    for node in reversed(fusion.chain):
        graph.erase_node(node)


def _fuse_bodies(fused: Fused, nodes: list[Node], *, records_gradients: bool) -> int:
    """Rewrite the graphs that lie within this one; return how many batch norms they have."""
    count = 0
    for node in nodes:
        body = _body(fused.graph_module, node)
        if body is None:
            continue
        callers = {target_name(user) for user in node.users}
        if callers == {run_checkpointed.__name__}:
            inner = fuse(body, records_gradients=records_gradients)
            if inner.changes:
                setattr(fused.graph_module, str(node.target), inner.graph_module)
            fused.changes.extend(inner.changes)
            fused.skipped.extend(inner.skipped)
            count += inner.batch_norms
            continue
        for inside in _batch_norms_within(body):
            reason = f"left as it is: it is called within {' and '.join(sorted(callers))}"
            fused.skipped.append(Skipped(path_of(inside), reason))
            count += 1
    return count


def _body(graph_module: GraphModule, node: Node) -> GraphModule | None:
    if node.op != "get_attr" or "." in str(node.target):
        return None
    found = getattr(graph_module, str(node.target), None)
    return found if isinstance(found, GraphModule) else None


def _batch_norms_within(graph_module: GraphModule) -> Iterator[Node]:
    for module in graph_module.modules():
        if isinstance(module, GraphModule):
            yield from (node for node in module.graph.nodes if batch_norm_call(node) is not None)


def _is_torch_func(node: Node) -> bool:
    return str(getattr(node.target, "__module__", "")).startswith(_TORCH_FUNC)


def _is_own_operator(node: Node) -> bool:
    """Return whether a node calls the operator that bnkit's layers are captured as."""
    if not isinstance(node.target, OpOverload | OpOverloadPacket):
        return False
    return str(node.target).removesuffix(".default") == "bnkit.batch_norm"
