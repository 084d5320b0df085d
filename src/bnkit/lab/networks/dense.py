"""Fully connected networks with batch norm before each activation."""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import nn

from bnkit.errors import NetworkError
from bnkit.lab.networks.blocks import block, check_counts, check_options, output_layers
from bnkit.layers import BatchNorm1d


def dense(
    input_shape: Sequence[int],
    classes: int,
    hidden: Sequence[int] = (100, 100, 100),
    activation: str = "relu",
    dropout: float = 0.0,
    dropout_place: str = "after-activation",
    depth: int | None = None,
) -> nn.Sequential:
    """Build Flatten, [Linear, batch norm, activation] for each hidden width, Linear.

    Args:
        input_shape: shape of one example, any number of axes.
        classes: number of classes.
        hidden: widths of the hidden layers.
        activation: `relu`, `sigmoid` or `tanh`.
        dropout: probability of dropout in each hidden layer.
        dropout_place: `before-norm`, `after-norm`, `after-activation`, or `before-output`: once,
            behind all batch norms.
        depth: number of hidden layers, for a grid of depths; all have the one width that `hidden`
            then holds, however often.

    Raises:
        NetworkError: no hidden layer, a width below 1, several widths beside `depth`, or an option
            that is unknown.
    """
    if not hidden or min(hidden) < 1:
        raise NetworkError(
            f"dense got hidden = {list(hidden)}", required="at least one width, each at least 1"
        )
    if depth is not None:
        hidden = _of_depth(hidden, depth)
    check_options("dense", activation, dropout, dropout_place)
    layers: list[nn.Module] = [nn.Flatten()]
    width = math.prod(input_shape)
    for next_width in hidden:
        linear, norm = nn.Linear(width, next_width), BatchNorm1d(next_width)
        layers += block(linear, norm, activation, dropout, dropout_place)
        width = next_width
    output = nn.Linear(width, classes)
    return nn.Sequential(*layers, *output_layers(output, dropout, dropout_place))


def sigmoid(
    input_shape: Sequence[int],
    classes: int,
    hidden: Sequence[int] = (100, 100, 100),
    dropout: float = 0.0,
    dropout_place: str = "after-activation",
    depth: int | None = None,
) -> nn.Sequential:
    """Build `dense` with sigmoids: 784-100-100-100-10 on MNIST's images.

    The articles draw its weights with `network.init = { name = "normal", std = 1.0 }`.

    Source: Ioffe and Szegedy 2015, section 4.1, and its reproductions.
    """
    return dense(input_shape, classes, hidden, "sigmoid", dropout, dropout_place, depth)


def _of_depth(hidden: Sequence[int], depth: int) -> list[int]:
    check_counts("dense", depth=depth)
    if len({*hidden}) > 1:
        raise NetworkError(
            f"dense got depth = {depth} and hidden = {list(hidden)}",
            required="with a depth all hidden layers have one width",
            remedy=f"Give hidden = [{hidden[0]}], or leave out depth",
        )
    return [hidden[0]] * depth
