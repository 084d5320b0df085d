"""Modules that rewrites put into a model, as plain data: type and arguments.

Only types of this list are built from a file: reading one runs no code of its author's.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

import bnkit.layers as ours
from bnkit.errors import RewriteError
from bnkit.layers import border_conv
from bnkit.layers.batch_norm_act import AddAndActivate
from bnkit.layers.norm_act import (
    GroupNormAct,
    InstanceNormAct1d,
    InstanceNormAct2d,
    InstanceNormAct3d,
)

_CONV = (
    "in_channels",
    "out_channels",
    "kernel_size",
    "stride",
    "padding",
    "dilation",
    "groups",
    "padding_mode",
)
_BATCH = ("num_features", "eps", "momentum", "affine", "track_running_stats")
_ACT = (*_BATCH, "activation", "negative_slope")
_GROUP = ("num_groups", "num_channels", "eps", "affine")

_OF_CONV: tuple[type[nn.Module], ...] = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
_OF_TRANSPOSE: tuple[type[nn.Module], ...] = (
    nn.ConvTranspose1d,
    nn.ConvTranspose2d,
    nn.ConvTranspose3d,
)
_OF_BATCH: tuple[type[nn.Module], ...] = (
    nn.BatchNorm1d,
    nn.BatchNorm2d,
    nn.BatchNorm3d,
    nn.InstanceNorm1d,
    nn.InstanceNorm2d,
    nn.InstanceNorm3d,
    nn.SyncBatchNorm,
    ours.BatchNorm1d,
    ours.BatchNorm2d,
    ours.BatchNorm3d,
)
_OF_ACT: tuple[type[nn.Module], ...] = (
    ours.BatchNormAct1d,
    ours.BatchNormAct2d,
    ours.BatchNormAct3d,
    InstanceNormAct1d,
    InstanceNormAct2d,
    InstanceNormAct3d,
)
_OF_BORDER: tuple[type[nn.Module], ...] = (
    border_conv.BorderConv1d,
    border_conv.BorderConv2d,
    border_conv.BorderConv3d,
)
_OF_BORDER_TRANSPOSE: tuple[type[nn.Module], ...] = (
    border_conv.BorderConvTranspose1d,
    border_conv.BorderConvTranspose2d,
    border_conv.BorderConvTranspose3d,
)
# Type → attributes that are its arguments too.
_ARGUMENTS: dict[type[nn.Module], tuple[str, ...]] = {
    nn.Identity: (),
    nn.Linear: ("in_features", "out_features"),
    nn.GroupNorm: _GROUP,
    GroupNormAct: (*_GROUP, "activation", "negative_slope"),
    nn.LayerNorm: ("normalized_shape", "eps", "elementwise_affine"),
    **dict.fromkeys(_OF_CONV, _CONV),
    **dict.fromkeys(_OF_TRANSPOSE, (*_CONV, "output_padding")),
    **dict.fromkeys(_OF_BORDER, _CONV),
    **dict.fromkeys(_OF_BORDER_TRANSPOSE, (*_CONV, "output_padding")),
    **dict.fromkeys(_OF_BATCH, _BATCH),
    **dict.fromkeys(_OF_ACT, _ACT),
    AddAndActivate: ("activation", "negative_slope"),
}
_TYPES = {f"{kind.__module__.split('.')[0]}.{kind.__name__}": kind for kind in _ARGUMENTS}


def form_of(module: nn.Module) -> dict[str, Any]:
    """Return a module as plain data: type, arguments, mode, and its parameters' and buffers' form.

    Raises:
        RewriteError: it is of a type that no rewrite puts into a model.
    """
    name = next((name for name, kind in _TYPES.items() if type(module) is kind), None)
    if name is None:
        raise RewriteError(
            f"a {type(module).__name__} cannot be stored as a change",
            required=f"one of {', '.join(_TYPES)}",
        )
    return {
        "type": name,
        "arguments": {key: getattr(module, key) for key in _ARGUMENTS[type(module)]},
        "training": module.training,
        "parameters": {key: _tensor_form(value) for key, value in module._parameters.items()},
        "buffers": {key: _tensor_form(value) for key, value in module._buffers.items()},
    }


def build_module(form: dict[str, Any], device: torch.device) -> nn.Module:
    """Return the module that `form_of` described, all its values zero.

    Raises:
        RewriteError: another version of bnkit made the form.
    """
    kind = _TYPES.get(form["type"])
    if kind is None:
        raise RewriteError(
            f"the type {form['type']!r} is not known",
            required=f"one of {', '.join(_TYPES)}",
            remedy="Update bnkit: a later version wrote this",
        )
    arguments = {
        key: tuple(value) if isinstance(value, list) else value
        for key, value in form["arguments"].items()
    }
    with torch.device("meta"):
        module = kind(**arguments)
    for key, value in form["parameters"].items():
        tensor = None if value is None else _zeros(value, device)
        module._parameters[key] = (
            None if tensor is None else nn.Parameter(tensor, value["requires_grad"])
        )
    for key, value in form["buffers"].items():
        module._buffers[key] = None if value is None else _zeros(value, device)
    module.training = form["training"]
    return module


def dtype_named(name: str) -> torch.dtype:
    """Return a dtype by its name in torch.

    Raises:
        RewriteError: there is none.
    """
    dtype = getattr(torch, name, None)
    if not isinstance(dtype, torch.dtype):
        raise RewriteError(f"{name!r} is no dtype of torch")
    return dtype


def _tensor_form(tensor: torch.Tensor | None) -> dict[str, Any] | None:
    if tensor is None:
        return None
    return {
        "shape": list(tensor.shape),
        "dtype": str(tensor.dtype).removeprefix("torch."),
        "requires_grad": tensor.requires_grad,
    }


def _zeros(form: dict[str, Any], device: torch.device) -> torch.Tensor:
    return torch.zeros(form["shape"], dtype=dtype_named(form["dtype"]), device=device)
