from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from bnkit.errors import NetworkError
from bnkit.lab.networks import build_network, named_builder


class Fitting(nn.Module):
    def __init__(self, classes: int, width: int = 3) -> None:
        super().__init__()
        self.linear = nn.Linear(width, classes)


def without_arguments() -> nn.Module:
    return nn.Linear(1, 1)


def test_only_arguments_that_the_builder_names_are_given() -> None:
    built = build_network(Fitting, "x", (1, 8, 8), 7, {"width": 5})
    assert isinstance(built, Fitting)
    assert built.linear.weight.shape == (7, 5)
    assert isinstance(build_network(without_arguments, "x", (1, 8, 8), 7, {}), nn.Linear)


def raising(classes: int) -> nn.Module:
    raise KeyError("no weights")


def leaving(classes: int) -> nn.Module:
    raise SystemExit(2)


def interrupted() -> nn.Module:
    raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("builder", "args", "words"),
    [
        (nn.Linear(1, 1), {}, "network x: is a Linear, not a function"),
        (3, {}, "is a int, not a function"),
        (raising, {}, r"raised KeyError: 'no weights'; called with classes=2"),
        (leaving, {}, "raised SystemExit: 2"),
        (lambda: 5, {}, "returned a int"),
        (without_arguments, {"width": 3}, r"raised TypeError.*network.args"),
    ],
)
def test_a_builder_that_gives_no_module_is_refused(
    builder: Callable[..., Any], args: dict[str, Any], words: str
) -> None:
    with pytest.raises(NetworkError, match=words):
        build_network(builder, "x", (1, 8, 8), 2, args)


def test_an_interrupt_passes_through_a_builder() -> None:
    with pytest.raises(KeyboardInterrupt):
        build_network(interrupted, "x", (1, 8, 8), 2, {})


def test_an_unknown_network_names_the_nearest() -> None:
    with pytest.raises(NetworkError, match=r"no network 'three_conv'.*Did you mean 'three-conv'"):
        named_builder("three_conv")


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 32, 32), (1, 28, 28), (2, 5, 7), (4, 2, 2)])
def test_three_conv_fits_the_shape_of_the_data(shape: tuple[int, ...]) -> None:
    network = build_network(named_builder("three-conv"), "three-conv", shape, 10, {})
    assert network(torch.randn(3, *shape)).shape == (3, 10)


def test_three_conv_is_the_articles_network() -> None:
    network = build_network(named_builder("three-conv"), "three-conv", (1, 32, 32), 10, {})
    kinds = [type(layer).__name__ for layer in network.children()]
    assert kinds == [*["Conv2d", "BatchNorm2d", "ReLU"] * 3, "MaxPool2d", "Flatten", "Linear"]
    shapes = [tuple(p.shape) for name, p in network.named_parameters() if name.endswith("weight")]
    assert shapes == [
        (16, 1, 3, 3),
        (16,),
        (16, 16, 3, 3),
        (16,),
        (16, 16, 3, 3),
        (16,),
        (10, 4096),
    ]


@pytest.mark.parametrize("shape", [(8,), (1, 1, 8), (3, 8, 1)])
def test_three_conv_refuses_what_is_no_image(shape: tuple[int, ...]) -> None:
    with pytest.raises(NetworkError, match="at least 2×2 pixels"):
        build_network(named_builder("three-conv"), "three-conv", shape, 10, {})


@pytest.mark.parametrize("shape", [(5,), (1, 8, 8)])
@pytest.mark.parametrize("activation", ["relu", "sigmoid", "tanh"])
def test_dense_fits_the_shape_of_the_data(shape: tuple[int, ...], activation: str) -> None:
    args = {"hidden": [16, 32], "activation": activation}
    network = build_network(named_builder("dense"), "dense", shape, 2, args)
    assert network(torch.randn(3, *shape)).shape == (3, 2)
    assert sum(isinstance(m, nn.BatchNorm1d) for m in network.modules()) == 2


@pytest.mark.parametrize("name", ["dense", "sigmoid"])
def test_depth_repeats_the_width(name: str) -> None:
    network = build_network(named_builder(name), name, (5,), 2, {"hidden": [7], "depth": 4})
    widths = [m.out_features for m in network.modules() if isinstance(m, nn.Linear)]
    assert widths == [7, 7, 7, 7, 2]


@pytest.mark.parametrize(
    ("args", "words"),
    [
        ({"hidden": []}, "at least one width"),
        ({"activation": "gelu"}, "activation = 'gelu'"),
        ({"depth": 0}, "depth = 0"),
        ({"depth": 2, "hidden": [3, 4]}, r"hidden = \[3, 4\]; .* one width. Give hidden = \[3\]"),
    ],
)
def test_dense_refuses_bad_arguments(args: dict[str, Any], words: str) -> None:
    with pytest.raises(NetworkError, match=words):
        build_network(named_builder("dense"), "dense", (5,), 2, args)
