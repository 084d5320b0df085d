"""The kinds of layers that a batch norm can become: one table, to which further kinds are added."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from bnkit.layers.norm_act import (
    GroupNormAct,
    InstanceNormAct1d,
    InstanceNormAct2d,
    InstanceNormAct3d,
)
from bnkit.rewrite.conversion.norm_candidate import BNKITS, WITH_ACTIVATION, Candidate
from bnkit.rewrite.edits import Edits
from bnkit.rewrite.guarded_class import unguarded_class
from bnkit.rewrite.statistics.freezing import freeze_layer


class Refusal(Exception):  # noqa: N818
    """A layer is left as it is; the message says why, as a clause."""


@dataclass(frozen=True)
class NormKind:
    """A kind of layer.

    Attributes:
        convert: (edits, batch norm, largest number of groups) → what was done, in words.
        preserves: modes in which the network gives what it gave.
    """

    convert: Callable[[Edits, Candidate, int], str]
    preserves: tuple[str, ...] = ()


# Tables of a module that are carried over when another takes its place: the dicts themselves, so
# that the handles of the hooks go on working.
_CALL_HOOKS = (
    "_forward_hooks",
    "_forward_hooks_with_kwargs",
    "_forward_hooks_always_called",
    "_forward_pre_hooks",
    "_forward_pre_hooks_with_kwargs",
    "_backward_hooks",
    "_backward_pre_hooks",
    "_is_full_backward_hook",
)
_HAS_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
_STATE_HOOKS = (
    "_state_dict_hooks",
    "_state_dict_pre_hooks",
    "_load_state_dict_pre_hooks",
    "_load_state_dict_post_hooks",
)
_INSTANCE: dict[int, type[nn.Module]] = {
    1: nn.InstanceNorm1d,
    2: nn.InstanceNorm2d,
    3: nn.InstanceNorm3d,
}
_INSTANCE_ACT: dict[int, type[nn.Module]] = {
    1: InstanceNormAct1d,
    2: InstanceNormAct2d,
    3: InstanceNormAct3d,
}


def _to_bnkit(edits: Edits, norm: Candidate, _: int) -> str:
    if norm.base is not None and issubclass(norm.base, BNKITS):
        raise Refusal("it is bnkit's already")
    _refuse_own(norm)
    return _change_class(edits, norm, "bnkit")


def _to_torch(edits: Edits, norm: Candidate, _: int) -> str:
    if norm.base in WITH_ACTIVATION:
        raise Refusal(
            "it adds and activates too, and torch has no such layer; a layer that accelerate fused "
            "is given back by the undo() of its result"
        )
    kind = unguarded_class(type(norm.layer))
    if norm.base is not nn.SyncBatchNorm and not issubclass(kind, BNKITS):
        raise Refusal(norm.own or "it is torch's already")
    _refuse_own(norm)
    if kind not in BNKITS and "_accelerated_as" not in vars(kind) and kind is not nn.SyncBatchNorm:
        raise Refusal(f"it is a {kind.__name__}, which is written to be bnkit's")
    return _change_class(edits, norm, "torch")


def _change_class(edits: Edits, norm: Candidate, whose: str) -> str:
    former = type(norm.layer).__name__
    if norm.base is nn.SyncBatchNorm:
        if norm.axes is None:
            raise Refusal(
                "it is a SyncBatchNorm, of which the rank of its input shows in a run alone; give "
                "example_args"
            )
        edits.set_class(norm.layer, f"{whose}-{norm.axes}d")
        new = type(norm.layer).__name__
        return f"{former} became {whose}'s {new}: its statistics are now this process's alone"
    edits.set_class(norm.layer, whose)
    return f"{former} became {whose}'s"


def _to_frozen(edits: Edits, norm: Candidate, _: int) -> str:
    layer, kind = norm.layer, unguarded_class(type(norm.layer))
    if norm.is_frozen:
        raise Refusal("it is frozen already")
    if layer.running_mean is None or layer.running_var is None:
        raise Refusal("it has no running statistics to be frozen to")
    if (
        "_accelerated_as" in vars(kind)
        or "train" in vars(layer)
        or norm.own == "it is parametrized"
    ):
        reason = norm.own or f"its class, {kind.__name__}, was made by a rewrite"
        raise Refusal(f"{reason}; convert it to torch's first")
    own = {id(p) for p in (layer.weight, layer.bias) if p is not None}
    holders = [m for m in edits.model.modules() for p in m._parameters.values() if id(p) in own]
    if any(holder is not layer for holder in holders):
        raise Refusal("its weight or bias is tied to another layer's, which would be frozen")
    is_inference = any(p.is_inference() for p in layer.parameters())
    if is_inference and not torch.is_inference_mode_enabled():
        raise Refusal("it was made in inference mode, so there is no way back; convert a copy")
    had_gradient = freeze_layer(edits, layer)
    what = "frozen: weight, bias and statistics are constants, also after train()"
    return f"{what}; their gradients taken away" if had_gradient else what


def _to_group(edits: Edits, norm: Candidate, groups: int) -> str:
    return _replace_by_groups(edits, norm, _groups(norm, groups), "group norm")


def _to_layer(edits: Edits, norm: Candidate, _: int) -> str:
    return _replace_by_groups(edits, norm, _groups(norm, 1), "layer norm over channels and places")


def _groups(norm: Candidate, most: int) -> int:
    """Return the largest number of groups that divides C and leaves each two values or more.

    Groups have two channels at least where C allows it: groups of one are instance norm.
    """
    channels, values = norm.layer.num_features, norm.values_per_channel
    for number in range(min(most, max(channels // 2, 1)), 0, -1):
        if channels % number == 0 and (values is None or channels // number * values > 1):
            return number
    raise Refusal(
        "one value per group and sample would be left, which is normalized to 0 whatever it is"
    )


def _replace_by_groups(edits: Edits, norm: Candidate, groups: int, what: str) -> str:
    layer = norm.layer
    given: tuple[Any, ...] = (groups, layer.num_features)
    options: dict[str, Any] = {"eps": layer.eps, "affine": layer.affine, "device": "meta"}
    new: nn.Module
    if norm.base in WITH_ACTIVATION:
        new = GroupNormAct(*given, **options, **_activation(layer))
    else:
        new = nn.GroupNorm(*given, **options)
    size = layer.num_features // groups
    of = f"with {groups} group{'s' * (groups > 1)} of {size} channel{'s' * (size > 1)}"
    return _put(edits, norm, new, f"became {what}, a GroupNorm {of}")


def _to_instance(edits: Edits, norm: Candidate, _: int) -> str:
    layer, axes = norm.layer, norm.axes
    values = norm.values_per_channel
    if values == 1 or axes is None:
        if norm.shapes:
            raise Refusal(
                "its input has one value per channel and sample, which instance norm would turn "
                "into 0"
            )
        raise Refusal(
            "whether its input has axes beside N and C, over which instance norm normalizes, shows "
            "in a run alone; give example_args with which it runs"
        )
    kind = (_INSTANCE_ACT if norm.base in WITH_ACTIVATION else _INSTANCE)[axes]
    options = _activation(layer) if norm.base in WITH_ACTIVATION else {}
    momentum = layer.momentum
    new = kind(
        *(layer.num_features, layer.eps, momentum, layer.affine, False), device="meta", **options
    )
    return _put(edits, norm, new, f"became an {kind.__name__}")


def _activation(layer: nn.Module) -> dict[str, Any]:
    return {"activation": layer.activation, "negative_slope": layer.negative_slope}


def _put(edits: Edits, norm: Candidate, new: nn.Module, what: str) -> str:
    """Put a new layer in the place of a batch norm: with its parameters, its mode and its hooks."""
    layer = norm.layer
    _refuse_own(norm)
    if norm.held:
        raise Refusal(f"{norm.held}, and would go on running it")
    if any(getattr(layer, table, None) for table in _STATE_HOOKS):
        raise Refusal("it has hooks on its state_dict")
    for name in ("weight", "bias"):
        new._parameters[name] = layer._parameters.get(name)
    new.training = layer.training
    for table in _CALL_HOOKS:
        vars(new)[table] = vars(layer)[table]
    kept = [name for name in ("weight", "bias") if layer._parameters.get(name) is not None]
    carried = f"; {' and '.join(kept)} kept" if kept else ""
    if any(vars(layer)[table] for table in _HAS_HOOKS):
        carried += "; its hooks moved over"
    edits.replace(layer, new)
    return f"{type(layer).__name__} {what}{carried}"


def _refuse_own(norm: Candidate) -> None:
    if norm.is_frozen:
        raise Refusal("it is frozen; unfreeze it first")
    if norm.own:
        raise Refusal(norm.own)


# Name → kind. A further kind is one entry here.
KINDS: dict[str, NormKind] = {
    "bnkit": NormKind(_to_bnkit, ("eval", "training")),
    "torch": NormKind(_to_torch, ("eval", "training")),
    "group": NormKind(_to_group),
    "layer": NormKind(_to_layer),
    "instance": NormKind(_to_instance),
    "frozen": NormKind(_to_frozen, ("eval",)),
}
