"""Folded numbers put into a layer: into one that is tried out, and into one of the model."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

from bnkit.layers import border_conv
from bnkit.rewrite.edits import Edits
from bnkit.rewrite.folding.fold_arithmetic import LinearMap

_BORDER_KINDS: dict[type[nn.Module], type[_ConvNd]] = {
    nn.Conv1d: border_conv.BorderConv1d,
    nn.Conv2d: border_conv.BorderConv2d,
    nn.Conv3d: border_conv.BorderConv3d,
    nn.ConvTranspose1d: border_conv.BorderConvTranspose1d,
    nn.ConvTranspose2d: border_conv.BorderConvTranspose2d,
    nn.ConvTranspose3d: border_conv.BorderConvTranspose3d,
}


def twin_with(layer: nn.Module, numbers: LinearMap) -> nn.Module:
    """Return a layer like a given one that holds other numbers; the given one is left alone.

    It is without hooks; numbers with taps make a layer of `border_conv` of it.
    """
    if numbers.taps is not None:
        return _border_layer(layer, numbers)
    twin = copy.copy(layer)
    device = _weight(layer).device
    bias = None if numbers.bias is None else _parameter(numbers.bias.to(device), layer)
    weight = _parameter(numbers.weight.to(device), layer)
    vars(twin)["_parameters"] = {"weight": weight, "bias": bias}
    for table in [name for name in vars(twin) if name.endswith("_hooks")]:
        vars(twin)[table] = type(vars(twin)[table])()
    return twin


def put_into(edits: Edits, layer: nn.Module, numbers: LinearMap) -> None:
    """Give a layer of the model other numbers; numbers with taps replace the layer."""
    if numbers.taps is not None:
        edits.replace(layer, _border_layer(layer, numbers))
        return
    device = _weight(layer).device
    edits.set_parameter(layer, "weight", numbers.weight.to(device))
    if numbers.bias is not None:
        former = layer._parameters["bias"]
        trained = (_weight(layer) if former is None else former).requires_grad
        edits.set_parameter(layer, "bias", numbers.bias.to(device), requires_grad=trained)


def _border_layer(layer: nn.Module, numbers: LinearMap) -> nn.Module:
    assert isinstance(layer, _ConvNd) and numbers.taps is not None
    kind = next(border for plain, border in _BORDER_KINDS.items() if isinstance(layer, plain))
    names = ["in_channels", "out_channels", "kernel_size", "stride", "padding", "dilation"]
    names += ["groups", "output_padding"] if isinstance(layer, _ConvTransposeNd) else ["groups"]
    arguments = {name: getattr(layer, name) for name in names}
    weight = _weight(layer)
    new = kind(**arguments, device="meta", dtype=weight.dtype)
    new._parameters["weight"] = _parameter(numbers.weight.to(weight.device), layer)
    bias = None if numbers.bias is None else numbers.bias.to(weight.device)
    new._parameters["bias"] = None if bias is None else _parameter(bias, layer)
    axis = 0 if numbers.is_transposed else 1
    new._buffers["taps"] = numbers.taps.to(weight.device).unsqueeze(axis).contiguous()
    new.training = layer.training
    return new


def _parameter(values: Tensor, layer: nn.Module) -> nn.Parameter:
    return nn.Parameter(values.detach().clone(), _weight(layer).requires_grad)


def _weight(layer: nn.Module) -> Tensor:
    weight = layer.weight
    assert isinstance(weight, torch.Tensor)
    return weight
