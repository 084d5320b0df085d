"""Arguments that are right and yet not plain memory: with every kernel, and by `auto`."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as torch_functional
from torch import Tensor
from torch.testing._internal.two_tensor import TwoTensor

from bnkit.functional import batch_norm
from bnkit.kernels import kernel_for
from helpers.problems import drawn

KERNELS = ("auto", "numba", "reference")
X = drawn((64, 32, 17, 17), torch.float32)

pytestmark = pytest.mark.parametrize("kernel", KERNELS)


def per_channel(kind: str, seed: int) -> Tensor:
    """Return 32 values that do not lie side by side, or are not what their memory says."""
    generator = torch.Generator().manual_seed(seed)
    if kind == "strided":
        return torch.randn(32, 3, generator=generator)[:, 1]
    if kind == "expanded":
        return torch.randn(1, generator=generator).expand(32)
    assert kind == "negated"
    return torch._neg_view(torch.randn(32, generator=generator))


def results(function: object, kind: str, training: bool, **options: object) -> list[Tensor]:
    x = X.clone().requires_grad_()
    weight, bias = (per_channel(kind, seed).detach().requires_grad_() for seed in (1, 2))
    running = per_channel("strided", 3), per_channel("strided", 4).square_().add_(0.5)
    y = function(x, *running, weight, bias, training, 0.3, **options)  # type: ignore[operator]
    grads = torch.autograd.grad(y, (x, weight, bias), drawn(tuple(X.shape), torch.float32).flip(0))
    return [y.detach(), *grads, *running]


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("kind", ["strided", "expanded", "negated"])
def test_values_per_channel_of_any_strides(kernel: str, kind: str, training: bool) -> None:
    ours = results(batch_norm, kind, training, kernel=kernel)
    torchs = results(torch_functional.batch_norm, kind, training)
    for own, torch_own in zip(ours, torchs, strict=True):
        torch.testing.assert_close(own, torch_own, rtol=1e-4, atol=1e-3)


def test_a_negated_view_of_x_and_of_its_gradient(kernel: str) -> None:
    x = torch._neg_view(X).requires_grad_()
    y = batch_norm(x, None, None, training=True, kernel=kernel)
    grad_output = torch._neg_view(drawn(tuple(X.shape), torch.float32).flip(0))
    (own,) = torch.autograd.grad(y, x, grad_output)
    plain = (-X).requires_grad_()
    expected = torch_functional.batch_norm(plain, None, None, training=True)
    torch.testing.assert_close(y, expected, rtol=1e-4, atol=1e-5)
    (theirs,) = torch.autograd.grad(expected, plain, grad_output.resolve_neg())
    torch.testing.assert_close(own, theirs, rtol=1e-4, atol=1e-5)


def test_another_default_device_changes_nothing(kernel: str) -> None:
    expected = torch_functional.batch_norm(X, None, None, training=True).relu()
    with torch.device("meta"):
        y = batch_norm(X, None, None, training=True, activation="relu", kernel=kernel)
    torch.testing.assert_close(y, expected, rtol=1e-4, atol=1e-5)


def test_a_batch_of_gradients_at_once(kernel: str) -> None:
    x = X[:8].clone().requires_grad_()
    y = batch_norm(x, None, None, training=True, activation="relu", kernel=kernel)
    grad_outputs = torch.randn(3, *y.shape)
    (together,) = torch.autograd.grad(y, x, grad_outputs, is_grads_batched=True, retain_graph=True)
    for grad_output, own in zip(grad_outputs, together, strict=True):
        (expected,) = torch.autograd.grad(y, x, grad_output, retain_graph=True)
        torch.testing.assert_close(own, expected, rtol=1e-3, atol=1e-5)


def test_saved_tensors_may_come_back_with_other_strides(kernel: str) -> None:
    def compute(hooked: bool) -> Tensor:
        x = X.contiguous(memory_format=torch.channels_last).requires_grad_()
        residual = X.flip(0).contiguous(memory_format=torch.channels_last)

        def pack(tensor: Tensor) -> Tensor:
            return tensor.detach().contiguous() if hooked and not tensor.is_leaf else tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            y = batch_norm(
                x, None, None, None, None, True, activation="relu", residual=residual, kernel=kernel
            )
        (grad,) = torch.autograd.grad(y, x, X)
        return grad

    torch.testing.assert_close(compute(True), compute(False), rtol=1e-4, atol=1e-5)


def test_a_parameter_of_another_tensor_type_is_left_to_torch(kernel: str) -> None:
    if kernel != "auto":
        return
    assert kernel_for(X).name == "numba"
    weight = TwoTensor(torch.rand(32), torch.rand(32))
    y = batch_norm(X, None, None, weight, None, True)
    assert type(y) is type(torch_functional.batch_norm(X, None, None, weight, None, True))


def test_an_unused_bias_may_change_before_backward(kernel: str) -> None:
    x = X.clone().requires_grad_()
    weight, bias = torch.rand(32, requires_grad=True), torch.rand(32, requires_grad=True)
    y = batch_norm(x, None, None, weight, bias, True, kernel=kernel)
    if kernel != "reference":
        with torch.no_grad():
            bias.add_(1.0)
    torch.autograd.grad(y.sum(), (x, weight, bias))


@pytest.mark.parametrize("training", [1, "x", None])
def test_training_must_be_a_truth_value(kernel: str, training: object) -> None:
    if kernel != "auto":
        return
    with pytest.raises(TypeError):
        batch_norm(X, torch.zeros(32), torch.ones(32), training=training)  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        batch_norm(X, torch.zeros(32), torch.ones(32), [1.0] * 32, training=True)  # type: ignore[arg-type]
