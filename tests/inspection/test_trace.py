from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bnkit.inspection.trace import trace


class Branches(nn.Module):
    """Control flow, a shared module, functions, an addition, a dictionary output."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 1)
        self.shared = nn.Conv2d(4, 4, 1)
        self.norm = nn.BatchNorm2d(4)

    def forward(self, x: Tensor, twice: bool = True) -> dict[str, Tensor]:
        x = self.conv(x)
        y = self.shared(F.relu(x))
        if twice:
            y = self.shared(y)
        return {"out": self.norm(x + y)}


def names(model: nn.Module, *args: object) -> list[str]:
    return [call.name for call in trace(model, args).calls]


def test_calls_stand_in_the_order_of_execution() -> None:
    found = names(Branches(), torch.randn(2, 3, 5, 5))
    assert [n.rsplit(".", 1)[-1] for n in found] == [
        "conv",
        "relu",
        "shared",
        "shared",
        "__add__",
        "norm",
    ] or [n.rsplit(".", 1)[-1] for n in found] == [
        "conv",
        "relu",
        "shared",
        "shared",
        "add",
        "norm",
    ]


def test_control_flow_is_watched_and_not_read() -> None:
    found = names(Branches(), torch.randn(2, 3, 5, 5), False)
    assert found.count("shared") == 1


def test_sources_name_the_calls_that_made_the_tensors() -> None:
    result = trace(Branches(), (torch.randn(2, 3, 5, 5),))
    calls = {call.name: number for number, call in enumerate(result.calls)}
    norm = result.calls[calls["norm"]]
    (addition,) = [source for source in norm.sources if source is not None]
    assert set(result.calls[addition].sources) == {calls["conv"], calls["shared"]}
    assert result.calls[calls["conv"]].sources == (None,)


def test_functions_inside_modules_of_torch_are_not_recorded() -> None:
    assert names(nn.Sequential(nn.Linear(3, 2), nn.ReLU(inplace=True)), torch.ones(1, 3)) == [
        "0",
        "1",
    ]


def test_an_in_place_function_becomes_the_maker_of_its_tensor() -> None:
    class InPlace(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Linear(3, 3), nn.Linear(3, 3)

        def forward(self, x: Tensor) -> Tensor:
            x = self.first(x)
            F.relu(x, inplace=True)
            return self.second(x)

    calls = trace(InPlace(), (torch.ones(1, 3),)).calls
    assert [call.name.rsplit(".", 1)[-1] for call in calls][-1] == "second"
    assert "relu" in calls[calls[-1].sources[0] or 0].name


def test_hooks_are_gone_when_forward_raises() -> None:
    model = nn.Sequential(nn.Linear(3, 2))
    with pytest.raises(RuntimeError, match="shapes"):
        trace(model, (torch.ones(1, 4),))
    assert not model[0]._forward_hooks
    assert not model[0]._forward_pre_hooks
