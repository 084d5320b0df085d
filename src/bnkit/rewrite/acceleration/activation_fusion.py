"""Which activations can be fused into the batch norm before them by swapping modules."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from torch import nn
from torch.nn.modules import activation as torch_activations
from torch.nn.modules.batchnorm import _BatchNorm

from bnkit.inspection.preserve import modules_within
from bnkit.rewrite.acceleration.attribute_reads import reads_of

HOOKED = "is hooked: what the hooks see would change, so no activation was fused into it"
FUSED_KINDS = "ReLU, LeakyReLU and ReLU6"
_HOOK_TABLES = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
_CONTAINERS = (nn.Sequential, nn.ModuleList, nn.ModuleDict)


@dataclass(frozen=True, eq=False)
class Pair:
    """A batch norm and the activation that alone takes its output.

    Attributes:
        kind: the activation's class, such as "ReLU"; it is not the activation's once it is fused.
    """

    path: str
    norm: _BatchNorm
    activation_path: str
    activation: nn.Module
    kind: str


@dataclass(frozen=True)
class Refusal:
    """Why an activation that follows a batch norm is not fused into it."""

    path: str
    reason: str


def activation_of(module: nn.Module) -> tuple[str, float] | None:
    """Return name and negative slope of an activation that the kernels fuse; None for others."""
    if type(module) is nn.ReLU:
        return "relu", 0.0
    if type(module) is nn.ReLU6:
        return "relu6", 0.0
    if type(module) is nn.LeakyReLU and module.negative_slope >= 0:
        return "leaky_relu", float(module.negative_slope)
    return None


def why_not_fused(norm: _BatchNorm, activation: nn.Module) -> str:
    """Return why two modules that follow each other are not fused, empty if they can be."""
    kind = type(activation).__name__
    if activation_of(activation) is None:
        return f"not fused with the {kind} after it; fused are {FUSED_KINDS}"
    if is_hooked(norm):
        return HOOKED
    if is_hooked(activation):
        return f"not fused with the {kind} after it, because that is hooked"
    if "forward" in vars(activation):
        return f"not fused with the {kind} after it, whose forward was replaced on the object"
    taken = {"activation", "negative_slope"} & (vars(norm).keys() | norm._modules.keys())
    if taken:
        return f"not fused, because it has an attribute {' and '.join(sorted(taken))} of its own"
    return ""


def is_hooked(module: nn.Module) -> bool:
    """Return whether hooks see what goes into a module or comes out of it."""
    return any(getattr(module, table) for table in _HOOK_TABLES)


def is_activation(module: nn.Module) -> bool:
    """Return whether a module is an activation of torch's."""
    kind = type(module)
    return kind.__module__ == torch_activations.__name__ and kind is not nn.MultiheadAttention


def pairs_in_sequentials(
    model: nn.Module, norms: Mapping[int, str]
) -> tuple[list[Pair], list[Refusal]]:
    """Return the pairs that follow each other in a Sequential, and why others are not fused.

    A Sequential that is called runs its modules one after the other. That nothing else runs one of
    them alone is taken from this: batch norm and activation are held once in the whole network,
    plain lists and dicts included, and the network's code does nothing with the Sequential but
    call it.

    Args:
        model: the network.
        norms: id → path of the batch norms that may be fused.
    """
    held = _times_held(model)
    reads = reads_of(model)
    pairs: list[Pair] = []
    refusals: list[Refusal] = []
    for path, module in model.named_modules():
        if not isinstance(module, nn.Sequential) or type(module).forward is not _FORWARD:
            continue
        reader = _reader(model, path, reads)
        for pair in _neighbours(path, module, norms):
            reason = why_not_fused(pair.norm, pair.activation)
            if not reason and held[id(pair.norm)] > 1:
                reason = f"{_NOT_FUSED} it is held at several places of the network"
            if not reason and held[id(pair.activation)] > 1:
                reason = f"{_NOT_FUSED} the activation after it is held at several places"
            if not reason and reader:
                reason = f"{_NOT_FUSED} {reader}, which may run it without its activation"
            if reason:
                refusals.append(Refusal(pair.path, reason))
            else:
                pairs.append(pair)
    return pairs, refusals


_FORWARD = nn.Sequential.forward
_NOT_FUSED = "not fused without a run, because"


def _neighbours(path: str, module: nn.Sequential, norms: Mapping[int, str]) -> Iterator[Pair]:
    prefix = f"{path}." if path else ""
    children = [(name, child) for name, child in module._modules.items() if child is not None]
    for (name, norm), (after, activation) in pairwise(children):
        if id(norm) in norms and isinstance(norm, _BatchNorm) and is_activation(activation):
            kind = type(activation).__name__
            yield Pair(f"{prefix}{name}", norm, f"{prefix}{after}", activation, kind)


def _reader(model: nn.Module, path: str, reads: Mapping[str, str]) -> str:
    """Return what does more with a Sequential than call it, as a clause; empty if nothing."""
    parent, _, name = path.rpartition(".")
    if not path or isinstance(model.get_submodule(parent), _CONTAINERS) or name not in reads:
        return ""
    return f"{reads[name]} does more with {name!r} than call it"


def _times_held(model: nn.Module) -> Counter[int]:
    """Return id → in how many places a module stands, plain lists and dicts included."""
    held: Counter[int] = Counter()
    for module in modules_within(model):
        attributes = [value for key, value in vars(module).items() if key != "_modules"]
        waiting: list[Any] = [*module._modules.values(), *attributes]
        seen: set[int] = set()
        while waiting:
            value = waiting.pop()
            if isinstance(value, nn.Module):
                held[id(value)] += 1
            elif isinstance(value, dict | list | tuple) and id(value) not in seen:
                seen.add(id(value))
                waiting += value.values() if isinstance(value, dict) else value
    return held
