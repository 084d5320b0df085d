"""`batch_norm`: torch's function, computed by the kernel that the tensor gets; and what follows."""

from __future__ import annotations

import torch
import torch.nn.functional
from torch import Tensor

from bnkit.functional.activation import (
    DEFAULT_NEGATIVE_SLOPE,
    LEAKY_RELU,
    NOTHING,
    Following,
    add_and_activate,
    check_activation,
    check_residual,
)
from bnkit.functional.argument_errors import Arguments, explain
from bnkit.functional.autograd_function import BatchNormFunction, statistics_of
from bnkit.functional.fused_function import apply_fused
from bnkit.functional.operators import batch_norm_in_graph
from bnkit.functional.running_statistics import update_running_statistics
from bnkit.functional.unchecked import no_type_check
from bnkit.kernels.dispatch import (
    EAGER,
    FusingKernel,
    Kernel,
    fuses,
    is_automatic,
    kernel_named,
    select,
)

# Activations that cost a pass over memory and little else, so that kernels fuse them.
_CHEAP = ("relu", "leaky_relu", "relu6")
_PLAIN = (Tensor, torch.nn.Parameter)
_NARROW = (torch.bfloat16, torch.float16)


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
    follows = activation is not None or residual is not None
    if follows:
        check_activation(activation, negative_slope)
        check_residual(x, residual)
    if isinstance(x, Tensor):
        is_followed = residual is not None or activation in _CHEAP
        name = select(x, kernel, training=bool(training), is_followed=is_followed)
    else:
        name = EAGER
    if name != EAGER:
        given = Arguments(x, running_mean, running_var, weight, bias, training, momentum, eps)
        fitting = fuses(kernel_named(name)) and _fits(given)
        # What is doubtful goes to torch's operator, unless a kernel was asked for by name.
        if fitting or not is_automatic(kernel):
            following = Following(activation, negative_slope, residual)
            return _by_kernel(kernel_named(name), given, following, fitting=fitting)
    try:
        # torch's function carries all that is built on it: second derivatives, forward mode,
        # vmap, compile, export, autocast, __torch_function__.
        y = torch.nn.functional.batch_norm(
            x, running_mean, running_var, weight, bias, training, momentum, eps
        )
    except (ValueError, TypeError, AttributeError, IndexError, RuntimeError) as error:
        given = Arguments(x, running_mean, running_var, weight, bias, training, momentum, eps)
        better = explain(given, error)
        if better is None:
            raise
        raise better from error
    if not follows:
        return y
    return add_and_activate(y, Following(activation, negative_slope, residual))


def _by_kernel(kernel: Kernel, given: Arguments, following: Following, *, fitting: bool) -> Tensor:
    if fitting and fuses(kernel):
        if _fuses(kernel, given.x, following):
            return _fused(kernel, given, following)
        return add_and_activate(_fused(kernel, given, NOTHING), following)
    mistake = explain(given)
    if mistake is not None:
        raise mistake
    return add_and_activate(_by_stages(kernel, given), following)


def _fits(given: Arguments) -> bool:
    """Return whether the arguments are without doubt what a fusing kernel takes.

    In the hot path: what is doubtful is looked at by `explain`.
    """
    x, running_mean, running_var, weight, bias, training, momentum, eps = given
    channels, dtype = x.shape[1], None
    for values in (weight, bias, running_mean, running_var):
        if values is None:
            continue
        if type(values) not in _PLAIN or values.layout is not torch.strided or values.is_neg():
            return False
        if values.dim() != 1 or values.shape[0] != channels or not values.is_contiguous():
            return False
        if not values.is_cpu or values.dtype != (dtype or values.dtype):
            return False
        dtype = values.dtype
    return (
        type(training) is bool
        and (dtype is None or dtype == x.dtype or (dtype == torch.float32 and x.dtype in _NARROW))
        and (running_mean is None) == (running_var is None)
        and (training or running_mean is not None)
        and not (running_mean is not None and running_mean.requires_grad)
        and not (running_var is not None and running_var.requires_grad)
        and type(eps) is float
        and type(momentum) is float
        and eps > 0
        and (not training or x.numel() > channels)
    )


def _fuses(kernel: FusingKernel, x: Tensor, following: Following) -> bool:
    """Return whether a kernel can add and activate in the same pass."""
    activation, negative_slope, residual = following
    if activation is not None and activation not in kernel.fused_activations:
        return False
    if residual is None:
        return True
    # Where a negative slope turns the sign, y does not tell on which side its input lay.
    if activation == LEAKY_RELU and negative_slope < 0:
        return False
    return type(residual) in _PLAIN and residual.dtype == x.dtype


def _fused(kernel: FusingKernel, given: Arguments, following: Following) -> Tensor:
    x, running_mean, running_var, weight, bias, training, momentum, eps = given
    activation, negative_slope, residual = following
    if torch.compiler.is_compiling():
        return batch_norm_in_graph(given, following)
    return apply_fused(
        x,
        weight,
        bias,
        residual,
        running_mean,
        running_var,
        training,
        momentum,
        eps,
        activation,
        negative_slope,
        kernel,
    )


def _by_stages(kernel: Kernel, given: Arguments) -> Tensor:
    x, running_mean, running_var, weight, bias, training, momentum, eps = given
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
