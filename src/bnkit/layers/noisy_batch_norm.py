"""NoisyBatchNorm1d, 2d, 3d: batch norm that moves and scales its output at random in training."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from bnkit.errors import ArgumentError, ArgumentTypeError, TorchScriptError
from bnkit.functional.argument_errors import is_number
from bnkit.layers.batch_norm import BatchNorm1d, BatchNorm2d, BatchNorm3d, _BatchNormLayer

# Least value of each number of the noise: a scale below 1 would not be of U(1, n_σ).
_LEAST = {"largest_mean": 0.0, "largest_scale": 1.0, "mean_spread": 0.0, "scale_std": 0.0}


class _NoisyBatchNormLayer(_BatchNormLayer):
    """What the three layers share: everything but the ranks that they take."""

    # Of the class too, so that a layer that is given this class has them.
    largest_mean = 0.5
    largest_scale = 1.25
    mean_spread = 0.1
    scale_std = 0.1
    adds_noise = True

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        device: Any = None,
        dtype: Any = None,
        *,
        bias: bool = True,
        largest_mean: float = 0.5,
        largest_scale: float = 1.25,
        mean_spread: float = 0.1,
        scale_std: float = 0.1,
    ) -> None:
        super().__init__(
            num_features, eps, momentum, affine, track_running_stats, device, dtype, bias=bias
        )
        noise = {
            "largest_mean": largest_mean,
            "largest_scale": largest_scale,
            "mean_spread": mean_spread,
            "scale_std": scale_std,
        }
        for name, value in noise.items():
            _check(type(self).__name__, name, value)
            setattr(self, name, value)

    def _normalize(self, input: Tensor, **following: Any) -> Tensor:
        y = super()._normalize(input, **following)
        return self._noisy(y) if self.training and self.adds_noise else y

    def _noisy(self, y: Tensor) -> Tensor:
        """Return s·y + m, with m and s drawn anew for each value about those of its channel."""
        of_units = y.new_empty((1, y.shape[1], *[1] * (y.dim() - 2)))
        mean = of_units.uniform_(-self.largest_mean, self.largest_mean)
        scale = torch.empty_like(of_units).uniform_(1.0, self.largest_scale)
        like = y.detach()
        shift = torch.empty_like(like).uniform_(-self.mean_spread, self.mean_spread).add_(mean)
        factor = torch.empty_like(like).normal_(0.0, self.scale_std).add_(scale)
        return torch.addcmul(shift, factor, y)

    def extra_repr(self) -> str:
        """Return the batch norm's arguments and those of the noise."""
        noise = ", ".join(f"{name}={getattr(self, name)}" for name in _LEAST)
        return f"{super().extra_repr()}, {noise}"  # type: ignore[no-untyped-call]

    def __prepare_scriptable__(self) -> nn.Module:
        """Refuse: torch's namesake, which TorchScript could read, draws no noise."""
        raise TorchScriptError(
            f"{type(self).__name__} cannot become TorchScript",
            remedy="Load its state_dict into a network with torch's BatchNorm, which computes the "
            "same in eval mode",
        )


class NoisyBatchNorm1d(_NoisyBatchNormLayer, BatchNorm1d):
    """Batch norm whose output is moved and scaled at random in training, over (N, C) and (N, C, L).

    y = s·a + m, where a = (x − mean)/√(var + eps)·weight + bias. In each forward in training mode
    there are drawn for each channel μ ~ U(−n_μ, n_μ) and σ ~ U(1, n_σ), and for each of its values
    m ~ U(μ − r_μ, μ + r_μ) and s ~ N(σ, r_σ), from torch's generator of x's device. So the inputs
    of the layers behind it keep shifting from step to step, by more than training alone would
    shift them: with it one asks whether batch norm helps because it lessens that shift. In eval
    mode, and where `adds_noise` was set to False, y = a.

    What follows is trained on inputs that are larger by (1 + n_σ)/2 on average than in eval mode.

    Args:
        num_features, eps, momentum, affine, track_running_stats, device, dtype, bias: as of
            `BatchNorm1d`, whose `state_dict` it has.
        largest_mean: n_μ.
        largest_scale: n_σ, at least 1.
        mean_spread: r_μ.
        scale_std: r_σ, a standard deviation.

    Raises:
        ArgumentError: a number of the noise that is negative, not finite, or a largest scale below
            1; or what `BatchNorm1d` refuses.

    Cost: beyond the batch norm two random numbers and a multiplication per value, and two tensors
    of y's size, one of which is kept for backward.

    Source: Santurkar et al. 2018, "How Does Batch Normalization Help Optimization?", algorithm 1.
    """


class NoisyBatchNorm2d(_NoisyBatchNormLayer, BatchNorm2d):
    """Batch norm whose output is moved and scaled at random in training, over (N, C, H, W).

    y = s·a + m with m and s drawn for each (n, h, w) of a channel; see `NoisyBatchNorm1d`.
    """


class NoisyBatchNorm3d(_NoisyBatchNormLayer, BatchNorm3d):
    """Batch norm whose output is moved and scaled at random in training, over (N, C, D, H, W).

    y = s·a + m with m and s drawn for each (n, d, h, w) of a channel; see `NoisyBatchNorm1d`.
    """


def _check(layer: str, name: str, value: Any) -> None:
    required = f"a finite number, at least {_LEAST[name]:g}"
    if not is_number(value):
        raise ArgumentTypeError(f"got {name}={value!r}", required=required, where=layer)
    if not (math.isfinite(value) and value >= _LEAST[name]):
        raise ArgumentError(f"got {name}={value!r}", required=required, where=layer)
