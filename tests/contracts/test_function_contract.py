"""What `functional.batch_norm` promises with every kernel: values, gradients and buffers."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as torch_functional
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from bnkit.functional import batch_norm
from helpers.accuracy import assert_same_nonfinite
from helpers.problems import DTYPES, LAYOUTS, as_dtype, drawn, laid_out

KERNELS = ("reference", "eager", "numba")

pytestmark = pytest.mark.parametrize("kernel", KERNELS)
trainings = pytest.mark.parametrize("training", [True, False], ids=["training", "eval"])
few = settings(max_examples=15, deadline=None, derandomize=True)


def tolerances(dtype: torch.dtype, m: int) -> dict[str, float]:
    """Return rtol and atol: a few roundings of each of the √m that a sum of m terms accumulates."""
    eps = torch.finfo(dtype).eps
    return {"rtol": 8 * eps, "atol": 8 * eps * m**0.5}


def everything(function: Callable[..., Tensor], x: Tensor, training: bool) -> dict[str, Tensor]:
    """Return output, gradients and buffers of one call."""
    channels, wide = x.shape[1], torch.promote_types(x.dtype, torch.float32)
    values = [drawn((channels,), wide, mean=mean) for mean in (1.0, 0.5, 0.2)]
    weight, bias = (v.clone().requires_grad_() for v in values[:2])
    running = {"running_mean": values[2].clone(), "running_var": values[1].square() + 0.5}
    leaf = x.detach().requires_grad_()
    y = function(leaf, *running.values(), weight, bias, training, 0.3, 1e-3)
    grads = torch.autograd.grad(y, (leaf, weight, bias), drawn(tuple(x.shape), x.dtype, mean=0.1))
    names = ("grad_x", "grad_weight", "grad_bias")
    return {"y": y.detach(), **dict(zip(names, grads, strict=True)), **running}


@trainings
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_everything_agrees_with_torch(
    kernel: str, training: bool, layout: str, dtype: torch.dtype
) -> None:
    x = as_dtype(laid_out(layout), dtype)
    m = x.numel() // x.shape[1]
    ours = everything(lambda *a: batch_norm(*a, kernel=kernel), x, training)
    torchs = everything(torch_functional.batch_norm, x, training)
    for name, value in ours.items():
        assert value.dtype == torchs[name].dtype
        torch.testing.assert_close(value, torchs[name], **tolerances(dtype, m), msg=name)


@trainings
@pytest.mark.parametrize("shape", [(0, 3), (0, 3, 4, 4), (2, 3, 0, 4)], ids=str)
def test_an_empty_input_moves_no_buffer(
    kernel: str, training: bool, shape: tuple[int, ...]
) -> None:
    x = torch.empty(shape)
    ours = everything(lambda *a: batch_norm(*a, kernel=kernel), x, training)
    torchs = everything(torch_functional.batch_norm, x, training)
    for name, value in ours.items():
        torch.testing.assert_close(value, torchs[name], msg=name)


@trainings
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_nan_and_inf_propagate_as_in_torch(kernel: str, training: bool, value: float) -> None:
    x = drawn((4, 3, 5, 5), torch.float32)
    x[1, 2, 3, 3] = value
    ours = everything(lambda *a: batch_norm(*a, kernel=kernel), x, training)
    torchs = everything(torch_functional.batch_norm, x, training)
    for name, own in ours.items():
        assert_same_nonfinite(name, own, torchs[name])


@pytest.mark.parametrize("momentum", [0.1, 1.0, 0.0, -0.5, 2.0])
def test_buffers_after_steps_1_2_3_and_50(kernel: str, momentum: float) -> None:
    ours, torchs = ([torch.zeros(3), torch.ones(3)] for _ in range(2))
    for step in range(1, 51):
        x = torch.randn(8, 3, 5, generator=torch.Generator().manual_seed(step)) + step % 7
        batch_norm(x, *ours, training=True, momentum=momentum, kernel=kernel)
        torch_functional.batch_norm(x, *torchs, training=True, momentum=momentum)
        if step in (1, 2, 3, 50):
            for own, torch_own in zip(ours, torchs, strict=True):
                torch.testing.assert_close(own, torch_own, rtol=1e-5, atol=1e-6)


@trainings
@pytest.mark.parametrize("affine", [True, False])
def test_gradcheck_and_gradgradcheck(kernel: str, training: bool, affine: bool) -> None:
    x = drawn((3, 2, 4), torch.float64).requires_grad_()
    weight, bias = (drawn((2,), torch.float64, mean=m).requires_grad_() for m in (1.0, 0.5))
    running = (None, None) if training else (drawn((2,), torch.float64), torch.ones(2).double())

    def function(x: Tensor, *affine_values: Tensor) -> Tensor:
        return batch_norm(x, *running, *affine_values, training=training, kernel=kernel)

    inputs = (x, weight, bias) if affine else (x,)
    assert torch.autograd.gradcheck(function, inputs)
    assert torch.autograd.gradgradcheck(function, inputs)


@trainings
def test_second_derivatives_agree_with_torch(kernel: str, training: bool) -> None:
    def second(function: Callable[..., Tensor]) -> tuple[Tensor, ...]:
        x = drawn((6, 3, 5), torch.float32).requires_grad_()
        weight = drawn((3,), torch.float32, mean=1.0).requires_grad_()
        running = (None, None) if training else (torch.zeros(3), torch.full((3,), 2.0))
        y = function(x, *running, weight, None, training)
        (grad_x,) = torch.autograd.grad(y.square().sum(), x, create_graph=True)
        return torch.autograd.grad(grad_x.pow(3).sum(), (x, weight))

    ours = second(lambda *a: batch_norm(*a, kernel=kernel))
    for own, torch_own in zip(ours, second(torch_functional.batch_norm), strict=True):
        torch.testing.assert_close(own, torch_own, rtol=1e-4, atol=1e-4)


@few
@given(constants=st.lists(st.floats(-100, 100), min_size=3, max_size=3), seed=st.integers(0, 99))
def test_a_constant_added_per_channel_changes_no_training_output(
    kernel: str, constants: list[float], seed: int
) -> None:
    x = torch.randn(5, 3, 7, generator=torch.Generator().manual_seed(seed)).double()
    shifted = x + torch.tensor(constants, dtype=torch.float64).view(1, 3, 1)
    ours = [batch_norm(v, None, None, training=True, kernel=kernel) for v in (x, shifted)]
    torch.testing.assert_close(ours[0], ours[1], rtol=1e-10, atol=1e-10)


@few
@given(order=st.permutations(range(6)), seed=st.integers(0, 99))
def test_permuting_the_batch_permutes_the_output(kernel: str, order: list[int], seed: int) -> None:
    x = torch.randn(6, 3, 7, generator=torch.Generator().manual_seed(seed)).double()
    whole = batch_norm(x, None, None, training=True, kernel=kernel)
    permuted = batch_norm(x[order], None, None, training=True, kernel=kernel)
    torch.testing.assert_close(permuted, whole[order], rtol=1e-12, atol=1e-12)


@few
@given(seed=st.integers(0, 999), scale=st.floats(1e-3, 1e3))
def test_the_gradients_of_x_sum_to_zero_per_channel(kernel: str, seed: int, scale: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    x = (torch.randn(5, 3, 7, generator=generator).double() * scale).requires_grad_()
    dy = torch.randn(5, 3, 7, generator=generator).double() + 1
    y = batch_norm(x, None, None, training=True, kernel=kernel)
    (dx,) = torch.autograd.grad(y, x, dy)
    largest = float(dx.abs().max())
    zeros = torch.zeros(3, dtype=torch.float64)
    torch.testing.assert_close(dx.sum((0, 2)), zeros, rtol=0, atol=1e-12 * (1 + largest * 35))


@few
@given(seed=st.integers(0, 999), share=st.floats(-3, 3))
def test_eval_mode_is_affine(kernel: str, seed: int, share: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    a, b = (torch.randn(4, 3, 5, generator=generator).double() for _ in range(2))
    mean, weight, bias = (torch.randn(3, generator=generator).double() for _ in range(3))

    def f(x: Tensor) -> Tensor:
        return batch_norm(x, mean, mean.square() + 0.1, weight, bias, kernel=kernel)

    mixed = f(share * a + (1 - share) * b)
    torch.testing.assert_close(mixed, share * f(a) + (1 - share) * f(b), rtol=1e-10, atol=1e-10)


def test_training_output_is_what_the_docstring_says(kernel: str) -> None:
    x = drawn((6, 3, 5), torch.float64, mean=2.0)
    weight, bias = drawn((3,), torch.float64), drawn((3,), torch.float64, mean=1.0)
    column = (1, 3, 1)
    mean = x.mean((0, 2), keepdim=True)
    var = (x - mean).square().sum((0, 2), keepdim=True) / 30
    expected = (x - mean) / (var + 1e-2).sqrt() * weight.view(column) + bias.view(column)
    y = batch_norm(x, None, None, weight, bias, training=True, eps=1e-2, kernel=kernel)
    torch.testing.assert_close(y, expected, rtol=1e-12, atol=1e-12)
    running_mean, running_var = torch.full((2, 3), 3.0, dtype=torch.float64)
    batch_norm(x, running_mean, running_var, training=True, momentum=0.25, kernel=kernel)
    unbiased = (x - mean).square().sum((0, 2)) / 29
    torch.testing.assert_close(running_mean, 0.75 * 3 + 0.25 * mean.flatten())
    torch.testing.assert_close(running_var, 0.75 * 3 + 0.25 * unbiased)


def test_an_input_without_channels_is_an_empty_one(kernel: str) -> None:
    x = torch.empty(2, 0, 4, 4)
    y = batch_norm(x, None, None, training=True, kernel=kernel)
    assert y.shape == torch_functional.batch_norm(x, None, None, training=True).shape
