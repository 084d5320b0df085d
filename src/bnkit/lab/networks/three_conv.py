"""The network of the Hindi-digits article: three convolutions, one linear layer."""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import nn

from bnkit.errors import NetworkError
from bnkit.layers import BatchNorm2d


def three_conv(input_shape: Sequence[int], classes: int, filters: int = 16) -> nn.Sequential:
    """Build 3 × [Conv 3×3 padding 1, batch norm, ReLU], MaxPool 2, Flatten, Linear.

    Args:
        input_shape: (C, H, W) of one image, H and W at least 2.
        classes: number of classes.
        filters: output channels of each convolution.

    Raises:
        NetworkError: `input_shape` is not that of an image of at least 2×2 pixels.

    Source: Kashaboina 2024, figures 4 and 5.
    """
    if len(input_shape) != 3 or min(input_shape[1:]) < 2:
        raise NetworkError(
            f"three-conv got data of shape {tuple(input_shape)}",
            required="it needs images (C, H, W) of at least 2×2 pixels",
            remedy='Use network.name = "dense" for other data',
        )
    channels, height, width = input_shape
    layers: list[nn.Module] = []
    for in_channels in (channels, filters, filters):
        layers += [
            nn.Conv2d(in_channels, filters, kernel_size=3, padding=1),
            BatchNorm2d(filters),
            nn.ReLU(),
        ]
    features = math.prod((filters, height // 2, width // 2))
    return nn.Sequential(*layers, nn.MaxPool2d(2), nn.Flatten(), nn.Linear(features, classes))
