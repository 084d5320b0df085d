"""Mean and squared deviations of each channel, of values that come in parts of any size."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from bnkit.kernels.dispatch import EAGER, fast_kernels, kernel_named

# Below so many values float64 costs nothing; above, it is taken where mean/std is larger than FAR:
# there the sums of a kernel in float32, each value rounded to a coarse grid, are off by some 5e-7.
_FEW, _FAR = 2**14, 256.0
# Values that are widened to float64 at a time.
_PART = 2**20


@dataclass(frozen=True)
class Moments:
    """What has been seen of one layer's input.

    Attributes:
        count: values per channel, M.
        mean: Σ x / M, (C,), float64.
        squares: Σ (x − mean)², (C,), float64.
        calls: how many calls of the layer the values came from.
    """

    count: int
    mean: Tensor
    squares: Tensor
    calls: int = 1

    @property
    def var(self) -> Tensor:
        """The unbiased variance, Σ (x − mean)²/(M − 1)."""
        return self.squares / (self.count - 1)

    @property
    def are_finite(self) -> bool:
        """Whether neither NaN nor infinity was among the values."""
        return bool((self.mean.isfinite() & self.squares.isfinite()).all())

    def merged(self, other: Moments) -> Moments:
        """Return the moments of both parts together.

        With δ = mean₂ − mean₁ and M = M₁ + M₂: mean = mean₁ + δ·M₂/M,
        squares = squares₁ + squares₂ + δ²·M₁·M₂/M.

        Source: Chan, Golub and LeVeque 1979, "Updating formulae and a pairwise algorithm for
        computing sample variances".
        """
        count = self.count + other.count
        delta = other.mean - self.mean
        spread = delta.square() * (self.count * (other.count / count))
        return Moments(
            count,
            self.mean + delta * (other.count / count),
            self.squares + other.squares + spread,
            self.calls + other.calls,
        )

    def cpu(self) -> Moments:
        """Return the same on the CPU."""
        return Moments(self.count, self.mean.cpu(), self.squares.cpu(), self.calls)


def merge(parts: list[Moments]) -> Moments:
    """Return the moments of one or more parts together."""
    whole = parts[0]
    for part in parts[1:]:
        whole = whole.merged(part)
    return whole


def moments_of(x: Tensor) -> Moments:
    """Return the moments of (N, C, *S), of at least one value per channel.

    Cost: one pass with the kernel for this CPU; two or more in float64, where mean/std is large or
    the values are few.
    """
    x = x.detach()
    count = x.numel() // x.shape[1]
    if x.device.type == "mps":  # it has no float64
        x = x.cpu()
    if x.numel() <= _FEW:
        return _exact(x)
    statistics = kernel_named((*fast_kernels(x), EAGER)[0]).statistics(x)
    mean, var = statistics.mean.double(), statistics.var.double()
    if x.is_cpu and bool(((mean.abs() > _FAR * var.sqrt()) & (var > 0)).any()):
        return _exact(x)
    return Moments(count, mean, var * count)


def _exact(x: Tensor) -> Moments:
    axes = (0, *range(2, x.dim()))
    rows = max(1, _PART * len(x) // x.numel())
    parts = []
    for part in torch.split(x, rows):
        var, mean = torch.var_mean(part.double(), axes, correction=0)
        count = part.numel() // part.shape[1]
        parts.append(Moments(count, mean, var * count))
    whole = merge(parts)
    return Moments(whole.count, whole.mean, whole.squares)
