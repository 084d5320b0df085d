"""The truth: textbook formulas in float64, slow. Every other kernel is compared with it."""

from __future__ import annotations

from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from bnkit.kernels.contract import (
    Kernel,
    Reductions,
    Statistics,
    along_channels,
    reduction_axes,
    values_per_channel,
)


class ReferenceKernel(Kernel):
    """Computes in float64 whatever the dtype of x, and returns y and dx in the dtype of x.

    Statistics, invstd and reductions stay in float64.

    Source: Ioffe and Szegedy 2015, "Batch Normalization: Accelerating Deep Network Training by
    Reducing Internal Covariate Shift", algorithm 1 and the gradients of section 3.
    """

    name: ClassVar[str] = "reference"
    summary: ClassVar[str] = "float64 textbook formulas, the slow truth"
    is_composed: ClassVar[bool] = True

    def refusal(self, x: Tensor) -> str | None:
        """Return why x cannot be computed in float64, or None."""
        if x.device.type == "mps":
            return "Apple's GPU has no float64"
        return None

    def statistics_dtype(self, x: Tensor) -> torch.dtype:  # noqa: ARG002 - the same for every x
        """Return float64."""
        return torch.float64

    def statistics(self, x: Float[Tensor, "N C *S"]) -> Statistics:
        """Return mean = Σ x / m and var = Σ (x − mean)² / m."""
        m = values_per_channel(x)
        if m == 0:
            zeros = torch.zeros(x.shape[1], dtype=torch.float64, device=x.device)
            return Statistics(zeros, zeros, 0)
        wide, axes = x.double(), reduction_axes(x)
        mean = wide.sum(axes) / m
        var = (wide - along_channels(mean, x.dim())).square().sum(axes) / m
        return Statistics(mean, var, m)

    def normalize(
        self,
        x: Float[Tensor, "N C *S"],
        mean: Float[Tensor, " C"],
        invstd: Float[Tensor, " C"],
        weight: Float[Tensor, " C"] | None,
        bias: Float[Tensor, " C"] | None,
    ) -> Float[Tensor, "N C *S"]:
        """Return y = (x − mean)·invstd·weight + bias."""
        y = (x.double() - _wide(mean, x)) * _wide(invstd, x)
        if weight is not None:
            y = y * _wide(weight, x)
        if bias is not None:
            y = y + _wide(bias, x)
        return y.to(x.dtype)

    def backward_reduce(
        self,
        grad_output: Float[Tensor, "N C *S"],
        x: Float[Tensor, "N C *S"],
        mean: Float[Tensor, " C"],
    ) -> Reductions:
        """Return Σ dy and Σ dy·(x − mean)."""
        dy, axes = grad_output.double(), reduction_axes(x)
        return Reductions(dy.sum(axes), (dy * (x.double() - _wide(mean, x))).sum(axes))

    def backward_input(
        self,
        grad_output: Float[Tensor, "N C *S"],
        x: Float[Tensor, "N C *S"],
        mean: Float[Tensor, " C"],
        invstd: Float[Tensor, " C"],
        weight: Float[Tensor, " C"] | None,
        *,
        reductions: Reductions,
        m: int,
    ) -> Float[Tensor, "N C *S"]:
        """Return dx = weight·invstd·(dy − sum_dy/m − x̂·sum_dy_x̂/m), x̂ = (x − mean)·invstd."""
        # An empty x has sums of zero, and nothing to divide among.
        share = 1 / max(m, 1)
        x_hat = (x.double() - _wide(mean, x)) * _wide(invstd, x)
        sum_dy_x_hat = reductions.sum_dy_xmu * invstd
        centred = grad_output.double() - _wide(reductions.sum_dy, x) * share
        dx = (centred - x_hat * (_wide(sum_dy_x_hat, x) * share)) * _wide(invstd, x)
        if weight is not None:
            dx = dx * _wide(weight, x)
        return dx.to(x.dtype)

    def backward_input_fixed(
        self,
        grad_output: Float[Tensor, "N C *S"],
        invstd: Float[Tensor, " C"],
        weight: Float[Tensor, " C"] | None,
    ) -> Float[Tensor, "N C *S"]:
        """Return dx = dy·weight·invstd."""
        scale = invstd.double() if weight is None else invstd.double() * weight.double()
        return (grad_output.double() * _wide(scale, grad_output)).to(grad_output.dtype)


def _wide(values: Float[Tensor, " C"], x: Tensor) -> Tensor:
    """Return `values` in float64, broadcasting over x."""
    return along_channels(values.double(), x.dim())


KERNEL = ReferenceKernel()
