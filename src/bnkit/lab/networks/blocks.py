"""What the networks share: an activation by name, where dropout stands, and their refusals."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from bnkit.errors import NetworkError

ACTIVATIONS: dict[str, type[nn.Module]] = {
    "relu": nn.ReLU,
    "sigmoid": nn.Sigmoid,
    "tanh": nn.Tanh,
}
BEFORE_OUTPUT = "before-output"
DROPOUT_PLACES = ("before-norm", "after-norm", "after-activation", BEFORE_OUTPUT)


def block(
    weighted: nn.Module,
    norm: nn.Module,
    activation: str = "relu",
    dropout: float = 0.0,
    dropout_place: str = "after-activation",
) -> list[nn.Module]:
    """Return [weighted, norm, activation], with dropout of single values where it is asked for.

    Args:
        weighted: a convolution or linear layer.
        norm: its batch norm.
        activation: a key of `ACTIVATIONS`.
        dropout: probability that a value is dropped; 0 builds no dropout layer.
        dropout_place: one of `DROPOUT_PLACES`; `before-output` builds none here.
    """
    layers = {"weighted": weighted, "norm": norm, "activation": ACTIVATIONS[activation]()}
    if not dropout or dropout_place == BEFORE_OUTPUT:
        return list(layers.values())
    side, _, of = dropout_place.partition("-")
    placed: list[nn.Module] = []
    for name, layer in layers.items():
        around = [nn.Dropout(dropout), layer] if side == "before" else [layer, nn.Dropout(dropout)]
        placed += around if name == of else [layer]
    return placed


def output_layers(linear: nn.Linear, dropout: float, dropout_place: str) -> list[nn.Module]:
    """Return the output layer, with the one dropout of `before-output` in front of it."""
    is_here = dropout and dropout_place == BEFORE_OUTPUT
    return [nn.Dropout(dropout), linear] if is_here else [linear]


def check_options(
    network: str,
    activation: str = "relu",
    dropout: float = 0.0,
    dropout_place: str = "after-activation",
) -> None:
    """Raise `NetworkError` for an option that `block` does not know."""
    if activation not in ACTIVATIONS:
        raise NetworkError(
            f"{network} got activation = {activation!r}", required=f"one of {sorted(ACTIVATIONS)}"
        )
    if not 0 <= dropout < 1:
        raise NetworkError(
            f"{network} got dropout = {dropout}", required="a probability from 0 to below 1"
        )
    if dropout_place not in DROPOUT_PLACES:
        raise NetworkError(
            f"{network} got dropout_place = {dropout_place!r}",
            required=f"one of {', '.join(DROPOUT_PLACES)}",
        )


def check_counts(network: str, **counts: int) -> None:
    """Raise `NetworkError` unless every count is a whole number of at least 1."""
    for name, count in counts.items():
        if not isinstance(count, int) or isinstance(count, bool) or count < 1:
            raise NetworkError(
                f"{network} got {name} = {count!r}", required="a whole number, at least 1"
            )


def check_image(network: str, input_shape: Sequence[int], least: int) -> None:
    """Raise `NetworkError` unless the data are images (C, H, W) of at least `least`² pixels."""
    if len(input_shape) != 3 or min(input_shape[1:]) < least:
        raise NetworkError(
            f"{network} got data of shape {tuple(input_shape)}",
            required=f"it needs images (C, H, W) of at least {least}×{least} pixels",
            remedy='Use network.name = "dense" for other data',
        )
