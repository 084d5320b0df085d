"""Normalizing a batch by its moments, which a pass over statistics knows before the layer does."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

import bnkit.layers as own
from bnkit.rewrite.statistics.channel_moments import Moments

# Layers that do nothing else, and the ranks that they take. Subclasses may do more.
_RANKS: dict[type, tuple[int, ...]] = {
    nn.BatchNorm1d: (2, 3),
    nn.BatchNorm2d: (4,),
    nn.BatchNorm3d: (5,),
    own.BatchNorm1d: (2, 3),
    own.BatchNorm2d: (4,),
    own.BatchNorm3d: (5,),
}
# Of these the layers round mean and variance as they round x; narrower ones they keep in float32.
_DTYPES = (torch.float32, torch.float64)


def normalized(layer: nn.Module, x: Tensor, moments: Moments) -> Tensor | None:
    """Return what a layer in a pass makes of x, or None if only its own forward can tell.

    y = (x − mean)/√(squares/M + eps)·weight + bias, with the moments of x. The layer would sum
    for them once more.

    Args:
        layer: one that normalizes by the batch, unless the model has changed its mode since.
        x: what it received.
        moments: those of x.
    """
    ranks = _RANKS.get(type(layer), ())
    if not isinstance(layer, _BatchNorm) or not layer.training or layer.track_running_stats:
        return None
    parameters = (layer.weight, layer.bias)
    is_alike = all(p is None or p.dtype == x.dtype for p in parameters)
    if x.dtype not in _DTYPES or not is_alike:
        return None
    if x.dim() not in ranks or x.shape[1] != layer.num_features:  # it says what is wrong with it
        return None
    mean, var = moments.mean, moments.squares / moments.count
    return nn.functional.batch_norm(
        x, mean.to(x), var.to(x), *parameters, training=False, eps=layer.eps
    )
