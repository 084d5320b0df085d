"""Gives a kernel's forward and backward to autograd."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from bnkit.kernels.dispatch import EAGER, Kernel, Statistics, inverse_std, kernel_named


class BatchNormFunction(torch.autograd.Function):
    """Batch norm by a kernel, differentiable twice.

    The first derivative is the kernel's. Where autograd records the backward too, it is computed
    from stages that autograd can follow: the kernel's own if they are composed of torch's
    operators, else those of the eager kernel.

    Returns (y, mean, var, invstd): the statistics that x was normalized with, for the running
    ones. They pass no gradient on.
    """

    @staticmethod
    def forward(
        x: Float[Tensor, "N C *S"],
        weight: Float[Tensor, " C"] | None,
        bias: Float[Tensor, " C"] | None,
        fixed_mean: Float[Tensor, " C"] | None,
        fixed_var: Float[Tensor, " C"] | None,
        eps: float,
        kernel: Kernel,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return y, mean, var and invstd; x's own statistics unless fixed ones are given."""
        if fixed_mean is None or fixed_var is None:
            y, statistics, invstd = kernel.forward(x, weight, bias, eps)
            return y, statistics.mean, statistics.var, invstd
        # Copies: the buffers may move on before the backward.
        wide = kernel.statistics_dtype(x)
        mean, var = fixed_mean.to(wide, copy=True), fixed_var.to(wide, copy=True)
        invstd = inverse_std(var, eps)
        return kernel.normalize(x, mean, invstd, weight, bias), mean, var, invstd

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        """Keep what the backward needs."""
        x, weight, bias, fixed_mean, _, eps, kernel = inputs
        _, mean, var, invstd = output
        ctx.mark_non_differentiable(mean, var, invstd)
        ctx.save_for_backward(x, weight, bias, mean, var, invstd)
        ctx.uses_batch_statistics = fixed_mean is None
        ctx.eps, ctx.kernel = eps, kernel

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Any) -> tuple[Any, ...]:
        """Return the gradients of x, weight and bias."""
        grad_output = grad_outputs[0]
        x, weight, bias, mean, var, invstd = ctx.saved_tensors
        kernel: Kernel = ctx.kernel
        if not torch.is_grad_enabled() and kernel.refusal(grad_output) is None:
            x_bar, weight_bar, bias_bar = kernel.backward(
                grad_output,
                x,
                weight,
                mean,
                invstd,
                uses_batch_statistics=ctx.uses_batch_statistics,
                output_mask=ctx.needs_input_grad[:3],
            )
        else:
            x_bar, weight_bar, bias_bar = differentiable_gradients(
                kernel if kernel.is_composed else kernel_named(EAGER),
                grad_output,
                (x, weight, bias),
                (mean, var),
                ctx.eps,
                uses_batch_statistics=ctx.uses_batch_statistics,
                output_mask=ctx.needs_input_grad[:3],
            )
        return x_bar, _like(weight_bar, weight), _like(bias_bar, bias), None, None, None, None


def differentiable_gradients(
    composed: Kernel,
    grad_output: Tensor,
    inputs: tuple[Tensor, Tensor | None, Tensor | None],
    statistics: tuple[Tensor, Tensor],
    eps: float,
    *,
    uses_batch_statistics: bool,
    output_mask: tuple[bool, bool, bool],
) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    """Return the gradients of x, weight and bias in operators that autograd can follow.

    Args:
        composed: a kernel of torch's operators.
        grad_output: gradient of y.
        inputs: x, weight and bias.
        statistics: mean and var; used where they are not those of x.
        eps: added to the variance.
        uses_batch_statistics: whether they are those of x: they are then computed anew, because
            what was saved has forgotten how it came from x.
        output_mask: which of x, weight and bias need a gradient.
    """
    x, weight, bias = inputs
    mean, var = statistics
    if uses_batch_statistics:
        mean, var, _ = composed.statistics(x)
    found = Kernel.backward(
        composed,
        grad_output,
        x,
        weight,
        mean,
        inverse_std(var, eps),
        uses_batch_statistics=uses_batch_statistics,
        output_mask=output_mask,
    )
    return found.x, _like(found.weight, weight), _like(found.bias, bias)


def statistics_of(x: Tensor, mean: Tensor, var: Tensor) -> Statistics:
    """Return what `BatchNormFunction` gave out, with the number of values it was taken over."""
    return Statistics(mean, var, x.numel() // max(x.shape[1], 1))


def _like(gradient: Tensor | None, parameter: Tensor | None) -> Tensor | None:
    """Return the gradient in its parameter's dtype."""
    return None if gradient is None or parameter is None else gradient.to(parameter.dtype)
