"""The path that an error message begins with."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import bnkit
from bnkit.errors import BnkitError
from bnkit.layers.layer_path import layer_path


class Block(nn.Module):
    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.conv, self.bn2 = nn.Conv2d(3, 4, 1), layer

    def forward(self, x: Tensor) -> Tensor:
        return self.bn2(self.conv(x))


class Network(nn.Module):
    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer3 = nn.Sequential(nn.Identity(), Block(layer))

    def forward(self, x: Tensor) -> Tensor:
        return self.layer3(x)


class Holder(nn.Module):
    """Calls a layer that it has not registered."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.hidden = [layer]

    def forward(self, x: Tensor) -> Tensor:
        return self.hidden[0](x)


X = torch.randn(1, 3, 1, 1)


def message_of(model: nn.Module, x: Tensor = X) -> str:
    with pytest.raises(BnkitError, match=r".") as caught:
        model(x)
    return str(caught.value)


def test_the_path_is_that_in_the_outermost_module() -> None:
    assert message_of(Network(bnkit.BatchNorm2d(4))) == (
        "layer3.1.bn2: got x of shape (1, 4, 1, 1), one value per channel; training statistics "
        "need at least two. Use a larger batch, or put this layer in eval mode with running "
        "statistics."
    )


def test_a_layer_called_on_its_own_is_named_by_its_class() -> None:
    assert message_of(bnkit.BatchNorm2d(3)).startswith("BatchNorm2d: got x of shape (1, 3, 1, 1)")


def test_a_layer_that_nobody_registered_is_named_by_its_class() -> None:
    assert message_of(Holder(bnkit.BatchNorm2d(3))).startswith("BatchNorm2d: ")


def test_an_outer_module_that_does_not_know_the_layer_is_passed_over() -> None:
    inner = Network(bnkit.BatchNorm2d(4))
    assert message_of(Holder(inner)).startswith("layer3.1.bn2: ")


def test_a_compiled_models_wrapper_does_not_show_in_the_path() -> None:
    class Wrapper(nn.Module):
        def __init__(self, model: nn.Module) -> None:
            super().__init__()
            self._orig_mod = model

        def forward(self, x: Tensor) -> Tensor:
            return self._orig_mod(x)

    assert message_of(Wrapper(Network(bnkit.BatchNorm2d(4)))).startswith("layer3.1.bn2: ")


def test_the_path_is_not_looked_for_while_all_is_well(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(layer: nn.Module) -> str:
        raise AssertionError(layer)

    monkeypatch.setattr("bnkit.layers.batch_norm.layer_path", refuse)
    Network(bnkit.BatchNorm2d(4))(torch.randn(2, 3, 1, 1))
    with pytest.raises(AssertionError, match="BatchNorm2d"):
        Network(bnkit.BatchNorm2d(4))(X)


def test_outside_of_any_forward_it_is_the_class() -> None:
    assert layer_path(bnkit.BatchNorm3d(3)) == "BatchNorm3d"
