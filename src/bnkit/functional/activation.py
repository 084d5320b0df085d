"""The activations that may follow a batch norm, by name, and how torch computes them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch.nn.functional as torch_functional
from torch import Tensor

from bnkit.errors import ArgumentError, ArgumentTypeError, TensorMismatchError, did_you_mean

DEFAULT_NEGATIVE_SLOPE = 0.01

_Activation = Callable[[Tensor], Tensor]

# Elementwise, without parameters or random numbers.
_BY_NAME: dict[str, _Activation] = {
    "relu": torch_functional.relu,
    "relu6": torch_functional.relu6,
    "elu": torch_functional.elu,
    "gelu": torch_functional.gelu,
    "hardsigmoid": torch_functional.hardsigmoid,
    "hardswish": torch_functional.hardswish,
    "mish": torch_functional.mish,
    "selu": torch_functional.selu,
    "sigmoid": torch_functional.sigmoid,
    "silu": torch_functional.silu,
    "softplus": torch_functional.softplus,
    "tanh": torch_functional.tanh,
}
LEAKY_RELU = "leaky_relu"
_NAMES = (*_BY_NAME, LEAKY_RELU)


class Following(NamedTuple):
    """What follows a batch norm: the residual is added, then the activation applied."""

    activation: str | None
    negative_slope: float
    residual: Tensor | None


NOTHING = Following(None, DEFAULT_NEGATIVE_SLOPE, None)


def activation_names() -> tuple[str, ...]:
    """Return the names that `activation=` takes, beside None."""
    return _NAMES


def check_activation(activation: Any, negative_slope: Any) -> None:
    """Raise if this is not the name of an activation, or its slope not a number.

    Raises:
        ArgumentTypeError: not a string or None; a slope that is no number.
        ArgumentError: no activation of that name.
    """
    if activation is None or activation in _NAMES:
        pass
    elif not isinstance(activation, str):
        raise ArgumentTypeError(
            f"got activation={activation!r}",
            required="it must be the name of an activation, or None",
            remedy=f"The names are {', '.join(activation_names())}",
        )
    else:
        raise ArgumentError(
            f"there is no activation {activation!r}",
            required=f"the activations are {', '.join(activation_names())}",
            remedy=did_you_mean(activation, activation_names()),
        )
    if isinstance(negative_slope, bool) or not isinstance(negative_slope, (int, float)):
        raise ArgumentTypeError(
            f"got negative_slope={negative_slope!r}", required="it must be a number"
        )


def check_residual(x: Tensor, residual: Any) -> None:
    """Raise if a residual cannot be added to the batch norm of x value by value.

    Raises:
        ArgumentTypeError: not a tensor.
        TensorMismatchError: another shape or device.
    """
    if residual is None or not isinstance(x, Tensor):  # batch_norm says what is wrong with x
        return
    if not isinstance(residual, Tensor):
        raise ArgumentTypeError(
            f"got residual of type {type(residual).__name__}", required="it must be a torch.Tensor"
        )
    if residual.shape != x.shape:
        raise TensorMismatchError(
            f"got x of shape {tuple(x.shape)} and residual of shape {tuple(residual.shape)}",
            required="they are added value by value, and must have one shape",
            remedy="To broadcast it on purpose, give residual.expand_as(x)",
        )
    if residual.device != x.device:
        raise TensorMismatchError(
            f"got x on {x.device}, but residual on {residual.device}",
            required="they must be on one device",
            remedy=f'Move one with .to("{x.device}") or .to("{residual.device}")',
        )


def add_and_activate(y: Tensor, following: Following) -> Tensor:
    """Return activation(y + residual), by torch's operators, one after the other."""
    activation, negative_slope, residual = following
    if residual is not None:
        y = y + residual
    if activation is None:
        return y
    if activation == LEAKY_RELU:
        return torch_functional.leaky_relu(y, negative_slope)
    return _BY_NAME[activation](y)
