"""Well-known architectures before and after: outputs, gradients and running statistics."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import bnkit
from bnkit.inspection.nested_tensors import tensors_in
from bnkit.rewrite import Rewrite
from helpers.architectures import CASES


def widened(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: widened(item) for key, item in value.items()}
    return value.double() if value.is_floating_point() else value


def everything(model: nn.Module, example: Any, training: bool) -> list[Tensor | None]:
    """Return outputs, gradients of inputs and parameters, and the state after one step."""
    model = copy.deepcopy(model).train(training)
    torch.manual_seed(5)
    if isinstance(example, dict):
        leaves = []
        outputs = tensors_in(model(**example))
    else:
        leaves = [example.clone().requires_grad_()]
        outputs = tensors_in(model(leaves[0].clone()))
    loss = sum((y * torch.linspace(-1, 2, y.numel()).view_as(y)).sum() for y in outputs)
    wanted = [*leaves, *model.parameters()]
    gradients = torch.autograd.grad(loss, wanted, allow_unused=True)
    return [*outputs, *gradients, *model.state_dict().values()]


def counts(rewrite: Rewrite) -> tuple[int, int]:
    words = [change.what for change in rewrite.changes]
    swapped, fused = (sum(word in text for text in words) for word in ("swapped", "identity"))
    return swapped, fused


@pytest.mark.parametrize("name", CASES)
def test_a_network_gives_what_it_gave_before(name: str) -> None:
    case = CASES[name]
    torch.manual_seed(0)
    model, example = case.build().double(), widened(case.example())
    rewrite, without = bnkit.accelerate(model, example), bnkit.accelerate(model)
    assert counts(rewrite) == (case.norms, case.fused)
    assert counts(without) == (case.norms, case.fused_without)
    assert rewrite.difference is not None
    assert rewrite.difference < 1e-12
    for changed in (rewrite.model, without.model):
        assert list(changed.state_dict()) == list(model.state_dict())
        for training in (True, False):
            expected = everything(model, example, training)
            torch.testing.assert_close(everything(changed, example, training), expected)


def test_all_that_is_left_unfused_has_its_reason() -> None:
    def reasons(name: str) -> str:
        model, example = CASES[name].build(), CASES[name].example()
        return " | ".join({item.reason for item in bnkit.accelerate(model, example).skipped})

    hint = 'torch.compile(model, backend="bnkit") can'
    residual = reasons("resnet")
    assert f"not fused with the ReLU after it, a module that runs 2 times; {hint}" in residual
    assert f"the addition after it, which swapping modules cannot express; {hint}" in residual
    assert f"torch.nn.functional.relu, called as a function; {hint}" in reasons("inception")
    assert "not fused with the Hardswish after it" in reasons("mobilenet-v3")
    assert "it never ran on the example" in reasons("deeplab")


def test_many_layers_print_in_few_lines() -> None:
    model = CASES["resnet"].build()
    text = str(bnkit.accelerate(model, CASES["resnet"].example()))
    assert "bn1, layer1.0.bn1, … layer2.1.bn2 (10 layers): torch's BatchNorm2d swapped" in text
    assert len(text.splitlines()) < 14
