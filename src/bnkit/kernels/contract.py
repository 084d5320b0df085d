"""What a kernel supplies: the four stages of batch norm, and the whole forward and backward.

    forward    statistics → normalize
    backward   backward_reduce → backward_input

The stages are where ATen cuts batch norm. A synchronised layer merges what *statistics* and
*backward_reduce* return over devices, a ghost layer runs them on parts of the batch, a
renormalised layer puts other numbers into *normalize*; a plain layer uses the whole.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar, NamedTuple, Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from typing_extensions import TypeIs


class Statistics(NamedTuple):
    """Statistics of each channel over its `m` values; all zero where `m` is zero.

    `var` divides by `m` (biased): it is the one that normalizes. Both are in the kernel's
    `statistics_dtype`, never narrower than float32.
    """

    mean: Float[Tensor, " C"]
    var: Float[Tensor, " C"]
    m: int


class Reductions(NamedTuple):
    """The two sums per channel that every gradient of batch norm is made from.

    sum_dy = Σ dy, sum_dy_xmu = Σ dy·(x − mean).
    """

    sum_dy: Float[Tensor, " C"]
    sum_dy_xmu: Float[Tensor, " C"]


class ForwardResult(NamedTuple):
    """The output, and what the backward and the running statistics need."""

    y: Float[Tensor, "N C *S"]
    statistics: Statistics
    invstd: Float[Tensor, " C"]


class Gradients(NamedTuple):
    """Gradients of x, weight and bias; None where the output mask left one out."""

    x: Float[Tensor, "N C *S"] | None
    weight: Float[Tensor, " C"] | None
    bias: Float[Tensor, " C"] | None


@runtime_checkable
class Kernel(Protocol):
    """Batch norm's arithmetic on raw tensors, for some devices, dtypes and layouts.

    A kernel subclasses this, gives the four stages, and overrides `forward` and `backward` where
    one pass over cached data is faster than the stages one after the other.

    Attributes:
        name: what `use_kernel` and `kernel_for` call it.
        summary: what it is, in a few words: the reason that `kernel_for` prints.
        is_composed: True if the stages are composed of torch's differentiable operators, so that
            autograd can follow them for a second derivative.
    """

    name: ClassVar[str]
    summary: ClassVar[str]
    is_composed: ClassVar[bool]

    @abstractmethod
    def refusal(self, x: Tensor) -> str | None:
        """Return why this kernel cannot take `x`, or None if it can."""

    def statistics_dtype(self, x: Tensor) -> torch.dtype:
        """Return the dtype that this kernel keeps statistics of x in."""
        return accumulation_dtype(x)

    def reluctance(self, x: Tensor, *, training: bool, is_followed: bool) -> str | None:  # noqa: ARG002 - for kernels that have one
        """Return why `auto` leaves `x` to another kernel, though this one can take it, or None.

        Args:
            x: (N, C, *S).
            training: whether x is normalized by its own statistics.
            is_followed: whether an addition or activation follows that kernels may fuse.
        """
        return None

    @abstractmethod
    def statistics(self, x: Float[Tensor, "N C *S"]) -> Statistics:
        """Return mean and biased variance of each channel.

        mean = Σ x / m, var = Σ (x − mean)² / m, over the m = N·|S| values of a channel.
        """

    @abstractmethod
    def normalize(
        self,
        x: Float[Tensor, "N C *S"],
        mean: Float[Tensor, " C"],
        invstd: Float[Tensor, " C"],
        weight: Float[Tensor, " C"] | None,
        bias: Float[Tensor, " C"] | None,
    ) -> Float[Tensor, "N C *S"]:
        """Return y = (x − mean)·invstd·weight + bias, in the dtype of x."""

    @abstractmethod
    def backward_reduce(
        self,
        grad_output: Float[Tensor, "N C *S"],
        x: Float[Tensor, "N C *S"],
        mean: Float[Tensor, " C"],
    ) -> Reductions:
        """Return Σ dy and Σ dy·(x − mean) of each channel.

        The bias's gradient is the first, the weight's is the second times invstd.
        """

    @abstractmethod
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
        """Return the gradient of x where mean and var were statistics over `m` values.

        dx = weight·invstd·(dy − sum_dy/m − (x − mean)·invstd²·sum_dy_xmu/m).

        `reductions` and `m` are those of all the values that the statistics were taken over:
        more than x holds, where the statistics were merged.
        """

    @abstractmethod
    def backward_input_fixed(
        self,
        grad_output: Float[Tensor, "N C *S"],
        invstd: Float[Tensor, " C"],
        weight: Float[Tensor, " C"] | None,
    ) -> Float[Tensor, "N C *S"]:
        """Return the gradient of x where mean and var did not depend on it: dy·weight·invstd."""

    def forward(
        self,
        x: Float[Tensor, "N C *S"],
        weight: Float[Tensor, " C"] | None,
        bias: Float[Tensor, " C"] | None,
        eps: float,
    ) -> ForwardResult:
        """Return x normalized by its own statistics: y = (x − mean)/√(var + eps)·weight + bias."""
        statistics = self.statistics(x)
        invstd = inverse_std(statistics.var, eps)
        y = self.normalize(x, statistics.mean, invstd, weight, bias)
        return ForwardResult(y, statistics, invstd)

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
        """Return the gradients of x, weight and bias.

        Args:
            grad_output: gradient of y, (N, C, *S).
            x: what the forward was given.
            weight: (C,), or None.
            mean, invstd: what x was normalized with, (C,).
            uses_batch_statistics: whether they are x's own, so that they pass gradient on to it.
            output_mask: which of x, weight and bias need a gradient.
        """
        wants_x, wants_weight, wants_bias = output_mask
        needs_sums = wants_weight or wants_bias or (wants_x and uses_batch_statistics)
        sums = self.backward_reduce(grad_output, x, mean) if needs_sums else None
        grad_x = None
        if wants_x and uses_batch_statistics and sums is not None:
            grad_x = self.backward_input(
                grad_output, x, mean, invstd, weight, reductions=sums, m=values_per_channel(x)
            )
        elif wants_x:
            grad_x = self.backward_input_fixed(grad_output, invstd, weight)
        return Gradients(
            grad_x,
            sums.sum_dy_xmu * invstd if wants_weight and sums is not None else None,
            sums.sum_dy if wants_bias and sums is not None else None,
        )


class FusedForwardResult(NamedTuple):
    """The output, and the statistics that x was normalized with: mean, var, invstd in rows."""

    y: Float[Tensor, "N C *S"]
    statistics: Float[Tensor, "3 C"]


class FusedGradients(NamedTuple):
    """Gradients of x, weight, bias and residual; None where the output mask left one out."""

    x: Float[Tensor, "N C *S"] | None
    weight: Float[Tensor, " C"] | None
    bias: Float[Tensor, " C"] | None
    residual: Float[Tensor, "N C *S"] | None


class FusingKernel(Kernel, Protocol):
    """A kernel that also adds, activates and moves running statistics in its passes over x.

    Attributes:
        fused_activations: the names of the activations that it fuses, beside None.
    """

    fused_activations: ClassVar[frozenset[str]]

    @abstractmethod
    def fused_forward(
        self,
        x: Float[Tensor, "N C *S"],
        weight: Float[Tensor, " C"] | None,
        bias: Float[Tensor, " C"] | None,
        running_mean: Float[Tensor, " C"] | None,
        running_var: Float[Tensor, " C"] | None,
        residual: Float[Tensor, "N C *S"] | None,
        *,
        uses_batch_statistics: bool,
        momentum: float = 0.0,
        counter: Int64[Tensor, ""] | None = None,
        eps: float,
        activation: str | None = None,
        negative_slope: float = 0.0,
    ) -> FusedForwardResult:
        """Return y = activation((x − mean)·invstd·weight + bias + residual), and the statistics.

        Args:
            x, weight, bias: as of `forward`.
            running_mean, running_var: (C,), of the dtype of weight and bias. With the batch's
                statistics they are moved in place by the rule of `update_running_statistics`, or
                are None; else they are what x is normalized with.
            residual: the shape and dtype of x, or None.
            uses_batch_statistics: whether mean and var are those of x.
            momentum: weight of the new batch in the running statistics.
            counter: how many batches the running statistics have seen; 1 is added where they are
                moved. None where nobody counts.
            eps: added to the variance.
            activation: one of `fused_activations`, or None.
            negative_slope: of "leaky_relu"; not negative where there is a residual.
        """

    @abstractmethod
    def fused_backward(
        self,
        grad_output: Float[Tensor, "N C *S"],
        x: Float[Tensor, "N C *S"],
        weight: Float[Tensor, " C"] | None,
        bias: Float[Tensor, " C"] | None,
        y: Float[Tensor, "N C *S"] | None,
        statistics: Float[Tensor, "3 C"],
        *,
        uses_batch_statistics: bool,
        activation: str | None = None,
        negative_slope: float = 0.0,
        output_mask: tuple[bool, bool, bool, bool] = (True, True, True, True),
    ) -> FusedGradients:
        """Return the gradients of x, weight, bias and residual.

        Args:
            grad_output: gradient of y.
            x, weight, bias: what the forward was given.
            y: its output, where it had a residual and an activation; else None.
            statistics: what the forward returned.
            uses_batch_statistics, activation, negative_slope: as of the forward.
            output_mask: which of x, weight, bias and residual need a gradient.
        """


class SummingKernel(Kernel, Protocol):
    """A kernel that also sums in float64 whatever the dtype, without a copy of x in float64."""

    @abstractmethod
    def exact_statistics(self, x: Float[Tensor, "N C *S"]) -> Statistics:
        """Return what `statistics` does, in float64, of sums that are float64 throughout."""


def sums_exactly(kernel: Kernel) -> TypeIs[SummingKernel]:
    """Return whether a kernel is one that sums in float64."""
    return hasattr(kernel, "exact_statistics")


def fuses(kernel: Kernel) -> TypeIs[FusingKernel]:
    """Return whether a kernel is one that fuses; `isinstance` would look at every method."""
    return hasattr(kernel, "fused_activations")


def accumulation_dtype(x: Tensor) -> torch.dtype:
    """Return the dtype that sums over `x` are kept in: its own, but float32 at least."""
    return torch.promote_types(x.dtype, torch.float32)


def reduction_axes(x: Float[Tensor, "N C *S"]) -> tuple[int, ...]:
    """Return the axes that statistics run over: all but the channels'."""
    return (0, *range(2, x.dim()))


def values_per_channel(x: Float[Tensor, "N C *S"]) -> int:
    """Return m = N·|S|."""
    m = x.shape[0]
    for size in x.shape[2:]:
        m *= size
    return m


def along_channels(values: Float[Tensor, " C"], rank: int) -> Float[Tensor, "1 C *S"]:
    """Return `values` with axes of size one, so that it broadcasts over a tensor of `rank`."""
    return values.view(1, values.numel(), *([1] * (rank - 2)))


def inverse_std(var: Float[Tensor, " C"], eps: float) -> Float[Tensor, " C"]:
    """Return invstd = 1/√(var + eps)."""
    # sqrt and the division round correctly; rsqrt is an approximation on some devices.
    return 1 / torch.sqrt(var + eps)


def merge_statistics(first: Statistics, second: Statistics) -> Statistics:
    """Return the statistics of two parts taken together.

    With δ = mean₂ − mean₁ and m = m₁ + m₂:
    mean = mean₁ + δ·m₂/m, var = (m₁·var₁ + m₂·var₂)/m + δ²·m₁·m₂/m².

    Source: Chan, Golub and LeVeque 1979, "Updating formulae and a pairwise algorithm for
    computing sample variances".
    """
    m = first.m + second.m
    if m == 0:
        return first
    share = second.m / m
    delta = second.mean - first.mean
    var = first.var * (1 - share) + second.var * share + delta.square() * (share * (1 - share))
    return Statistics(first.mean + delta * share, var, m)
