"""The small residual network for CIFAR's images."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from bnkit.lab.networks.blocks import check_counts, check_image
from bnkit.layers import BatchNorm2d


class ResidualBlock(nn.Module):
    """Conv 3×3, batch norm, ReLU, Conv 3×3, batch norm; the input added; ReLU.

    Where the block halves the image, the shortcut takes every second pixel and fills the new
    channels with zeros (the paper's option A), so it has no parameters.
    """

    def __init__(self, in_channels: int, channels: int, stride: int) -> None:
        super().__init__()
        self.stride, self.added_channels = stride, channels - in_channels
        self.conv1 = nn.Conv2d(in_channels, channels, 3, stride, padding=1, bias=False)
        self.norm1 = BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.norm2 = BatchNorm2d(channels)
        self.relu1, self.relu2 = nn.ReLU(), nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        """Return the block's output."""
        y = self.relu1(self.norm1(self.conv1(x)))
        y = self.norm2(self.conv2(y))
        return self.relu2(y + self._shortcut(x))  # type: ignore[no-any-return]

    def _shortcut(self, x: Tensor) -> Tensor:
        if self.stride > 1:
            x = x[:, :, :: self.stride, :: self.stride]
        if self.added_channels:
            before = self.added_channels // 2
            x = nn.functional.pad(x, (0, 0, 0, 0, before, self.added_channels - before))
        return x


def resnet(
    input_shape: Sequence[int], classes: int, blocks: int = 3, width: int = 16
) -> nn.Sequential:
    """Build Conv 3×3, three stages of residual blocks, global average, Linear.

    It has 6·blocks + 2 layers with weights: 3 blocks per stage make ResNet-20, 9 make ResNet-56.
    The stages have 1, 2 and 4 times `width` channels, and the second and third halve the image.

    Args:
        input_shape: (C, H, W) of one image.
        classes: number of classes.
        blocks: residual blocks per stage.
        width: channels of the first stage.

    Raises:
        NetworkError: `input_shape` is not that of an image, or a count is below 1.

    Source: He et al. 2016, "Deep Residual Learning", section 4.2.
    """
    check_image("resnet", input_shape, 1)
    check_counts("resnet", blocks=blocks, width=width)
    layers: list[nn.Module] = [
        nn.Conv2d(input_shape[0], width, 3, padding=1, bias=False),
        BatchNorm2d(width),
        nn.ReLU(),
    ]
    channels = width
    for stage in range(3):
        for index in range(blocks):
            stride = 2 if stage > 0 and index == 0 else 1
            layers.append(ResidualBlock(channels, width * 2**stage, stride))
            channels = width * 2**stage
    layers += [nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    return nn.Sequential(*layers, nn.Linear(channels, classes))
