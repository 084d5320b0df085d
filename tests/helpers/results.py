"""Every result of batch norm in training: by torch, by a kernel, and to higher precision."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as torch_functional
from torch import Tensor

from bnkit.kernels import Kernel, kernel_named
from bnkit.kernels.contract import inverse_std, values_per_channel

EPS = 1e-5


class Problem(NamedTuple):
    """What batch norm is given: (N, C, *S), and (C,) or None."""

    x: Tensor
    weight: Tensor | None
    bias: Tensor | None
    grad_output: Tensor


class Results(NamedTuple):
    """What it gives back; the gradients of an absent weight or bias are left out."""

    y: Tensor
    mean: Tensor
    unbiased_var: Tensor
    grad_x: Tensor
    grad_weight: Tensor | None
    grad_bias: Tensor | None


def torch_results(problem: Problem) -> Results:
    """Return torch's own results; the batch's statistics through running ones at momentum 1."""
    x = problem.x.detach().requires_grad_()
    weight, bias = (
        None if v is None else v.detach().requires_grad_() for v in (problem.weight, problem.bias)
    )
    wide = torch.promote_types(x.dtype, torch.float32) if weight is None else weight.dtype
    mean, var = torch.zeros(2, x.shape[1], dtype=wide)
    y = torch_functional.batch_norm(x, mean, var, weight, bias, True, 1.0, EPS)
    wanted = [v for v in (x, weight, bias) if v is not None]
    grads = iter(torch.autograd.grad(y, wanted, problem.grad_output))
    grad_x = next(grads)
    grad_weight = None if weight is None else next(grads)
    return Results(
        y.detach(), mean, var, grad_x, grad_weight, None if bias is None else next(grads)
    )


def whole_results(kernel: Kernel, problem: Problem) -> Results:
    """Return the results of a kernel's whole forward and backward."""
    x, weight, bias, grad_output = problem
    y, statistics, invstd = kernel.forward(x, weight, bias, EPS)
    grads = kernel.backward(
        grad_output,
        x,
        weight,
        statistics.mean,
        invstd,
        uses_batch_statistics=True,
        output_mask=(True, weight is not None, bias is not None),
    )
    m = values_per_channel(x)
    assert statistics.m == m
    assert grads.x is not None
    return Results(y, statistics.mean, statistics.var * (m / (m - 1)), *grads)


def staged_results(kernel: Kernel, problem: Problem) -> Results:
    """Return the results of a kernel's stages, one after the other."""
    x, weight, bias, grad_output = problem
    statistics = kernel.statistics(x)
    mean, var, m = statistics
    invstd = inverse_std(var, EPS)
    y = kernel.normalize(x, mean, invstd, weight, bias)
    sums = kernel.backward_reduce(grad_output, x, mean)
    grad_x = kernel.backward_input(grad_output, x, mean, invstd, weight, reductions=sums, m=m)
    return Results(
        y,
        mean,
        var * (m / (m - 1)),
        grad_x,
        None if weight is None else sums.sum_dy_xmu * invstd,
        None if bias is None else sums.sum_dy,
    )


def true_results(problem: Problem) -> Results:
    """Return results to higher precision: in `numpy.longdouble` for float64, else in float64."""
    if problem.x.dtype == torch.float64:
        return longdouble_results(problem)
    wide = Problem(*(None if v is None else v.double() for v in problem))
    return staged_results(kernel_named("reference"), wide)


def longdouble_results(problem: Problem) -> Results:
    """Return the textbook formulas in `numpy.longdouble`, rounded to float64 at the end."""
    x, dy = (v.double().numpy().astype(np.longdouble) for v in (problem.x, problem.grad_output))
    shape, axes = (1, -1, *[1] * (x.ndim - 2)), (0, *range(2, x.ndim))
    m = x.size // x.shape[1]
    ones, zeros = np.ones(x.shape[1], np.longdouble), np.zeros(x.shape[1], np.longdouble)
    weight = ones if problem.weight is None else problem.weight.double().numpy() * ones
    bias = zeros if problem.bias is None else problem.bias.double().numpy() + zeros
    mean = x.sum(axes) / m
    xmu = x - mean.reshape(shape)
    var = (xmu**2).sum(axes) / m
    invstd = 1 / np.sqrt(var + np.longdouble(EPS))
    x_hat = xmu * invstd.reshape(shape)
    y = x_hat * weight.reshape(shape) + bias.reshape(shape)
    sum_dy, sum_dy_x_hat = dy.sum(axes), (dy * x_hat).sum(axes)
    inner = dy - (sum_dy / m).reshape(shape) - x_hat * (sum_dy_x_hat / m).reshape(shape)
    grad_x = inner * (weight * invstd).reshape(shape)
    arrays = (y, mean, var * m / (m - 1), grad_x, sum_dy_x_hat, sum_dy)
    rounded = [torch.from_numpy(array.astype(np.float64)) for array in arrays]
    if problem.weight is None:
        rounded[4] = None
    if problem.bias is None:
        rounded[5] = None
    return Results(*rounded)
