"""VGG with batch norm, for small images."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from bnkit.errors import NetworkError
from bnkit.lab.networks.blocks import block, check_counts, check_image, check_options, output_layers
from bnkit.layers import BatchNorm2d

# Depth → convolutions of each stage: configurations A, B, D and E of the paper.
STAGES = {
    11: (1, 1, 2, 2, 2),
    13: (2, 2, 2, 2, 2),
    16: (2, 2, 3, 3, 3),
    19: (2, 2, 4, 4, 4),
}
WIDENING = (1, 2, 4, 8, 8)


def vgg(
    input_shape: Sequence[int],
    classes: int,
    depth: int = 16,
    width: int = 64,
    dropout: float = 0.0,
    dropout_place: str = "after-activation",
) -> nn.Sequential:
    """Build five stages of [Conv 3×3 padding 1, batch norm, ReLU] and MaxPool 2, then Linear.

    The stages have 1, 2, 4, 8 and 8 times `width` channels. In place of the paper's three linear
    layers there is one, as is usual for CIFAR's images. A stage whose input is smaller than 2×2 is
    not pooled, and what is left of the image is averaged, so that small images pass too.

    Args:
        input_shape: (C, H, W) of one image.
        classes: number of classes.
        depth: 11, 13, 16 or 19, which counts the paper's three linear layers.
        width: channels of the first stage.
        dropout: probability of dropout at each convolution.
        dropout_place: `before-norm`, `after-norm`, `after-activation`, or `before-output`: once,
            behind all batch norms.

    Raises:
        NetworkError: `input_shape` is not that of an image, or an option is unknown.

    Source: Simonyan and Zisserman 2015, table 1.
    """
    check_image("vgg", input_shape, 1)
    check_counts("vgg", width=width)
    check_options("vgg", "relu", dropout, dropout_place)
    if depth not in STAGES:
        raise NetworkError(
            f"vgg got depth = {depth!r}", required=f"one of {', '.join(map(str, STAGES))}"
        )
    channels, side = input_shape[0], min(input_shape[1:])
    layers: list[nn.Module] = []
    for convolutions, wider in zip(STAGES[depth], WIDENING, strict=True):
        for _ in range(convolutions):
            conv = nn.Conv2d(channels, wider * width, kernel_size=3, padding=1)
            channels = wider * width
            norm = BatchNorm2d(channels)
            layers += block(conv, norm, dropout=dropout, dropout_place=dropout_place)
        if side >= 2:
            layers.append(nn.MaxPool2d(2))
            side //= 2
    layers += [nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    output = output_layers(nn.Linear(channels, classes), dropout, dropout_place)
    return nn.Sequential(*layers, *output)
