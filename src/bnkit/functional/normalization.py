"""`batch_norm`: torch's function, computed by the kernel that the tensor gets; and what follows."""

from __future__ import annotations

import torch
import torch.nn.functional
from torch import Tensor

from bnkit.functional.activation import (
    DEFAULT_NEGATIVE_SLOPE,
    add_and_activate,
    check_activation,
    check_residual,
)
from bnkit.functional.argument_errors import Arguments, explain
from bnkit.functional.autograd_function import BatchNormFunction, statistics_of
from bnkit.functional.running_statistics import update_running_statistics
from bnkit.functional.unchecked import no_type_check
from bnkit.kernels.dispatch import EAGER, Kernel, kernel_named, select


@no_type_check
def batch_norm(
    x: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
    *,
    activation: str | None = None,
    negative_slope: float = DEFAULT_NEGATIVE_SLOPE,
    residual: Tensor | None = None,
    kernel: str | None = None,
) -> Tensor:
    """Normalize each channel of x, scale and shift it; then add and activate, if asked to.

    y = activation((x − mean)/√(var + eps)·weight + bias + residual), where in training mean and
    var are the batch's, var = Σ (x − mean)²/m, and else they are running_mean and running_var.
    Training also moves the running statistics by `update_running_statistics`, with the unbiased
    variance Σ (x − mean)²/(m − 1).

    Args:
        x: (N, C, *S); float16, bfloat16, float32 or float64.
        running_mean, running_var: (C,), or both None in training; updated in place.
        weight, bias: (C,) or None; the dtype of x, or float32 under a narrower x.
        training: whether to normalize with the batch's own statistics.
        momentum: weight of the new batch in the running statistics.
        eps: added to the variance.
        activation: "relu", "leaky_relu", "relu6" …, one of `activation_names()`, or None.
        negative_slope: of "leaky_relu".
        residual: added before the activation; the shape of x, or None. One of another dtype
            promotes y as torch's addition does.
        kernel: the kernel that computes it; None takes what `use_kernel` asks for, else "auto".

    Returns:
        y: shape, dtype and memory format of x.

    Raises:
        BnkitError: the arguments do not fit; also of the built-in type that
            `torch.nn.functional.batch_norm` raises for the same mistake.
        KernelUnavailableError: the kernel asked for by name cannot take x.

    Cost: two passes over x forward and two backward; keeps x and 2C further values for backward.
    Source: Ioffe and Szegedy 2015, algorithms 1 and 2.
    """
    if activation is not None or residual is not None:
        check_activation(activation, negative_slope)
        check_residual(x, residual)
        y = batch_norm(
            x, running_mean, running_var, weight, bias, training, momentum, eps, kernel=kernel
        )
        return add_and_activate(y, residual, activation, negative_slope)
    name = EAGER if not isinstance(x, Tensor) else select(x, kernel)
    if name != EAGER:
        return _by_kernel(
            kernel_named(name),
            Arguments(x, running_mean, running_var, weight, bias, training, momentum, eps),
        )
    try:
        # torch's function carries all that is built on it: second derivatives, forward mode,
        # vmap, compile, export, autocast, __torch_function__.
        return torch.nn.functional.batch_norm(
            x, running_mean, running_var, weight, bias, training, momentum, eps
        )
    except (ValueError, TypeError, AttributeError, IndexError, RuntimeError) as error:
        given = Arguments(x, running_mean, running_var, weight, bias, training, momentum, eps)
        better = explain(given, error)
        if better is None:
            raise
        raise better from error


def _by_kernel(kernel: Kernel, arguments: Arguments) -> Tensor:
    mistake = explain(arguments)
    if mistake is not None:
        raise mistake
    x, running_mean, running_var, weight, bias, training, momentum, eps = arguments
    y: Tensor
    y, mean, var, _ = BatchNormFunction.apply(  # type: ignore[no-untyped-call]
        x,
        weight,
        bias,
        None if training else running_mean,
        None if training else running_var,
        eps,
        kernel,
    )
    if training and running_mean is not None:
        batch = statistics_of(x, mean, var)
        update_running_statistics(running_mean, running_var, batch, momentum)
    return y
