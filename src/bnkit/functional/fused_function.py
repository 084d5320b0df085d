"""Gives the passes of a fusing kernel to autograd: batch norm, add and activation in one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from bnkit.functional.activation import LEAKY_RELU
from bnkit.functional.autograd_function import differentiable_gradients
from bnkit.kernels.dispatch import EAGER, FusingKernel, kernel_named


class FusedFunction(torch.autograd.Function):
    """Batch norm by a fusing kernel, differentiable twice.

    The first derivative is the kernel's. Where autograd records the backward too, it is computed
    by torch's own operators, which autograd can follow.

    `setup_context` is left out on purpose: only with it could `torch.func` transform this
    function, and it would have to return the statistics; transforms get torch's operator instead.
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: Float[Tensor, "N C *S"],
        weight: Float[Tensor, " C"] | None,
        bias: Float[Tensor, " C"] | None,
        residual: Float[Tensor, "N C *S"] | None,
        running_mean: Float[Tensor, " C"] | None,
        running_var: Float[Tensor, " C"] | None,
        training: bool,
        momentum: float,
        eps: float,
        activation: str | None,
        negative_slope: float,
        kernel: FusingKernel,
        counter: Int64[Tensor, ""] | None,
    ) -> Tensor:
        """Return y; in training, move the running statistics and count the batch."""
        y, statistics = kernel.fused_forward(
            x,
            weight,
            bias,
            running_mean,
            running_var,
            residual,
            uses_batch_statistics=training,
            momentum=momentum,
            counter=counter,
            eps=eps,
            activation=activation,
            negative_slope=negative_slope,
        )
        # An activation's output tells where it passes gradients; without a residual, x does too.
        kept_y = y if residual is not None and activation is not None else None
        # The bias is needed to find on which side of the activation x lies, or to know its dtype.
        is_needed = (activation is not None and residual is None) or weight is None
        ctx.save_for_backward(x, weight, bias if is_needed else None, kept_y, statistics)
        ctx.has_residual = residual is not None
        ctx.options = training, eps, activation, negative_slope, kernel
        return y

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Any) -> tuple[Any, ...]:
        """Return the gradients of x, weight, bias and residual."""
        x, weight, bias, y, statistics = ctx.saved_tensors
        training, _, activation, negative_slope, kernel = ctx.options
        wanted = ctx.needs_input_grad[:4]
        # A batch of gradients, too, is followed by torch's operators.
        if torch.is_grad_enabled() or kernel.refusal(grad_outputs[0]) is not None:
            found = _differentiable_gradients(ctx, grad_outputs[0], wanted)
        else:
            found = kernel.fused_backward(
                grad_outputs[0],
                x,
                weight,
                bias,
                y,
                statistics,
                uses_batch_statistics=training,
                activation=activation,
                negative_slope=negative_slope,
                output_mask=wanted,
            )
        return (*found, None, None, None, None, None, None, None, None, None)


# What `Function.apply` does beyond its base is for tensors of torch.func, which this kernel does
# not take; it would be a fifth of the time of a call.
apply_fused: Callable[..., Tensor] = super(torch.autograd.Function, FusedFunction).apply


def _differentiable_gradients(
    ctx: Any, grad_output: Tensor, wanted: tuple[bool, bool, bool, bool]
) -> tuple[Tensor | None, ...]:
    """Return the gradients in operators of torch, which autograd can follow."""
    x, weight, bias, y, (mean, var, invstd) = ctx.saved_tensors
    training, eps, activation, negative_slope, _ = ctx.options
    if activation is not None:
        if y is None:
            with torch.no_grad():
                y = kernel_named(EAGER).normalize(x, mean, invstd, weight, bias)
        grad_output = _through(activation, negative_slope, y, grad_output)
    found = differentiable_gradients(
        kernel_named(EAGER),
        grad_output,
        (x, weight, bias),
        (mean, var),
        eps,
        uses_batch_statistics=training,
        output_mask=wanted[:3],
    )
    return (*found, grad_output if wanted[3] else None)


def _through(activation: str, negative_slope: float, y: Tensor, grad_output: Tensor) -> Tensor:
    """Return the gradient of an activation's input, where its output (or its input) is y."""
    if activation == LEAKY_RELU:
        return torch.where(y > 0, grad_output, grad_output * negative_slope)
    is_flat = (y <= 0) | (y >= 6) if activation == "relu6" else y <= 0
    return grad_output.masked_fill(is_flat, 0.0)
