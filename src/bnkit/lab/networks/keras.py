"""The two networks of the Keras article, with Keras's eps, decay and initial weights.

Batch norm stands after each activation, as published. The last softmax is left to the loss.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import Tensor, nn

from bnkit.errors import NetworkError
from bnkit.lab.networks.blocks import check_counts, check_image
from bnkit.lab.networks.initialization import initialize
from bnkit.lab.networks.settings import GlorotInit
from bnkit.layers import BatchNorm1d, BatchNorm2d

EPS = 1e-3
MOMENTUM = 0.01  # weight of the new batch: 1 − Keras's decay of 0.99


class ChannelsLast(nn.Module):
    """(N, C, H, W) → (N, H, W, C), the order in which Keras keeps images."""

    def forward(self, x: Tensor) -> Tensor:
        """Return the same values with the channels last."""
        return x.permute(0, 2, 3, 1)


class MeanOverPositions(nn.Module):
    """Logits (N, H, W, K) → (N, K): the log of the softmax's mean over all positions."""

    def forward(self, logits: Tensor) -> Tensor:
        """Return log((1/(H·W))·Σ softmax(logits)), whose own softmax is that mean."""
        positions = logits.flatten(1, 2)
        summed = positions.log_softmax(dim=-1).logsumexp(dim=1)
        return summed - math.log(positions.shape[1])


def keras_dense(
    input_shape: Sequence[int], classes: int, hidden: Sequence[int] = (16, 32)
) -> nn.Sequential:
    """Build Flatten, [Linear, ReLU, batch norm] for each hidden width, Linear.

    On the article's input (1, 5) with two classes: Dense 16, Dense 32, Dense 2. There Keras's Dense
    acts on the last axis and keeps the axis of length 1, which Flatten drops.

    Args:
        input_shape: shape of one example.
        classes: number of classes.
        hidden: widths of the hidden layers.

    Raises:
        NetworkError: no hidden layer, or a width below 1.
    """
    if not hidden or min(hidden) < 1:
        raise NetworkError(
            f"keras-dense got hidden = {list(hidden)}",
            required="at least one width, each at least 1",
        )
    layers: list[nn.Module] = [nn.Flatten()]
    width = math.prod(input_shape)
    for next_width in hidden:
        norm = BatchNorm1d(next_width, eps=EPS, momentum=MOMENTUM)
        layers += [nn.Linear(width, next_width), nn.ReLU(), norm]
        width = next_width
    return _with_kerass_weights(nn.Sequential(*layers, nn.Linear(width, classes)), "keras-dense")


def keras_conv(
    input_shape: Sequence[int], classes: int, filters: int = 32, flatten: bool = False
) -> nn.Sequential:
    """Build 2 × [Conv 3×3 without padding, ReLU, batch norm], MaxPool 2, Linear.

    As published there is no Flatten, so the linear layer acts on each position, 12×12 on images of
    28×28: `network[:-1]` returns the published network's logits, (N, 12, 12, 2). One label per
    image cannot train those, so a last module without parameters averages their softmax.

    Args:
        input_shape: (C, H, W) of one image, H and W at least 6.
        classes: number of classes.
        filters: output channels of each convolution.
        flatten: whether to flatten before the linear layer, in Keras's order (H, W, C).

    Raises:
        NetworkError: `input_shape` is not that of an image of at least 6×6 pixels.
    """
    check_image("keras-conv", input_shape, 6)
    check_counts("keras-conv", filters=filters)
    channels, height, width = input_shape
    layers: list[nn.Module] = []
    for in_channels in (channels, filters):
        norm = BatchNorm2d(filters, eps=EPS, momentum=MOMENTUM)
        layers += [nn.Conv2d(in_channels, filters, kernel_size=3), nn.ReLU(), norm]
    layers += [nn.MaxPool2d(2), ChannelsLast()]
    if flatten:
        features = filters * ((height - 4) // 2) * ((width - 4) // 2)
        layers += [nn.Flatten(), nn.Linear(features, classes)]
    else:
        layers += [nn.Linear(filters, classes), MeanOverPositions()]
    return _with_kerass_weights(nn.Sequential(*layers), "keras-conv")


def _with_kerass_weights(network: nn.Sequential, name: str) -> nn.Sequential:
    initialize(network, GlorotInit(name="glorot"), name)
    return network
