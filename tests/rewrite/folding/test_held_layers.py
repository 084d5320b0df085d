"""A fold of layers that something else than their module holds too, unseen in the outputs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import bnkit
from bnkit.rewrite.called_layers import calls_noted
from helpers.drawn import drawn


class Held(nn.Module):
    """A conv and a batch norm that run through something that holds them, and a silent ReLU."""

    def __init__(self, hold: Callable[[nn.Module, nn.Module], Any]) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)
        self.other, self.last = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)
        self.held = hold(self.conv, self.norm)

    def forward(self, x: Tensor) -> Tensor:
        y = x
        for layer in self.held.values() if isinstance(self.held, dict) else self.held:
            y = layer(y)
        return F.relu(y - 1e6) + self.last(self.other(x))


HOLDERS: dict[str, Callable[[nn.Module, nn.Module], Any]] = {
    "list": lambda conv, norm: [conv, norm],
    "tuple": lambda conv, norm: (conv, norm),
    "dict": lambda conv, norm: {"a": conv, "b": norm},
    "closure": lambda conv, norm: [lambda x: conv(x), lambda x: norm(x)],
    "closure of the batch norm": lambda conv, norm: [conv, lambda x: norm(x)],
    "closure of the conv": lambda conv, norm: [lambda x: conv(x), norm],
}


@pytest.mark.parametrize("inplace", [False, True])
@pytest.mark.parametrize("name", HOLDERS)
def test_layers_that_still_run_are_left(name: str, inplace: bool) -> None:
    torch.manual_seed(0)
    model = drawn(Held(HOLDERS[name]))
    x, shown = torch.randn(2, 3, 6, 6), 2e6 * torch.randn(2, 3, 6, 6)
    expected = model(shown).detach()
    rewrite = bnkit.fold(model, x, inplace=inplace)
    folded = [change.path for change in rewrite.changes if "folded into" in change.what]
    assert folded == ["last"]
    assert any(s.path == "norm" and "still ran" in s.reason for s in rewrite.skipped)
    torch.testing.assert_close(rewrite.model(shown).detach(), expected, rtol=1e-5, atol=1.0)
    assert not any("forward" in vars(module) for module in model.modules())
    torch.testing.assert_close(rewrite.undo()(shown).detach(), expected, rtol=0, atol=0)


def test_calls_are_noted_and_nothing_stays() -> None:
    one, other = nn.ReLU(), nn.ReLU()
    vars(other)["forward"] = own = lambda x: x + 1
    with calls_noted({one: "one", other: "other"}) as ran:
        assert float(other(torch.ones(()))) == 2
    assert ran == {"other"}
    assert "forward" not in vars(one)
    assert vars(other)["forward"] is own
