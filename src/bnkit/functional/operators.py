"""`torch.ops.bnkit`: the fast kernel as operators, for graphs that torch.compile captures.

An operator must say what it returns without computing it, and must not change its inputs if it is
to have a derivative: so the statistics are returned, and another operator moves the running ones.
Called one by one they cost twice what `FusedFunction` costs, so eager mode does not use them.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor

from bnkit.functional.activation import Following
from bnkit.functional.argument_errors import Arguments
from bnkit.functional.running_statistics import update_running_statistics
from bnkit.kernels.dispatch import NUMBA, FusingKernel, Statistics, kernel_named

_FORWARD = (
    "(Tensor x, Tensor? weight, Tensor? bias, Tensor? fixed_mean, Tensor? fixed_var, "
    "Tensor? residual, float eps, str? activation, float negative_slope) -> (Tensor, Tensor)"
)
_BACKWARD = (
    "(Tensor grad_output, Tensor x, Tensor? weight, Tensor? bias, Tensor? y, Tensor statistics, "
    "bool uses_batch_statistics, str? activation, float negative_slope, bool[] output_mask) "
    "-> (Tensor, Tensor, Tensor, Tensor)"
)
_UPDATE = (
    "(Tensor(a!) running_mean, Tensor(b!) running_var, Tensor statistics, int m, float momentum)"
    " -> ()"
)


# Loaded now, because graph capture cannot import.
_KERNEL = cast(FusingKernel, kernel_named(NUMBA))


@torch.library.custom_op("bnkit::batch_norm", mutates_args=(), schema=_FORWARD)
def forward_operator(
    x: Any,
    weight: Any,
    bias: Any,
    fixed_mean: Any,
    fixed_var: Any,
    residual: Any,
    eps: Any,
    activation: Any,
    negative_slope: Any,
) -> Any:
    """Return y, and mean, var and invstd in rows: those of x unless fixed ones are given."""
    found = _KERNEL.fused_forward(
        x,
        weight,
        bias,
        fixed_mean,
        fixed_var,
        residual,
        uses_batch_statistics=fixed_mean is None,
        eps=eps,
        activation=activation,
        negative_slope=negative_slope,
    )
    return found.y, found.statistics


@forward_operator.register_fake
def _(x: Any, *_: Any) -> Any:
    return torch.empty_like(x), x.new_empty((3, x.shape[1]), dtype=torch.float64)


@torch.library.custom_op("bnkit::batch_norm_backward", mutates_args=(), schema=_BACKWARD)
def backward_operator(
    grad_output: Any,
    x: Any,
    weight: Any,
    bias: Any,
    y: Any,
    statistics: Any,
    uses_batch_statistics: Any,
    activation: Any,
    negative_slope: Any,
    output_mask: Any,
) -> Any:
    """Return the gradients of x, weight, bias and residual; an empty tensor for each left out."""
    found = _KERNEL.fused_backward(
        grad_output,
        x,
        weight,
        bias,
        y,
        statistics,
        uses_batch_statistics=uses_batch_statistics,
        activation=activation,
        negative_slope=negative_slope,
        output_mask=tuple(output_mask),
    )
    # An operator must not return one of its inputs, as a residual's gradient may be.
    return tuple(
        x.new_empty(0) if gradient is None else _own(gradient, grad_output) for gradient in found
    )


def _own(gradient: Tensor, grad_output: Tensor) -> Tensor:
    return gradient.clone() if gradient is grad_output else gradient


@backward_operator.register_fake
def _(*arguments: Any) -> Any:
    _, x, weight, bias, *_, output_mask = arguments
    like = (x, weight, bias, x)
    return tuple(
        torch.empty_like(tensor) if is_wanted else x.new_empty(0)
        for tensor, is_wanted in zip(like, output_mask, strict=True)
    )


@torch.library.custom_op(
    "bnkit::update_running_statistics",
    mutates_args=("running_mean", "running_var"),
    schema=_UPDATE,
)
def update_operator(
    running_mean: Any, running_var: Any, statistics: Any, m: Any, momentum: Any
) -> Any:
    """Move the running statistics: `update_running_statistics`, as an operator."""
    batch = Statistics(statistics[0], statistics[1], m)
    update_running_statistics(running_mean, running_var, batch, momentum)


@update_operator.register_fake
def _(*_: Any) -> None:
    return None


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    x, weight, bias, fixed_mean, _, residual, _, activation, negative_slope = inputs
    y, statistics = output
    ctx.mark_non_differentiable(statistics)
    kept_y = y if residual is not None and activation is not None else None
    ctx.save_for_backward(x, weight, bias, kept_y, statistics)
    ctx.options = fixed_mean is None, activation, negative_slope
    ctx.has_residual = residual is not None


def _backward(ctx: Any, grad_output: Tensor, _: Tensor) -> tuple[Any, ...]:
    x, weight, bias, y, statistics = ctx.saved_tensors
    wanted = ctx.needs_input_grad
    mask = [wanted[0], wanted[1], wanted[2], wanted[5]]
    found = torch.ops.bnkit.batch_norm_backward(
        grad_output, x, weight, bias, y, statistics, *ctx.options, mask
    )
    grads = [
        gradient if is_wanted else None for gradient, is_wanted in zip(found, mask, strict=True)
    ]
    return (*grads[:3], None, None, grads[3], None, None, None)


forward_operator.register_autograd(_backward, setup_context=_setup_context)


def batch_norm_in_graph(given: Arguments, following: Following) -> Tensor:
    """Return the batch norm and what follows it, in operators that a graph can hold."""
    x, running_mean, running_var, weight, bias, training, momentum, eps = given
    activation, negative_slope, residual = following
    y: Tensor
    y, statistics = torch.ops.bnkit.batch_norm(
        x,
        weight,
        bias,
        None if training else running_mean,
        None if training else running_var,
        residual,
        eps,
        activation,
        negative_slope,
    )
    if training and running_mean is not None:
        m = x.numel() // x.shape[1]
        torch.ops.bnkit.update_running_statistics(
            running_mean, running_var, statistics, m, momentum
        )
    return y
