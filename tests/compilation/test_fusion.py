"""What is fused and what is not: the result is plain torch's in either case."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
import torch.utils.checkpoint
from torch import Tensor, nn

import bnkit
from bnkit.inspection.nested_tensors import tensors_in

Function = Callable[[nn.Module, Tensor], Any]


class Caller(nn.Module):
    def __init__(self, function: Function) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.bn = nn.BatchNorm2d(4)
        with torch.no_grad():
            self.bn.weight.uniform_(-1, 1)
            self.bn.bias.uniform_(-1, 1)
        self.function = function

    def forward(self, x: Tensor) -> Any:
        return self.function(self.bn, x * 1)


def outcome(model: nn.Module, module: Any, x: Tensor, *, backward: bool) -> list[Tensor]:
    torch.manual_seed(1)
    x = x.clone().requires_grad_(backward)
    outputs = tensors_in(module(x))
    found = [output.detach().clone() for output in outputs]
    if backward:
        torch.stack(
            [output.square().sum() for output in outputs if output.grad_fn]
        ).sum().backward()
        gradients = [x.grad, *(parameter.grad for parameter in model.parameters())]
        found += [gradient for gradient in gradients if gradient is not None]
    return found


def compare(function: Function, *, backward: bool = True, **keywords: Any) -> list[str]:
    """Hold a compiled function against plain torch, twice; return what was fused."""
    plain = Caller(function)
    ours = copy.deepcopy(plain)
    compiled = torch.compile(ours, backend="bnkit", **keywords)
    for _ in range(2):
        x = torch.randn(4, 4, 6, 6)
        expected = outcome(plain, plain, x, backward=backward)
        torch.testing.assert_close(outcome(ours, compiled, x, backward=backward), expected)
        torch.testing.assert_close(ours.state_dict(), plain.state_dict())
    return [change.what for report in bnkit.compile_reports() for change in report.changes]


SPELLINGS: dict[str, tuple[Function, str]] = {
    "method": (lambda bn, x: bn(x).relu(), "relu"),
    "method in place": (lambda bn, x: bn(x).relu_(), "relu"),
    "torch.relu": (lambda bn, x: torch.relu(bn(x)), "relu"),
    "torch.relu_": (lambda bn, x: torch.relu_(bn(x)), "relu"),
    "F.relu": (lambda bn, x: F.relu(bn(x), True), "relu"),
    "F.relu6": (lambda bn, x: F.relu6(bn(x), inplace=True), "relu6"),
    "nn.ReLU6": (lambda bn, x: nn.ReLU6()(bn(x)) * 1, "relu6"),
    "F.hardtanh": (lambda bn, x: F.hardtanh(bn(x), 0.0, 6.0) * 1, "relu6"),
    "F.hardtanh_": (lambda bn, x: F.hardtanh_(bn(x), 0, 6), "relu6"),
    "F.leaky_relu": (lambda bn, x: F.leaky_relu(bn(x)) * 1, "leaky_relu"),
    "F.leaky_relu_": (lambda bn, x: F.leaky_relu_(bn(x), 0.2), "leaky_relu"),
    "nn.LeakyReLU": (lambda bn, x: nn.LeakyReLU(0.3, True)(bn(x)), "leaky_relu"),
    "x + bn": (lambda bn, x: F.relu(x + bn(x)), "add + relu"),
    "bn + x": (lambda bn, x: F.relu(bn(x) + x), "add + relu"),
    "torch.add": (lambda bn, x: torch.add(input=x, other=bn(x), alpha=1), "add"),
    "Tensor.add": (lambda bn, x: x.add(bn(x)), "add"),
    "Tensor.add_": (lambda bn, x: bn(x).add_(x), "add"),
    "functional": (lambda bn, x: F.batch_norm(x, None, None, training=True).relu(), "relu"),
    "torch.batch_norm": (
        lambda bn, x: torch.batch_norm(
            x, bn.weight, None, bn.running_mean, bn.running_var, True, 0.2, 1e-3, True
        ).relu_(),
        "relu",
    ),
}


@pytest.mark.parametrize("name", SPELLINGS)
def test_every_spelling_is_fused(name: str) -> None:
    function, fused = SPELLINGS[name]
    assert compare(function, fullgraph=True) == [f"batch norm + {fused} in one call"]


def add_in_place(bn: nn.Module, x: Tensor) -> Tensor:
    out = bn(x)
    out += x
    return F.relu(out, inplace=True)


def overwrite_private(bn: nn.Module, x: Tensor) -> Tensor:
    identity = x * 2
    identity += bn(x)
    return identity.relu()


def computed_later(bn: nn.Module, x: Tensor) -> Tensor:
    out = bn(x)
    out += F.avg_pool2d(x, 3, 1, 1) * 2
    return F.relu(out)


def two_in_a_row(bn: nn.Module, x: Tensor) -> Tensor:
    first, second = bn(x), bn(x * 2)
    first += second
    return F.relu(first)


def checkpointed(bn: nn.Module, x: Tensor) -> Tensor:
    def body(v: Tensor) -> Tensor:
        return F.dropout(F.relu(bn(v) + v), 0.5)

    return torch.utils.checkpoint.checkpoint(body, x, use_reentrant=False) * 2


FUSED: dict[str, tuple[Function, list[str]]] = {
    "add in place": (add_in_place, ["batch norm + add + relu in one call"]),
    "overwritten private": (overwrite_private, ["batch norm + add + relu in one call"]),
    "computed later": (computed_later, ["batch norm + add + relu in one call"]),
    "two batch norms": (two_in_a_row, ["batch norm", "batch norm + add + relu in one call"]),
    "checkpoint": (checkpointed, ["batch norm + add + relu in one call"]),
}


@pytest.mark.parametrize("name", FUSED)
def test_harder_shapes_of_the_pattern_are_fused(name: str) -> None:
    function, fused = FUSED[name]
    assert compare(function, fullgraph=True) == fused


def overwrite_viewed(bn: nn.Module, x: Tensor) -> tuple[Tensor, Tensor]:
    identity = x * 2
    view = identity.view(-1)
    identity += bn(x)
    return identity.relu(), view


def change_between(bn: nn.Module, x: Tensor) -> Tensor:
    identity = x * 2
    out = bn(x)
    identity.view(-1)[1:].mul_(3)
    return F.relu(out + identity)


def change_after(bn: nn.Module, x: Tensor) -> tuple[Tensor, Tensor]:
    identity = x * 2
    out = F.relu(bn(x) + identity)
    identity.mul_(3)
    return out, identity


def overwrite_leaky(bn: nn.Module, x: Tensor) -> Tensor:
    out = F.leaky_relu(bn(x))
    out += x
    return out * 1


def read_statistics(bn: Any, x: Tensor) -> Tensor:
    out = bn(x)
    return F.relu(out + x * bn.running_mean.view(1, -1, 1, 1))


def same_layer_between(bn: nn.Module, x: Tensor) -> Tensor:
    out = bn(x)
    return F.relu(out + bn(x * 2) * 3)


def leave_no_grad(bn: nn.Module, x: Tensor) -> Tensor:
    with torch.no_grad():
        out = bn(x)
    return F.relu(out) * x


def ignore_the_result(bn: nn.Module, x: Tensor) -> Tensor:
    out = bn(x)
    F.relu_(out)
    return out * 2


def add_to_itself(bn: nn.Module, x: Tensor) -> Tensor:
    out = bn(x)
    return F.relu(out + out)


def vectorized(bn: nn.Module, x: Tensor) -> Tensor:
    return torch.vmap(lambda v: v * 2)(F.relu(bn(x)))


LEFT: dict[str, tuple[Function, str]] = {
    "overwritten view": (overwrite_viewed, "overwrites a tensor that others may read"),
    "change between": (change_between, "may change in between"),
    "change after": (change_after, "overwritten later"),
    "overwritten leaky": (overwrite_leaky, "may be overwritten before backward needs it"),
    "returned leaky": (lambda bn, x: F.leaky_relu(bn(x)), "may be overwritten"),
    "statistics read": (read_statistics, "may touch its tensors"),
    "same layer between": (same_layer_between, "may touch its tensors"),
    "grad mode": (leave_no_grad, "the context"),
    "result ignored": (ignore_the_result, "others read its output"),
    "added to itself": (add_to_itself, "added to itself"),
    "alpha": (lambda bn, x: torch.add(bn(x), x, alpha=2), "alpha"),
    "number": (lambda bn, x: bn(x) + 1, "a number is added"),
    "broadcast": (lambda bn, x: F.relu(bn(x) + x[:1]), "the shapes differ"),
    "dtype": (lambda bn, x: F.relu(bn(x) + x.double()), "dtype, device or layout"),
    "memory": (
        lambda bn, x: bn(x) + x.contiguous(memory_format=torch.channels_last),
        "in different orders",
    ),
    "silu": (lambda bn, x: F.silu(bn(x)), "the silu that follows"),
    "hardtanh": (lambda bn, x: F.hardtanh(bn(x)), "the hardtanh that follows"),
    "negative slope": (lambda bn, x: F.leaky_relu(bn(x), -0.1), "the leaky_relu that follows"),
    "vmap": (vectorized, "torch.func"),
}


@pytest.mark.parametrize("name", LEFT)
def test_what_cannot_be_shown_to_be_sound_is_left(name: str) -> None:
    function, reason = LEFT[name]
    fused = compare(function, fullgraph=True)
    assert set(fused) <= {"batch norm"}
    reasons = [item.reason for report in bnkit.compile_reports() for item in report.skipped]
    assert any(reason in text for text in reasons), reasons


def test_an_input_that_the_graph_overwrites_is_overwritten() -> None:
    bn = nn.BatchNorm2d(4)

    @torch.compile(backend="bnkit")
    def add_to_input(x: Tensor) -> Tensor:
        x += bn(x)
        return x.relu()

    x = torch.randn(4, 4, 6, 6)
    expected = x + copy.deepcopy(bn)(x)
    with torch.no_grad():
        y = add_to_input(x)
    torch.testing.assert_close(x, expected)
    torch.testing.assert_close(y, expected.relu())


def test_sizes_that_change_are_fused_where_they_must_be_equal() -> None:
    fused = compare(lambda bn, x: F.relu(bn(x) + x), dynamic=True)
    assert fused == ["batch norm + add + relu in one call"]


@pytest.mark.parametrize("training", [True, False])
def test_under_autocast_and_without_gradients(training: bool) -> None:
    torch.manual_seed(0)
    plain = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU()).train(training)
    ours = copy.deepcopy(plain)
    compiled = torch.compile(ours, backend="bnkit")
    x = torch.randn(4, 3, 6, 6)
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(compiled(x), plain(x))
    with torch.inference_mode():
        torch.testing.assert_close(compiled(x), plain(x))
    torch.testing.assert_close(ours.state_dict(), plain.state_dict())
    assert all(report.is_rewritten for report in bnkit.compile_reports())


def test_modes_are_captured_anew_and_a_compiled_model_may_be_compiled_again() -> None:
    model = nn.Sequential(nn.BatchNorm1d(3), nn.ReLU())
    compiled = torch.compile(torch.compile(model, backend="bnkit"), backend="bnkit")
    x = torch.randn(8, 3)
    for training in (True, False, True):
        model.train(training)
        torch.testing.assert_close(compiled(x), copy.deepcopy(model)(x))
    assert [report.compile_id for report in bnkit.compile_reports()] == ["0/0", "0/1"]
