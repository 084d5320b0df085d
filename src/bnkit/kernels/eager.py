"""The kernel that runs everywhere: torch's operators, fused ones for the whole passes.

The stages are composed of differentiable operators, so autograd can follow them: they also serve
the second derivative of kernels that autograd cannot follow.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from bnkit.kernels.contract import (
    ForwardResult,
    Gradients,
    Kernel,
    Reductions,
    Statistics,
    accumulation_dtype,
    along_channels,
    values_per_channel,
)


class EagerKernel(Kernel):
    """Computes in float32 for float32 and narrower, and in float64 for float64.

    Values per channel are float64 wherever the device has it: they cost nothing, and a float32
    mean alone is off by 0.004 std where mean/std = 1e5. Such a mean goes into the arithmetic on x
    as two float32 parts: x − high, exact where it matters, and low among the terms per channel.
    """

    name: ClassVar[str] = "eager"
    summary: ClassVar[str] = "torch's own operators, on any device"
    is_composed: ClassVar[bool] = True

    def refusal(self, x: Tensor) -> str | None:  # noqa: ARG002 - it takes every tensor
        """Return None: whatever torch can compute, this kernel can."""
        return None

    def statistics_dtype(self, x: Tensor) -> torch.dtype:
        """Return float64, or what comes nearest to it on the device."""
        return accumulation_dtype(x) if x.device.type == "mps" else torch.float64

    def statistics(self, x: Float[Tensor, "N C *S"]) -> Statistics:
        """Return mean = Σ x / m and var = Σ (x − mean)² / m.

        With μ the mean as first summed and rounded, and δ = Σ (x − μ)/m: mean = μ + δ and
        var = Σ (x − μ)²/m − δ², so that both stay exact where mean ≫ std.

        Cost: four passes; one temporary of x's size, two where autograd records.
        """
        m, dtype = values_per_channel(x), accumulation_dtype(x)
        if m == 0:
            zeros = torch.zeros(x.shape[1], dtype=self.statistics_dtype(x), device=x.device)
            return Statistics(zeros, zeros, 0)
        summed = self._sum(x) / m
        rounded = summed.to(dtype)
        xmu = x - along_channels(rounded, x.dim())
        delta = self._sum(xmu) / m
        # The difference of two roundings may fall below zero in a constant channel.
        var = (self._sum(_times(xmu, xmu)) / m - delta.square()).clamp_min(0)
        # A smaller δ is the rounding of x − μ, not an error of μ; a NaN one comes of an infinite
        # μ, which stands.
        noise = torch.finfo(dtype).eps * var.sqrt()
        mean = torch.where(delta.abs() > noise, rounded + delta, summed)
        return Statistics(mean, var, m)

    def normalize(
        self,
        x: Float[Tensor, "N C *S"],
        mean: Float[Tensor, " C"],
        invstd: Float[Tensor, " C"],
        weight: Float[Tensor, " C"] | None,
        bias: Float[Tensor, " C"] | None,
    ) -> Float[Tensor, "N C *S"]:
        """Return y = (x − mean)·invstd·weight + bias = (x − high)·scale + (bias − low·scale).

        Cost: three passes; one temporary of x's size where autograd records, else none beside y
        (a float32 one for a narrower x).
        """
        rank, dtype = x.dim(), accumulation_dtype(x)
        high, low = _parts(mean, dtype)
        scale = _scale(invstd, weight)
        shift = -low * scale if bias is None else bias - low * scale
        # x − high first: x·scale − mean·scale would cancel where mean ≫ std.
        y = _times(x - along_channels(high, rank), along_channels(scale.to(dtype), rank))
        return _plus(y, along_channels(shift.to(dtype), rank)).to(x.dtype)

    def backward_reduce(
        self,
        grad_output: Float[Tensor, "N C *S"],
        x: Float[Tensor, "N C *S"],
        mean: Float[Tensor, " C"],
    ) -> Reductions:
        """Return Σ dy and Σ dy·(x − mean) = Σ dy·(x − high) − low·Σ dy.

        Cost: three passes; one temporary of x's size, two where autograd records.
        """
        high, low = _parts(mean, accumulation_dtype(x))
        sum_dy = self._sum(grad_output)
        dy_xmu = _times(x - along_channels(high, x.dim()), grad_output)
        return Reductions(sum_dy, self._sum(dy_xmu) - low * sum_dy)

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
        """Return dx = weight·invstd·(dy − sum_dy/m − (x − mean)·slope).

        slope = invstd²·sum_dy_xmu/m; x − mean is (x − high) − low.

        Cost: four passes; one temporary of x's size, three where autograd records.
        """
        # An empty x has sums of zero, and nothing to divide among.
        rank, dtype, share = x.dim(), accumulation_dtype(x), 1 / max(m, 1)
        high, low = _parts(mean, dtype)
        slope = invstd.square() * reductions.sum_dy_xmu * share
        shift = low * slope - reductions.sum_dy * share
        projected = _times(x - along_channels(high, rank), along_channels(-slope.to(dtype), rank))
        centred = grad_output + along_channels(shift.to(dtype), rank)
        dx = _plus(centred, projected)
        return _times(dx, along_channels(_scale(invstd, weight).to(dtype), rank)).to(x.dtype)

    def backward_input_fixed(
        self,
        grad_output: Float[Tensor, "N C *S"],
        invstd: Float[Tensor, " C"],
        weight: Float[Tensor, " C"] | None,
    ) -> Float[Tensor, "N C *S"]:
        """Return dx = dy·weight·invstd. Cost: one pass."""
        scale = _scale(invstd, weight).to(accumulation_dtype(grad_output))
        return (grad_output * along_channels(scale, grad_output.dim())).to(grad_output.dtype)

    def _sum(self, x: Float[Tensor, "N C *S"]) -> Float[Tensor, " C"]:
        """Return Σ x per channel: within a sample in the accumulation dtype, over N in float64."""
        if x.dim() > 2:
            x = x.sum(tuple(range(2, x.dim())), dtype=accumulation_dtype(x))
        return x.sum(0, dtype=self.statistics_dtype(x))

    def forward(
        self,
        x: Float[Tensor, "N C *S"],
        weight: Float[Tensor, " C"] | None,
        bias: Float[Tensor, " C"] | None,
        eps: float,
    ) -> ForwardResult:
        """Return x normalized by its own statistics, in ATen's fused operator.

        y = (x − mean)/√(var + eps)·weight + bias.
        """
        m, dtype = values_per_channel(x), accumulation_dtype(x)
        if m < 2:
            # ATen refuses an empty x, and the unbiased variance of one value is 0/0.
            return super().forward(x, weight, bias, eps)
        # With momentum 1 the running statistics become the batch's: so ATen hands out the
        # variance itself, which could not be had from invstd where var ≪ eps.
        mean, unbiased_var = torch.zeros(2, x.shape[1], dtype=dtype, device=x.device)
        y, saved_mean, invstd = torch.native_batch_norm(
            x, _to(weight, dtype), _to(bias, dtype), mean, unbiased_var, True, 1.0, eps
        )
        wide = self.statistics_dtype(x)
        var = unbiased_var.to(wide) * ((m - 1) / m)
        return ForwardResult(y, Statistics(saved_mean.to(wide), var, m), invstd)

    def backward(
        self,
        grad_output: Float[Tensor, "N C *S"],
        x: Float[Tensor, "N C *S"],
        weight: Float[Tensor, " C"] | None,
        mean: Float[Tensor, " C"],
        invstd: Float[Tensor, " C"],
        *,
        uses_batch_statistics: bool,
        output_mask: tuple[bool, bool, bool] = (True, True, True),
    ) -> Gradients:
        """Return the gradients of x, weight and bias, in ATen's fused operator."""
        # The fused operator takes fixed statistics as a variance, which invstd would give only
        # after a rounding; on an empty x it divides by zero and takes the process down.
        if not uses_batch_statistics or x.numel() == 0:
            return super().backward(
                grad_output,
                x,
                weight,
                mean,
                invstd,
                uses_batch_statistics=uses_batch_statistics,
                output_mask=output_mask,
            )
        # The operator would add eps to a variance; it is given invstd, and does not use it.
        unused_eps = 0.0
        dtype = accumulation_dtype(x)
        if weight is None:
            # Without a weight ATen returns no gradient for one.
            weight = torch.ones_like(invstd)
        grad_x, grad_weight, grad_bias = torch.ops.aten.native_batch_norm_backward(
            grad_output,
            x,
            weight.to(dtype),
            None,
            None,
            mean.to(dtype),
            invstd.to(dtype),
            True,
            unused_eps,
            list(output_mask),
        )
        return Gradients(grad_x, grad_weight, grad_bias)


def _parts(mean: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Return `mean` rounded to `dtype`, and what the rounding took away."""
    high = mean.to(dtype)
    # An infinite mean leaves NaN, where nothing was taken away.
    return high, (mean - high).nan_to_num(nan=0.0)


def _scale(invstd: Float[Tensor, " C"], weight: Float[Tensor, " C"] | None) -> Tensor:
    return invstd if weight is None else invstd * weight


def _times(temporary: Tensor, factor: Tensor) -> Tensor:
    """Return the product, in the memory of `temporary` where autograd does not record."""
    if _needs_new_memory(temporary, factor):
        return temporary * factor
    return temporary.mul_(factor)


def _plus(temporary: Tensor, term: Tensor) -> Tensor:
    """Return the sum, in the memory of `temporary` where autograd does not record."""
    if _needs_new_memory(temporary, term):
        return temporary + term
    return temporary.add_(term)


def _needs_new_memory(temporary: Tensor, other: Tensor) -> bool:
    """Return whether autograd records, or `other` stands for a batch of tensors, under a vmap."""
    return temporary.requires_grad or other.requires_grad or not torch._C._has_storage(other)


def _to(values: Tensor | None, dtype: torch.dtype) -> Tensor | None:
    return None if values is None else values.to(dtype)


KERNEL = EagerKernel()
