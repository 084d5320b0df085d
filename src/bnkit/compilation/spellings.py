"""The ways in which a captured graph spells batch norm, addition and activation."""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as torch_functional
from torch.fx import Node

from bnkit.functional import activation_names

_REQUIRED: Any = object()


class BatchNormCall(NamedTuple):
    """The arguments of one call, in the order in which `functional.batch_norm` takes them."""

    x: Any
    running_mean: Any
    running_var: Any
    weight: Any
    bias: Any
    training: Any
    momentum: Any
    eps: Any


class ActivationCall(NamedTuple):
    """An activation that kernels fuse."""

    name: str
    negative_slope: float | None
    is_inplace: bool


class Addition(NamedTuple):
    """A sum of two values with weight one."""

    other: Any
    # The operand that is overwritten with the sum.
    overwritten: Any


_Parameters = Sequence[tuple[str, Any]]

_BATCH_NORM: _Parameters = (
    ("input", _REQUIRED),
    ("running_mean", _REQUIRED),
    ("running_var", _REQUIRED),
    ("weight", None),
    ("bias", None),
    ("training", False),
    ("momentum", 0.1),
    ("eps", 1e-5),
)
_TORCH_BATCH_NORM: _Parameters = tuple(
    (name, _REQUIRED)
    for name in (
        "input",
        "weight",
        "bias",
        "running_mean",
        "running_var",
        "training",
        "momentum",
        "eps",
        "cudnn_enabled",
    )
)
_ADD: _Parameters = (("input", _REQUIRED), ("other", _REQUIRED), ("alpha", 1), ("out", None))
_RELU: _Parameters = (("input", _REQUIRED), ("inplace", False))
_LEAKY: _Parameters = (("input", _REQUIRED), ("negative_slope", 0.01), ("inplace", False))
_HARDTANH: _Parameters = (
    ("input", _REQUIRED),
    ("min_val", -1.0),
    ("max_val", 1.0),
    ("inplace", False),
)

_native: Any = torch._C._nn

_ACTIVATIONS: dict[Callable[..., Any] | str, tuple[str, _Parameters]] = {
    torch_functional.relu: ("relu", _RELU),
    torch.relu: ("relu", _RELU),
    torch.relu_: ("relu", _RELU),
    "relu": ("relu", _RELU),
    "relu_": ("relu", _RELU),
    torch_functional.relu6: ("relu6", _RELU),
    _native.relu6: ("relu6", _RELU),
    _native.relu6_: ("relu6", _RELU),
    torch_functional.hardtanh: ("hardtanh", _HARDTANH),
    _native.hardtanh: ("hardtanh", _HARDTANH),
    _native.hardtanh_: ("hardtanh", _HARDTANH),
    torch_functional.leaky_relu: ("leaky_relu", _LEAKY),
    _native.leaky_relu: ("leaky_relu", _LEAKY),
    _native.leaky_relu_: ("leaky_relu", _LEAKY),
}
_OUT_OF_PLACE_ADDS: set[Any] = {operator.add, torch.add, "add", "__add__", "__radd__"}
_INPLACE_ADDS: set[Any] = {operator.iadd, "add_", "__iadd__"}


def batch_norm_call(node: Node) -> BatchNormCall | None:
    """Return the arguments of a call of batch norm; None if the node is none."""
    if node.op != "call_function":
        return None
    if node.target is torch_functional.batch_norm:
        found = _bind(node, _BATCH_NORM)
        return None if found is None else BatchNormCall(*found.values())
    if node.target is torch.batch_norm:
        found = _bind(node, _TORCH_BATCH_NORM)
        if found is None:
            return None
        found["x"] = found["input"]
        return BatchNormCall(**{name: found[name] for name in BatchNormCall._fields})
    return None


def activation_call(node: Node) -> ActivationCall | None:
    """Return which activation a node applies, if it is one that kernels fuse."""
    if node.op not in ("call_function", "call_method") or node.target not in _ACTIVATIONS:
        return None
    name, parameters = _ACTIVATIONS[node.target]
    found = _bind(node, parameters)
    if found is None or not isinstance(found.get("inplace", False), bool):
        return None
    is_inplace = found.get("inplace", False) or target_name(node).endswith("_")
    if name == "hardtanh":
        if (found["min_val"], found["max_val"]) != (0, 6):
            return None
        name = "relu6"
    slope = found.get("negative_slope")
    # Below zero the sign of the output no longer says on which side of zero the input was.
    if slope is not None and not (isinstance(slope, (int, float)) and slope >= 0):
        return None
    return ActivationCall(name, slope, is_inplace)


def unfused_activation(node: Node) -> str:
    """Return the name of an activation that no kernel fuses as it stands; empty if it is none."""
    name = target_name(node).rstrip("_")
    known = {*activation_names(), "hardtanh", "prelu", "rrelu", "celu", "clamp", "threshold"}
    return name if activation_call(node) is None and name in known else ""


def is_addition(node: Node) -> bool:
    """Return whether a node adds, in whatever way."""
    if node.op not in ("call_function", "call_method"):
        return False
    return node.target in _OUT_OF_PLACE_ADDS or node.target in _INPLACE_ADDS


def addition(node: Node, operand: Node) -> Addition | str:
    """Return what is added to an operand; else, in words, why this sum cannot be fused."""
    found = _bind(node, _ADD)
    if found is None or found["out"] is not None:
        return "the sum is written in an unusual way"
    if isinstance(found["alpha"], Node) or found["alpha"] != 1:
        return "one operand of the sum is multiplied by alpha"
    first, second = found["input"], found["other"]
    other = second if first is operand else first
    if other is operand:
        return "it is added to itself"
    if not isinstance(other, Node):
        return "a number is added"
    return Addition(other, first if node.target in _INPLACE_ADDS else None)


def target_name(node: Node) -> str:
    """Return the name of the function or method that a node calls."""
    return node.target if isinstance(node.target, str) else getattr(node.target, "__name__", "")


def _bind(node: Node, parameters: _Parameters) -> dict[str, Any] | None:
    """Return the arguments by name; None if they do not fit the parameters."""
    names = [name for name, _ in parameters]
    if len(node.args) > len(names):
        return None
    given = {**dict(zip(names, node.args, strict=False)), **node.kwargs}
    if "self" in given:
        given["input"] = given.pop("self")
    found = {name: given.pop(name, default) for name, default in parameters}
    return None if given or any(value is _REQUIRED for value in found.values()) else found
