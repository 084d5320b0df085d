"""The network of the Hindi-digits article: three convolutions, one linear layer."""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import nn

from bnkit.lab.networks.blocks import (
    block,
    check_counts,
    check_image,
    check_options,
    output_layers,
)
from bnkit.layers import BatchNorm2d


def three_conv(
    input_shape: Sequence[int],
    classes: int,
    filters: int = 16,
    activation: str = "relu",
    dropout: float = 0.0,
    dropout_place: str = "after-activation",
) -> nn.Sequential:
    """Build 3 × [Conv 3×3 padding 1, batch norm, ReLU], MaxPool 2, Flatten, Linear.

    Args:
        input_shape: (C, H, W) of one image, H and W at least 2.
        classes: number of classes.
        filters: output channels of each convolution.
        activation: `relu`, `sigmoid` or `tanh`.
        dropout: probability of dropout in each of the three.
        dropout_place: `before-norm`, `after-norm`, `after-activation`, or `before-output`: once,
            behind all batch norms.

    Raises:
        NetworkError: `input_shape` is not that of an image of at least 2×2 pixels, or an option is
            unknown.

    Source: Kashaboina 2024, figures 4 and 5.
    """
    check_image("three-conv", input_shape, 2)
    check_counts("three-conv", filters=filters)
    check_options("three-conv", activation, dropout, dropout_place)
    channels, height, width = input_shape
    layers: list[nn.Module] = []
    for in_channels in (channels, filters, filters):
        conv = nn.Conv2d(in_channels, filters, kernel_size=3, padding=1)
        layers += block(conv, BatchNorm2d(filters), activation, dropout, dropout_place)
    features = math.prod((filters, height // 2, width // 2))
    output = output_layers(nn.Linear(features, classes), dropout, dropout_place)
    return nn.Sequential(*layers, nn.MaxPool2d(2), nn.Flatten(), *output)
