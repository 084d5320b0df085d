from __future__ import annotations

import random

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from bnkit.inspection.preserve import preserve


def make_model() -> nn.Sequential:
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout(0.5), nn.Flatten(), nn.Linear(16, 2)
    )
    model[1].eval()
    model[0].weight.requires_grad_(False)
    model(torch.randn(5, 3, 4, 4)).sum().backward()
    return model


def everything(model: nn.Module) -> dict[str, object]:
    """All that `preserve` promises to put back, as comparable values."""
    tensors = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    return {
        "values": {name: tensor.detach().clone() for name, tensor in tensors.items()},
        "identities": {name: id(tensor) for name, tensor in tensors.items()},
        "grads": {name: None if t.grad is None else t.grad.clone() for name, t in tensors.items()},
        "requires_grad": {name: tensor.requires_grad for name, tensor in tensors.items()},
        "training": {name: module.training for name, module in model.named_modules()},
        "hooks": {name: len(module._forward_hooks) for name, module in model.named_modules()},
        "torch": torch.get_rng_state(),
        "numpy": np.random.get_state()[1].tolist(),
        "python": random.getstate(),
    }


def mark(model: nn.Module) -> None:
    """Leave every mark that `preserve` knows."""
    model.train()
    model(torch.randn(5, 3, 4, 4)).sum().backward()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(1)
            parameter.requires_grad_(not parameter.requires_grad)
    model[1].running_mean = torch.full((4,), 7.0)
    model[0].register_forward_hook(lambda *_: None)
    np.random.rand()
    random.random()


def assert_same(before: dict[str, object], after: dict[str, object]) -> None:
    torch.testing.assert_close(after, before, rtol=0, atol=0)


def test_everything_is_put_back() -> None:
    model = make_model()
    before = everything(model)
    with preserve(model):
        mark(model)
    assert_same(before, everything(model))


def test_everything_is_put_back_when_the_body_raises() -> None:
    model = make_model()
    before = everything(model)
    with pytest.raises(ZeroDivisionError), preserve(model):
        mark(model)
        raise ZeroDivisionError
    assert_same(before, everything(model))


def test_the_comparison_can_fail() -> None:
    model = make_model()
    before = everything(model)
    mark(model)
    with pytest.raises((AssertionError, TypeError)):
        assert_same(before, everything(model))


def test_a_graph_the_user_still_holds_stays_valid() -> None:
    model = make_model().train()
    loss = model(torch.randn(5, 3, 4, 4)).sum()
    with preserve(model), torch.no_grad():
        model.eval()(torch.randn(5, 3, 4, 4))
    loss.backward()


def test_lazy_modules_can_be_preserved() -> None:
    model = nn.Sequential(nn.LazyLinear(3))
    with preserve(model):
        pass
    assert isinstance(model(torch.zeros(2, 4)), Tensor)
