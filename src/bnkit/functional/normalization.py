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
    return counted_batch_norm(
        x,
        running_mean,
        running_var,
        weight,
        bias,
        training,
        momentum,
        eps,
        None,
        activation=activation,
        negative_slope=negative_slope,
        residual=residual,
        kernel=kernel,
    )


@no_type_check
def counted_batch_norm(
    x: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None,
    bias: Tensor | None,
    training: bool,
    momentum: float,
    eps: float,
    counter: Tensor | None,
    *,
    activation: str | None = None,
    negative_slope: float = DEFAULT_NEGATIVE_SLOPE,
    residual: Tensor | None = None,
    kernel: str | None = None,
) -> Tensor:
    """Return what `batch_norm` returns, and add 1 to `counter`, a whole number, if there is one.

    The kernel adds it where it can: a call of torch's operator would take longer than the rest of
    the way to the kernel. What raises counts nothing.
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
        chosen = kernel_named(name)
        given = Arguments(x, running_mean, running_var, weight, bias, training, momentum, eps)
        fitting = fuses(chosen) and _fits(given)
        # What is doubtful goes to torch's operator, unless a kernel was asked for by name.
        if fitting or not is_automatic(kernel):
            following = Following(activation, negative_slope, residual)
            return _by_kernel(chosen, given, following, counter, fitting=fitting)
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
    if follows:
        y = add_and_activate(y, Following(activation, negative_slope, residual))
    _count(counter)
    return y


def _count(counter: Tensor | None) -> None:
    if counter is not None:
        counter.add_(1)


def _by_kernel(
    kernel: Kernel,
    given: Arguments,
    following: Following,
    counter: Tensor | None,
    *,
    fitting: bool,
) -> Tensor:
    if fitting and fuses(kernel):
        if _fuses(kernel, given.x, following):
            return _fused(kernel, given, following, counter)
        return add_and_activate(_fused(kernel, given, NOTHING, counter), following)
    mistake = explain(given)
    if mistake is not None:
        raise mistake
    y = add_and_activate(_by_stages(kernel, given), following)
    _count(counter)
    return y


def _fits(given: Arguments) -> bool:
    """Return whether the arguments are without doubt what a fusing kernel takes.

    In the hot path: what is doubtful is looked at by `explain`.
    """
    x, running_mean, running_var, weight, bias, training, momentum, eps = given
    channels, dtype = x.shape[1:2], None
    for values in (weight, bias, running_mean, running_var):
        if values is None:
            continue
        if type(values) not in _PLAIN or values.shape != channels or not values.is_cpu:
            return False
        if values.layout is not torch.strided or not values.is_contiguous() or values.is_neg():
            return False
        if dtype is None:
            dtype = values.dtype
        elif values.dtype is not dtype:
            return False
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
        and (not training or x.numel() > x.shape[1])
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


def _fused(
    kernel: FusingKernel, given: Arguments, following: Following, counter: Tensor | None
) -> Tensor:
    x, running_mean, running_var, weight, bias, training, momentum, eps = given
    activation, negative_slope, residual = following
    if torch.compiler.is_compiling():
        y = batch_norm_in_graph(given, following)
        _count(counter)
        return y
    moves = training and running_mean is not None
    counted = counter if counter is not None and moves and _is_plain_number(counter) else None
    y = apply_fused(
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
        counted,
    )
    if counted is None:
        _count(counter)
    else:
        # A kernel's write, noted down as torch's operator notes its own.
        torch.autograd.graph.increment_version(counted)
    return y


def _is_plain_number(counter: Tensor) -> bool:
    """Return whether a kernel may add to this number where it lies."""
    is_whole = counter.dtype is torch.int64 and counter.dim() == 0
    return type(counter) is Tensor and is_whole and counter.is_cpu and not counter.is_inference()


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
