"""Mean and squared deviations of each channel, of values that come in parts of any size."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from bnkit.kernels.dispatch import exact_statistics

# Values that are widened to float64 at a time: they stay in a cache between the passes.
_PART = 2**18


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

    Large tensors by a kernel that sums in float64 in one read, if one takes them. Else of each part
    of x, in float64: μ = Σ x / m as summed, δ = Σ (x − μ)/m, mean = μ + δ and
    squares = Σ (x − μ)² − m·δ². So nothing cancels where mean ≫ std.

    Cost: some 0.5 ns per value and CPU core by a kernel, and else 2 ns, of which a forward takes
    many more.
    """
    x = x.detach()
    exact = exact_statistics(x)
    if exact is not None:
        return Moments(exact.m, exact.mean, exact.var * exact.m)
    if x.device.type == "mps":  # it has no float64
        x = x.cpu()
    axes, shape = (0, *range(2, x.dim())), (1, -1, *[1] * (x.dim() - 2))
    parts = []
    for part in torch.split(x, max(1, _PART * len(x) // x.numel())):
        count = part.numel() // part.shape[1]
        xmu = part.to(torch.float64, copy=True)
        mean = xmu.sum(axes) / count
        xmu -= mean.view(shape)
        delta = xmu.sum(axes) / count
        squares = xmu.square_().sum(axes) - count * delta.square()
        parts.append(Moments(count, mean + delta, squares.clamp_min(0.0)))
    whole = merge(parts)
    return Moments(whole.count, whole.mean, whole.squares)
