"""`batch_norm` beside torch's: signature, transforms, overrides, second derivatives."""

from __future__ import annotations

import inspect

import pytest
import torch
import torch.nn.functional as torch_functional
from torch import Tensor

from bnkit.errors import KernelUnavailableError
from bnkit.functional import batch_norm
from bnkit.functional.autograd_function import BatchNormFunction
from bnkit.kernels import Kernel, dispatch, kernel_for, kernel_named, use_kernel
from bnkit.kernels.reference import ReferenceKernel
from helpers.problems import drawn

KERNELS = ("reference", "eager", "numba")
X, ZEROS, ONES = drawn((4, 3, 5), torch.float32), torch.zeros(3), torch.ones(3)


def test_the_positional_arguments_are_torchs() -> None:
    ours = list(inspect.signature(batch_norm).parameters.values())
    torchs = list(inspect.signature(torch_functional.batch_norm).parameters.values())
    for own, torch_own in zip(ours, torchs, strict=False):
        assert (own.name, own.default) == (torch_own.name.replace("input", "x"), torch_own.default)
    assert [p.name for p in ours[len(torchs) :]] == [
        "activation",
        "negative_slope",
        "residual",
        "kernel",
    ]


def test_on_eager_the_bits_are_torchs() -> None:
    ours, torchs = ([ZEROS.clone(), ONES.clone()] for _ in range(2))
    y = batch_norm(X, *ours, ONES, ZEROS, True)
    expected = torch_functional.batch_norm(X, *torchs, ONES, ZEROS, True)
    assert torch.equal(y, expected)
    assert torch.equal(torch.stack(ours), torch.stack(torchs))


def test_use_kernel_reaches_the_function(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    forward = ReferenceKernel.forward

    def counted(self: Kernel, *arguments: object) -> object:
        calls.append(self.name)
        return forward(self, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(ReferenceKernel, "forward", counted)
    batch_norm(X, None, None, training=True)
    assert calls == []
    with use_kernel("reference"):
        batch_norm(X, None, None, training=True)
        batch_norm(X, None, None, training=True, kernel="eager")
    assert calls == ["reference"]


def test_a_kernel_that_autograd_cannot_follow_still_has_a_second_derivative(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Opaque(ReferenceKernel):
        """Computes outside autograd, as compiled code does."""

        name = "opaque"
        is_composed = False

    kernel = Opaque()
    monkeypatch.setitem(dispatch._HOMES, "opaque", "nowhere")
    loaded = {"opaque": kernel, "eager": kernel_named("eager")}
    monkeypatch.setattr(dispatch, "_load", loaded.__getitem__)
    x = drawn((3, 2, 4), torch.float64).requires_grad_()
    weight = drawn((2,), torch.float64, mean=1.0).requires_grad_()

    def function(x: Tensor, weight: Tensor) -> Tensor:
        return batch_norm(x, None, None, weight, training=True, kernel="opaque")

    assert torch.autograd.gradgradcheck(function, (x, weight))


def test_statistics_pass_no_gradient_on() -> None:
    x = X.clone().requires_grad_()
    y, *statistics = BatchNormFunction.apply(
        x, None, None, None, None, 1e-5, kernel_named("reference")
    )
    assert y.requires_grad
    assert [value.requires_grad for value in statistics] == [False] * 3


def test_a_backward_is_not_moved_by_later_updates_of_the_buffers() -> None:
    x = drawn((4, 3, 5), torch.float64).requires_grad_()
    running_var = torch.full((3,), 4.0, dtype=torch.float64)
    y = batch_norm(x, ZEROS.double(), running_var, eps=0.0, kernel="reference")
    running_var.fill_(100.0)
    (dx,) = torch.autograd.grad(y.sum(), x)
    torch.testing.assert_close(dx, torch.full_like(x, 0.5))


@pytest.mark.parametrize("kernel", ["reference", "eager", "auto"])
def test_torch_func_grad_in_training_and_eval(kernel: str) -> None:
    def loss(x: Tensor, training: bool) -> Tensor:
        running = (None, None) if training else (ZEROS, ONES)
        return batch_norm(x, *running, training=training, kernel=kernel).pow(3).sum()

    for training in (True, False):
        x = X.clone().requires_grad_()
        (expected,) = torch.autograd.grad(loss(x, training), x)
        got = torch.func.grad(loss)(X, training)
        torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-5)


def test_the_numba_kernel_cannot_be_transformed_and_auto_does_not_take_it() -> None:
    x = drawn((64, 32, 20, 20), torch.float32)
    assert kernel_for(x).name == "numba"
    seen = []

    def loss(x: Tensor) -> Tensor:
        seen.append(kernel_for(x))
        return batch_norm(x, None, None, training=True).pow(3).sum()

    torch.func.grad(loss)(x)
    assert seen[0].name == "eager"
    assert "torch.func" in seen[0].reason
    with (
        pytest.raises(KernelUnavailableError, match=r"torch\.func"),
        use_kernel("numba"),
    ):
        torch.func.grad(loss)(x)


# torch itself scripts its forward-mode formulas.
@pytest.mark.filterwarnings("ignore:.*torch.jit.script.*:DeprecationWarning")
def test_vmap_and_forward_mode_are_torchs() -> None:
    def ours(x: Tensor) -> Tensor:
        return batch_norm(x, ZEROS, ONES)

    def torchs(x: Tensor) -> Tensor:
        return torch_functional.batch_norm(x, ZEROS, ONES)

    batched = torch.stack([X, 2 * X])
    torch.testing.assert_close(torch.func.vmap(ours)(batched), torch.func.vmap(torchs)(batched))
    tangent = drawn((4, 3, 5), torch.float32, mean=1.0)

    def training(x: Tensor) -> Tensor:
        return batch_norm(x, None, None, training=True)

    def torch_training(x: Tensor) -> Tensor:
        return torch_functional.batch_norm(x, None, None, training=True)

    for own, torch_own in ((ours, torchs), (training, torch_training)):
        _, ours_tangent = torch.func.jvp(own, (X,), (tangent,))
        _, torch_tangent = torch.func.jvp(torch_own, (X,), (tangent,))
        torch.testing.assert_close(ours_tangent, torch_tangent)


def test_an_override_of_torchs_function_is_called() -> None:
    seen = []

    class Watching(torch.Tensor):
        @classmethod
        def __torch_function__(cls, function, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
            seen.append(function)
            return super().__torch_function__(function, types, args, kwargs or {})

    y = batch_norm(X.as_subclass(Watching), ZEROS, ONES)
    assert torch_functional.batch_norm in seen
    assert isinstance(y, Watching)


def test_meta_tensors_have_a_shape() -> None:
    y = batch_norm(X.to("meta"), ZEROS.to("meta"), ONES.to("meta"))
    assert (y.shape, y.device.type) == (X.shape, "meta")


def test_autocast_gives_torchs_dtype() -> None:
    weight = torch.randn(3, 5)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        x = torch_functional.linear(torch.randn(4, 5), weight)
        y, expected = batch_norm(x, ZEROS, ONES), torch_functional.batch_norm(x, ZEROS, ONES)
    assert x.dtype == torch.bfloat16
    assert y.dtype == expected.dtype
    torch.testing.assert_close(y, expected)
