"""Symbolic tracing by torch.fx keeps bnkit's layers whole, as it keeps torch's."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import bnkit


@pytest.mark.parametrize("kind", [bnkit.BatchNorm2d, bnkit.BatchNormAct2d])
def test_a_traced_layer_follows_its_mode(kind: type[nn.Module]) -> None:
    model = nn.Sequential(nn.Conv2d(3, 8, 3), kind(8))
    traced = torch.fx.symbolic_trace(model)
    assert int(model[1].num_batches_tracked) == 0
    x = torch.randn(4, 3, 6, 6)
    for training in (True, False):
        model.train(training)
        traced.train(training)
        torch.testing.assert_close(traced(x), model(x))
    assert int(model[1].num_batches_tracked) == 2


def test_a_residual_is_passed_on() -> None:
    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm = bnkit.BatchNormAct2d(3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.norm(x * 2, residual=x)

    block = Block().eval()
    x = torch.randn(2, 3, 4, 4)
    torch.testing.assert_close(torch.fx.symbolic_trace(block)(x), block(x))
