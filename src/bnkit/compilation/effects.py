"""What the nodes of a captured graph write, and which of them change the context of the others."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from typing import Any, NamedTuple

from torch import Tensor
from torch._ops import OpOverload, OpOverloadPacket
from torch.fx import Node

from bnkit.compilation.spellings import batch_norm_call, target_name
from bnkit.inspection.nested_tensors import tensors_in

_CALLS = ("call_function", "call_method", "call_module")
# They have no value, and change nothing that a batch norm reads.
_WITHOUT_CONTEXT = {"setitem", "_log_api_usage_once"}
# They begin with an i, and write nothing.
_READING_OPERATORS = {"index", "indexOf", "inv", "invert", "is_", "is_not", "is_none"}
# They write arguments although neither name nor argument says so.
_WRITING_FUNCTIONS = {
    "native_batch_norm",
    "instance_norm",
    "embedding",
    "embedding_bag",
    "fused_moving_avg_obs_fake_quant",
    "register_hook",
}
_PURE_PACKAGES = {
    "_operator",
    "builtins",
    "math",
    "torch",
    "torch._C._linalg",
    "torch._C._nn",
    "torch._C._special",
    "torch._jit_internal",
    "torch.functional",
    "torch.nn.functional",
}


class _Writes(NamedTuple):
    # Storages; None stands for any.
    storages: frozenset[int] | None
    # Batch norms write buffers, which nobody passes in twice under two names.
    is_own_state: bool = False


class Effects:
    """The order of the nodes of one graph, where their values lie, and what they write.

    Where a value lies is read off the fake tensors that Dynamo computed: two that share memory
    share a storage.
    """

    def __init__(self, nodes: Sequence[Node]) -> None:
        self._nodes = list(nodes)
        self._index = {node: index for index, node in enumerate(self._nodes)}
        self._storages = {node: _storages(node) for node in self._nodes}
        inputs = [node for node in self._nodes if node.op in ("placeholder", "get_attr")]
        self._given = frozenset().union(*(self._storages[node] or () for node in inputs))
        self._writes = [self._written_by(node) for node in self._nodes]

    def is_before(self, first: Node, second: Node) -> bool:
        """Return whether one node runs before another."""
        return self._index[first] < self._index[second]

    def changes_context(self, first: Node, last: Node) -> bool:
        """Return whether grad mode, autocast or the like may change between two nodes."""
        return any(is_context_change(node) for node in self._between(first, last))

    def writes_between(self, first: Node, last: Node, values: Iterable[Any]) -> bool:
        """Return whether a node between two others may write one of the values."""
        return self._writes_within(self._index[first] + 1, self._index[last], values)

    def writes_after(self, node: Node, values: Iterable[Any]) -> bool:
        """Return whether a node behind this one may write one of the values."""
        return self._writes_within(self._index[node] + 1, len(self._nodes), values)

    def reads_between(self, first: Node, last: Node, values: Iterable[Any]) -> bool:
        """Return whether a node between two others takes one of the values."""
        wanted = [self._storages[value] for value in values if isinstance(value, Node)]
        return any(
            self._overlap(self._storages[read], storages)
            for node in self._between(first, last)
            for read in node.all_input_nodes
            for storages in wanted
            if node.op in _CALLS
        )

    def is_private(self, node: Node, until: Node) -> bool:
        """Return whether a value is made in the graph, and before a later node none shares it."""
        own = self._storages[node]
        if own is None or node.op not in _CALLS:
            return False
        earlier = self._nodes[: self._index[until]]
        others = [other for other in earlier if other is not node and "example_value" in other.meta]
        return not any(self._overlap(self._storages[other], own) for other in others)

    def _between(self, first: Node, last: Node) -> list[Node]:
        return self._nodes[self._index[first] + 1 : self._index[last]]

    def _writes_within(self, start: int, stop: int, values: Iterable[Any]) -> bool:
        read = [self._storages[value] for value in values if isinstance(value, Node)]
        return any(
            self._may_hit(writes, storages)
            for writes in self._writes[start:stop]
            for storages in read
        )

    def _may_hit(self, writes: _Writes, read: frozenset[int] | None) -> bool:
        if writes.storages is not None and not writes.storages:
            return False
        if self._overlap(writes.storages, read):
            return True
        # Two inputs of the graph may share memory in a later call, though they did not in this.
        assert writes.storages is not None
        assert read is not None
        both_given = writes.storages & self._given and read & self._given
        return bool(both_given) and not writes.is_own_state

    @staticmethod
    def _overlap(one: frozenset[int] | None, other: frozenset[int] | None) -> bool:
        return one is None or other is None or bool(one & other)

    def _written_by(self, node: Node) -> _Writes:
        if node.op not in _CALLS:
            return _Writes(frozenset())
        normalized = batch_norm_call(node)
        if normalized is not None:
            buffers = (normalized.running_mean, normalized.running_var)
            written: Iterable[Any] = buffers if normalized.training is not False else ()
            return self._storages_of(written, is_own_state=True)
        names = _written_arguments(node)
        if names is None:
            names = node.all_input_nodes
        values = [node.meta.get("example_value")]
        is_counter = all(
            isinstance(value, Tensor) and not value.is_floating_point() for value in values
        )
        return self._storages_of(names, is_own_state=is_counter)

    def _storages_of(self, values: Iterable[Any], *, is_own_state: bool) -> _Writes:
        found = [self._storages[value] for value in values if isinstance(value, Node)]
        known = [storages for storages in found if storages is not None]
        if len(known) < len(found):
            return _Writes(None)
        return _Writes(frozenset().union(*known), is_own_state)


def is_context_change(node: Node) -> bool:
    """Return whether a node may change grad mode, autocast or the like: it yields no value."""
    return (
        node.op in _CALLS
        and "example_value" not in node.meta
        and target_name(node) not in _WITHOUT_CONTEXT
        and not isinstance(node.target, OpOverload | OpOverloadPacket)
    )


def _storages(node: Node) -> frozenset[int] | None:
    """Return where the value of a node lies; None if that is not known."""
    if "example_value" not in node.meta:
        return None if node.op in _CALLS or node.op == "get_attr" else frozenset()
    try:
        tensors = tensors_in(node.meta["example_value"])
        return frozenset(tensor.untyped_storage()._cdata for tensor in tensors)
    except (NotImplementedError, RuntimeError):
        return None


def _written_arguments(node: Node) -> Sequence[Any] | None:
    """Return the arguments that a node writes; None if it may write any."""
    name, first = target_name(node), node.args[:1] or tuple(node.kwargs.values())
    if node.op == "call_module" or node.kwargs.get("out") is not None:
        return None
    if name.endswith("_") and not name.endswith("__"):
        return first
    if node.op == "call_method":
        return first if name in ("__setitem__", "__delitem__") or _is_inplace_dunder(name) else ()
    if _is_unknown(node.target, name):
        return None
    return first if _is_writing_operator(node.target, name) or _is_inplace(node) else ()


def _is_unknown(function: Any, name: str) -> bool:
    """Return whether a function may write arguments without saying so by name or argument."""
    if isinstance(function, OpOverload):
        return function._schema.is_mutable
    if isinstance(function, OpOverloadPacket):
        names = [key or "default" for key in function._overload_names]
        return any(_is_unknown(getattr(function, key), name) for key in names)
    module = getattr(function, "__module__", "") or ""
    return name in _WRITING_FUNCTIONS or module not in _PURE_PACKAGES


def _is_writing_operator(function: Any, name: str) -> bool:
    if getattr(function, "__module__", "") != "_operator":
        return False
    return name == "setitem" or (name.startswith("i") and name not in _READING_OPERATORS)


def _is_inplace_dunder(name: str) -> bool:
    return name.startswith("__i") and name not in ("__invert__", "__index__", "__int__")


def _is_inplace(node: Node) -> bool:
    """Return whether a function of `torch.nn.functional` was asked to write its input."""
    if node.kwargs.get("inplace", False) is not False:
        return True
    assert callable(node.target)
    position = _position_of_inplace(node.target)
    return position is not None and node.args[position : position + 1] not in ((), (False,))


@cache
def _position_of_inplace(function: Callable[..., Any]) -> int | None:
    try:
        names = list(inspect.signature(function).parameters)
    except (ValueError, TypeError):  # a builtin, which has none
        return None
    return names.index("inplace") if "inplace" in names else None
