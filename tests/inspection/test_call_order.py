from __future__ import annotations

import torch
from torch import Tensor, nn

import bnkit
from bnkit.inspection.call_order import in_call_order
from bnkit.inspection.trace import trace


def test_keywords_come_in_the_order_of_the_forward() -> None:
    forward = bnkit.BatchNormAct2d(3).forward
    assert list(in_call_order(forward, {"residual": 1, "input": 2})) == ["input", "residual"]
    assert list(in_call_order(lambda **_: None, {"b": 1, "a": 2})) == ["b", "a"]
    assert in_call_order(torch.add, {"b": 1, "a": 2}) == {"b": 1, "a": 2}


class ResidualFirst(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3, padding=1, bias=False)
        self.shortcut = nn.Conv2d(3, 3, 1, bias=False)
        self.norm = bnkit.BatchNormAct2d(3)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(residual=self.shortcut(x), input=self.conv(x))


def test_the_input_of_a_layer_is_its_input_and_not_its_residual() -> None:
    model, x = ResidualFirst(), torch.randn(4, 3, 8, 8) + 1
    watched = trace(model, x)
    norm = next(call for call in watched.calls if call.name == "norm")
    assert [watched.calls[n or 0].name for n in norm.sources] == ["conv", "shortcut"]
    removed = bnkit.remove(model, x).model
    assert removed.conv.bias is not None
    assert removed.shortcut.bias is None
    mean = bnkit.recalibrate(model, [x]).model.norm.running_mean
    torch.testing.assert_close(mean, model.conv(x).mean((0, 2, 3)))
