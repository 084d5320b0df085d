"""What a kernel that fuses promises: residual add and activation, as torch's one by one.

Held against torch's operators in float64 and in the dtype itself, by the bar that torch's own
error and the dtype set (helpers/accuracy.py). A new fusing kernel is one more entry of KERNELS.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import pytest
import torch
import torch.nn.functional as torch_functional
from torch import Tensor

from bnkit.functional import batch_norm
from bnkit.functional.activation import Following, add_and_activate
from bnkit.functional.fused_function import FusedFunction
from bnkit.kernels.dispatch import FusingKernel, fuses, kernel_named
from helpers.accuracy import assert_same_nonfinite, assert_within_bar
from helpers.problems import DTYPES, as_dtype, drawn, laid_out

KERNELS = ("numba",)
ACTIVATIONS = (None, "relu", "leaky_relu", "relu6")
SLOPE = 0.2

pytestmark = pytest.mark.parametrize("name", KERNELS)
# Every activation, and each way of finding what it passes: from x, and with a residual from y.
# Each combination with a dtype, a layout and a direction is a program to compile.
PAIRS = ((None, True), ("relu", True), ("relu", False), ("leaky_relu", False), ("relu6", False))
pairs = pytest.mark.parametrize(("activation", "has_residual"), PAIRS, ids=str)
with_and_without_residual = pytest.mark.parametrize(
    "has_residual", [False, True], ids=["", "residual"]
)
trainings = pytest.mark.parametrize("training", [True, False], ids=["training", "eval"])

BatchNorm = Callable[..., Tensor]


class Given(NamedTuple):
    """What one call is given; the residual None where there is none."""

    x: Tensor
    weight: Tensor
    bias: Tensor
    residual: Tensor | None
    running_mean: Tensor
    running_var: Tensor
    grad_output: Tensor


def given(x: Tensor, *, has_residual: bool) -> Given:
    wide = torch.promote_types(x.dtype, torch.float32)
    channels = x.shape[1]
    residual = drawn(tuple(x.shape), torch.float64, mean=-0.3).flip(0).to(x.dtype)
    residual = torch.empty_like(x).copy_(residual)
    grad_output = drawn(tuple(x.shape), torch.float64, mean=0.2).flip(1).to(x.dtype)
    return Given(
        x,
        drawn((channels,), wide, mean=1.0),
        drawn((channels,), wide, mean=0.3, std=0.1),
        residual if has_residual else None,
        drawn((channels,), wide, std=0.3),
        drawn((channels,), wide).square() + 0.5,
        grad_output,
    )


def by_torch(activation: str | None) -> BatchNorm:
    def compute(x: Tensor, *rest: Tensor | None, residual: Tensor | None, training: bool) -> Tensor:
        running_mean, running_var, weight, bias = rest
        y = torch_functional.batch_norm(
            x, running_mean, running_var, weight, bias, training, 0.3, 1e-3
        )
        return add_and_activate(y, Following(activation, SLOPE, residual))

    return compute


def by_kernel(name: str, activation: str | None) -> BatchNorm:
    def compute(x: Tensor, *rest: Tensor | None, residual: Tensor | None, training: bool) -> Tensor:
        return batch_norm(
            x,
            *rest,
            training,
            0.3,
            1e-3,
            activation=activation,
            negative_slope=SLOPE,
            residual=residual,
            kernel=name,
        )

    return compute


def everything(
    compute: BatchNorm, case: Given, training: bool, dtype: torch.dtype | None = None
) -> dict[str, Tensor]:
    """Return output, gradients and buffers, computed in a dtype."""
    to = (lambda v: v.clone()) if dtype is None else (lambda v: v.to(dtype))
    x, weight, bias, residual = (None if v is None else to(v).requires_grad_() for v in case[:4])
    buffers = {"running_mean": to(case.running_mean), "running_var": to(case.running_var)}
    y = compute(x, *buffers.values(), weight, bias, residual=residual, training=training)
    leaves = {"x": x, "weight": weight, "bias": bias, "residual": residual}
    wanted = {leaf: value for leaf, value in leaves.items() if value is not None}
    grads = torch.autograd.grad(y, tuple(wanted.values()), to(case.grad_output))
    found = {f"grad_{leaf}": grad for leaf, grad in zip(wanted, grads, strict=True)}
    return {"y": y.detach(), **found, **buffers}


def away_from_corners(case: Given, activation: str | None, training: bool) -> Given:
    """Return the case with gradients of zero where rounding decides on which side a value lies."""
    if activation is None:
        return case
    exact = everything(by_torch(None), case, training, torch.float64)["y"]
    near = (exact.abs() < 1e-2) | ((exact - 6).abs() < 6e-2)
    assert float(near.double().mean()) < 0.2
    return case._replace(grad_output=case.grad_output.masked_fill(near, 0.0))


def assert_meets_bar(name: str, activation: str | None, case: Given, training: bool) -> None:
    case = away_from_corners(case, activation, training)
    ours = everything(by_kernel(name, activation), case, training)
    torchs = everything(by_torch(activation), case, training)
    truth = everything(by_torch(activation), case, training, torch.float64)
    for quantity, value in ours.items():
        assert value.dtype == torchs[quantity].dtype, quantity
        if quantity in {"y", "grad_x"}:
            assert value.stride() == torchs[quantity].stride(), quantity
        if value.dtype == torch.float64:
            torch.testing.assert_close(value, truth[quantity], rtol=1e-12, atol=1e-12)
        else:
            assert_within_bar(quantity, value, torchs[quantity], truth[quantity])


# The activations are one code for all dtypes and layouts, and so is what a dtype makes of loads and
# stores: each is met in one layout, and each layout with every kind of code.
COMBINATIONS = [
    ("contiguous", torch.float32, None, True),
    ("contiguous", torch.float32, "relu", True),
    ("contiguous", torch.float32, "relu", False),
    ("contiguous", torch.float32, "leaky_relu", False),
    ("contiguous", torch.float32, "relu6", False),
    ("contiguous", torch.float64, "relu", True),
    ("contiguous", torch.bfloat16, "relu", True),
    ("channels-last", torch.float32, "relu", True),
    ("channels-last", torch.float32, "relu", False),
    ("channels-last", torch.float16, "relu", True),
]
combinations = pytest.mark.parametrize(
    ("layout", "dtype", "activation", "has_residual"),
    [
        # Not all: each compiles two programs, of which all together take about a minute.
        pytest.param(*row, marks=() if row in COMBINATIONS else pytest.mark.slow)
        for layout in ("contiguous", "channels-last")
        for dtype in DTYPES
        for pair in PAIRS
        if (row := (layout, dtype, *pair))
    ],
    ids=str,
)


def test_every_activation_dtype_and_layout_is_met(name: str) -> None:
    layouts, dtypes, activations, _ = map(set, zip(*COMBINATIONS, strict=True))
    assert layouts == {"contiguous", "channels-last"}
    assert (dtypes, activations) == (set(DTYPES), set(ACTIVATIONS))


@combinations
@trainings
def test_every_result(
    name: str,
    activation: str | None,
    has_residual: bool,
    training: bool,
    dtype: torch.dtype,
    layout: str,
) -> None:
    x = as_dtype(laid_out(layout), dtype)
    assert_meets_bar(name, activation, given(x, has_residual=has_residual), training)


# Whole channels and pieces of them; rows shorter and longer than a vector, with and without a
# rest; one channel; fewer channels than a vector has lanes; more than one pass has; short rows of
# channels side by side, and more of them than are summed at a time.
SHAPES = (
    (9, 64, 10, 10),
    (131, 128, 3, 5),
    (3, 70, 7, 7),
    (2, 1, 40, 129),
    (5, 3, 61, 31),
    (2, 5, 9001),
    (4, 33, 2, 2),
    (700, 130),
    (2, 6, 3, 20, 17),
)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("channels_last", [False, True])
@with_and_without_residual
def test_every_way_of_dividing_the_work(
    name: str, shape: tuple[int, ...], channels_last: bool, has_residual: bool
) -> None:
    formats = {4: torch.channels_last, 5: torch.channels_last_3d}
    x = drawn(shape, torch.float32, mean=0.5)
    if channels_last and x.dim() in formats:
        x = x.contiguous(memory_format=formats[x.dim()])
    assert_meets_bar(name, "relu", given(x, has_residual=has_residual), True)


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("shape", [(6, 64, 20, 20), (9, 3, 50, 50), (9, 128, 7, 7)], ids=str)
def test_the_same_bits_each_time_with_any_number_of_threads(
    name: str, threads: int, shape: tuple[int, ...]
) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        case = given(drawn(shape, torch.float32), has_residual=True)
        first, *others = (everything(by_kernel(name, "relu"), case, True) for _ in range(4))
    finally:
        torch.set_num_threads(before)
    for other in others:
        for quantity, value in first.items():
            assert torch.equal(value, other[quantity]), quantity


@pairs
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_nan_and_inf_pass_as_in_torch(
    name: str, activation: str | None, has_residual: bool, value: float
) -> None:
    for training in (True, False):
        for place in ("x", "residual") if has_residual else ("x",):
            case = given(drawn((4, 3, 5, 5), torch.float32), has_residual=has_residual)
            getattr(case, place)[1, 2, 3, 3] = value
            ours = everything(by_kernel(name, activation), case, training)
            torchs = everything(by_torch(activation), case, training)
            for quantity, own in ours.items():
                assert_same_nonfinite(quantity, own, torchs[quantity])


@pytest.mark.parametrize(
    ("activation", "has_residual"), [("relu", True), ("leaky_relu", False)], ids=str
)
@trainings
def test_gradcheck_and_gradgradcheck(
    name: str, activation: str | None, has_residual: bool, training: bool
) -> None:
    case = given(drawn((5, 3, 4), torch.float64, std=2.0), has_residual=has_residual)
    leaves = [v.clone().requires_grad_() for v in case[:4] if v is not None]
    compute = by_kernel(name, activation)

    def function(*values: Tensor) -> Tensor:
        residual = values[3] if has_residual else None
        buffers = (case.running_mean.clone(), case.running_var.clone())
        return compute(values[0], *buffers, *values[1:3], residual=residual, training=training)

    assert torch.autograd.gradcheck(function, leaves)
    assert torch.autograd.gradgradcheck(function, leaves)


@pytest.mark.parametrize("activation", [None, "relu"])
def test_only_what_is_asked_for_gets_a_gradient(name: str, activation: str | None) -> None:
    case = given(drawn((6, 4, 5, 7), torch.float32), has_residual=True)
    torchs = everything(by_torch(activation), case, True)
    for wanted in range(4):
        values = [v.clone() for v in case[:4] if v is not None]
        values[wanted].requires_grad_()
        x, weight, bias, residual = values
        buffers = (case.running_mean.clone(), case.running_var.clone())
        y = by_kernel(name, activation)(x, *buffers, weight, bias, residual=residual, training=True)
        (grad,) = torch.autograd.grad(y, values[wanted], case.grad_output)
        expected = list(torchs.values())[1 + wanted]
        torch.testing.assert_close(grad, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", ["expanded", "strided"])
def test_a_gradient_of_any_strides(name: str, kind: str) -> None:
    case = given(drawn((6, 4, 5, 7), torch.float32), has_residual=True)
    if kind == "expanded":
        grad_output = torch.tensor(0.7).expand(6, 4, 5, 7)
    else:
        grad_output = drawn((7, 5, 4, 6), torch.float32).permute(3, 2, 1, 0)
    case = case._replace(grad_output=grad_output)
    ours, torchs = (
        everything(compute, case, True) for compute in (by_kernel(name, "relu"), by_torch("relu"))
    )
    for quantity, value in ours.items():
        torch.testing.assert_close(value, torchs[quantity], rtol=1e-4, atol=1e-4)


def test_it_is_the_kernel_that_fuses(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = kernel_named(name)
    assert fuses(kernel)
    assert set(ACTIVATIONS) == {None, *kernel.fused_activations}
    calls: list[str | None] = []
    fused_forward = type(kernel).fused_forward

    def spy(self: FusingKernel, *args: object, **kwargs: object) -> object:
        calls.append(kwargs["activation"])
        return fused_forward(self, *args, **kwargs)

    monkeypatch.setattr(type(kernel), "fused_forward", spy)
    case = given(drawn((6, 4, 5, 7), torch.float32), has_residual=True)
    everything(by_kernel(name, "relu"), case, True)
    # Not one that it fuses, and a slope that turns the sign.
    everything(by_kernel(name, "silu"), case, True)
    batch_norm(
        *case[:1],
        None,
        None,
        training=True,
        activation="leaky_relu",
        negative_slope=-0.5,
        residual=case.residual,
        kernel=name,
    )
    assert calls == ["relu", None, None]


@pytest.mark.parametrize("activation", [None, "relu"])
def test_backward_keeps_no_tensor_of_its_own(name: str, activation: str | None) -> None:
    """Without a residual x alone is kept; with one and an activation, y, which is there anyway."""
    for has_residual in (False, True):
        case = given(drawn((6, 4, 5, 7), torch.float32), has_residual=has_residual)
        kept: list[Tensor] = []

        def keep(tensor: Tensor, kept: list[Tensor] = kept) -> Tensor:
            kept.append(tensor)
            return tensor

        leaves = [None if v is None else v.clone().requires_grad_() for v in case[:4]]
        x, weight, bias, residual = leaves
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            y = by_kernel(name, activation)(
                x, None, None, weight, bias, residual=residual, training=True
            )
        assert isinstance(y.grad_fn, FusedFunction._backward_cls)
        large = {tensor.data_ptr() for tensor in kept if tensor.numel() == x.numel()}
        allowed = {x.data_ptr(), y.data_ptr()} if has_residual and activation else {x.data_ptr()}
        assert large == allowed
