"""The arithmetic of a fold: a batch norm's scale and shift taken into weights, in float64.

In eval mode a batch norm is y = s·x + t per channel, s = γ/√(var + eps), t = β − s·mean. After a
linear map it scales the map's outputs, before it the map's inputs:

    s·(W x + b) + t = (s·W) x + (s·b + t)
    W (s·x + t) + b = (W·s) x + (W t + b)

Where a conv pads with zeros, or is transposed, W t depends on the position: fewer taps see t on the
border. The sums of each tap are kept then, so that W t can be found anywhere.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd


@dataclass(frozen=True)
class LinearMap:
    """A conv or linear layer as numbers in float64 on the CPU.

    Attributes:
        weight: as the layer's.
        bias: of shape (C_out,); None for none.
        taps: what a constant input adds for each tap, of shape (C_out, *kernel); None where it is
            in the bias.
        groups: of the conv; 1 for a linear layer.
        is_transposed: whether the weight's first axis is that of the input's channels.
    """

    weight: Tensor
    bias: Tensor | None
    taps: Tensor | None
    groups: int
    is_transposed: bool

    @property
    def is_finite(self) -> bool:
        """Whether all numbers are."""
        parts = (self.weight, self.bias, self.taps)
        return all(bool(part.isfinite().all()) for part in parts if part is not None)

    def rounded(self, dtype: torch.dtype) -> LinearMap:
        """Return the same numbers in another dtype."""
        return replace(
            self,
            weight=self.weight.to(dtype),
            bias=None if self.bias is None else self.bias.to(dtype),
            taps=None if self.taps is None else self.taps.to(dtype),
        )


def exact(tensor: Tensor) -> Tensor:
    """Return a copy in float64 on the CPU."""
    return tensor.detach().to("cpu", torch.float64, copy=True)


def linear_map(layer: nn.Module) -> LinearMap:
    """Return what a conv or linear layer holds."""
    assert isinstance(layer, nn.Linear | _ConvNd)
    bias = None if layer.bias is None else exact(layer.bias)
    groups = layer.groups if isinstance(layer, _ConvNd) else 1
    is_transposed = isinstance(layer, _ConvTransposeNd)
    return LinearMap(exact(layer.weight), bias, None, groups, is_transposed)


def scale_and_shift(norm: _BatchNorm) -> tuple[Tensor, Tensor]:
    """Return s and t of a batch norm in eval mode, y = s·x + t, in float64."""
    assert norm.running_mean is not None and norm.running_var is not None
    scale = (exact(norm.running_var) + norm.eps).rsqrt()
    if norm.weight is not None:
        scale = scale * exact(norm.weight)
    shift = -scale * exact(norm.running_mean)
    if norm.bias is not None:
        shift = shift + exact(norm.bias)
    return scale, shift


def with_norm_after(linear: LinearMap, norm: _BatchNorm) -> LinearMap:
    """Return the map that does what the given one and the batch norm after it do."""
    assert linear.taps is None
    scale, shift = scale_and_shift(norm)
    parts = _by_group(linear)
    per_group = scale.view(linear.groups, -1)
    wide = _on_axis(per_group, parts, 2 if linear.is_transposed else 1)
    bias = shift if linear.bias is None else scale * linear.bias + shift
    return replace(linear, weight=(parts * wide).reshape(linear.weight.shape), bias=bias)


def with_norm_before(linear: LinearMap, norm: _BatchNorm, *, keeps_taps: bool) -> LinearMap:
    """Return the map that does what a batch norm and the given map after it do.

    Args:
        linear: the map.
        norm: the batch norm.
        keeps_taps: leave what the shift adds as sums of each tap, instead of in the bias.
    """
    scale, shift = scale_and_shift(norm)
    parts = _by_group(linear)
    axis = 1 if linear.is_transposed else 2
    weight = parts * _on_axis(scale.view(linear.groups, -1), parts, axis)
    added = (parts * _on_axis(shift.view(linear.groups, -1), parts, axis)).sum(axis)
    taps = added.reshape(-1, *linear.weight.shape[2:])
    folded = replace(linear, weight=weight.reshape(linear.weight.shape))
    if keeps_taps:
        return replace(folded, taps=taps if linear.taps is None else linear.taps + taps)
    whole = taps.flatten(1).sum(1) if taps.dim() > 1 else taps
    return replace(folded, bias=whole if linear.bias is None else linear.bias + whole)


def _by_group(linear: LinearMap) -> Tensor:
    """Return the weight with its groups on an axis of their own, the first."""
    shape = linear.weight.shape
    return linear.weight.view(linear.groups, shape[0] // linear.groups, *shape[1:])


def _on_axis(per_group: Tensor, like: Tensor, axis: int) -> Tensor:
    """Return (groups, channels) as a tensor that multiplies one axis of another beside groups."""
    shape = [per_group.shape[0]] + [1] * (like.dim() - 1)
    shape[axis] = per_group.shape[1]
    return per_group.reshape(shape)
