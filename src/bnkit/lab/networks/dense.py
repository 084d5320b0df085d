"""Fully connected networks with batch norm before each activation."""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import nn

from bnkit.errors import NetworkError
from bnkit.layers import BatchNorm1d

ACTIVATIONS: dict[str, type[nn.Module]] = {
    "relu": nn.ReLU,
    "sigmoid": nn.Sigmoid,
    "tanh": nn.Tanh,
}


def dense(
    input_shape: Sequence[int],
    classes: int,
    hidden: Sequence[int] = (100, 100, 100),
    activation: str = "relu",
) -> nn.Sequential:
    """Build Flatten, [Linear, batch norm, activation] for each hidden width, Linear.

    Args:
        input_shape: shape of one example, any number of axes.
        classes: number of classes.
        hidden: widths of the hidden layers.
        activation: `relu`, `sigmoid` or `tanh`.

    Raises:
        NetworkError: no hidden layer, a width below 1, or an unknown activation.
    """
    if not hidden or min(hidden) < 1:
        raise NetworkError(
            f"dense got hidden = {list(hidden)}", required="at least one width, each at least 1"
        )
    if activation not in ACTIVATIONS:
        raise NetworkError(
            f"dense got activation = {activation!r}", required=f"one of {sorted(ACTIVATIONS)}"
        )
    layers: list[nn.Module] = [nn.Flatten()]
    width = math.prod(input_shape)
    for next_width in hidden:
        layers += [nn.Linear(width, next_width), BatchNorm1d(next_width), ACTIVATIONS[activation]()]
        width = next_width
    return nn.Sequential(*layers, nn.Linear(width, classes))
