"""Small networks of well-known architectures, each with an input for it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def conv(inputs: int, outputs: int, size: int = 3, stride: int = 1, groups: int = 1) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, size, stride, size // 2, groups=groups, bias=False)


class BasicBlock(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1, self.bn1 = conv(inputs, outputs, 3, stride), nn.BatchNorm2d(outputs)
        self.relu = nn.ReLU(inplace=True)
        self.conv2, self.bn2 = conv(outputs, outputs), nn.BatchNorm2d(outputs)
        self.downsample = None
        if stride != 1:
            self.downsample = nn.Sequential(
                conv(inputs, outputs, 1, stride), nn.BatchNorm2d(outputs)
            )

    def forward(self, x: Tensor) -> Tensor:
        identity = x
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        if self.downsample is not None:
            identity = self.downsample(x)
        out += identity
        return self.relu(out)


class Bottleneck(nn.Module):
    """ResNet's, and ResNeXt's with groups; the identity is added the other way around."""

    def __init__(self, inputs: int, width: int, groups: int = 1) -> None:
        super().__init__()
        self.conv1, self.bn1 = conv(inputs, width, 1), nn.BatchNorm2d(width)
        self.conv2, self.bn2 = conv(width, width, 3, groups=groups), nn.BatchNorm2d(width)
        self.conv3, self.bn3 = conv(width, 4 * width, 1), nn.BatchNorm2d(4 * width)
        self.relu = nn.ReLU(inplace=True)
        self.shortcut = nn.Sequential(conv(inputs, 4 * width, 1), nn.BatchNorm2d(4 * width))

    def forward(self, x: Tensor) -> Tensor:
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.relu(self.bn2(self.conv2(out)))
        return self.relu(self.shortcut(x) + self.bn3(self.conv3(out)))


class PaddedShortcut(nn.Module):
    """ResNet for CIFAR-10, option A: the shortcut is computed behind the batch norm."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = conv(channels, 2 * channels, 3, 2), nn.BatchNorm2d(2 * channels)
        self.pad = channels // 2

    def forward(self, x: Tensor) -> Tensor:
        out = self.bn1(self.conv1(x))
        out += F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, self.pad, self.pad), "constant", 0)
        return F.relu(out)


class PreActivation(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.bn1, self.conv1 = nn.BatchNorm2d(channels), conv(channels, channels)
        self.bn2, self.conv2 = nn.BatchNorm2d(channels), conv(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        out = self.conv1(F.relu(self.bn1(x)))
        out = self.conv2(F.relu(self.bn2(out)))
        out += x
        return out


class InvertedResidual(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        wide = 3 * channels
        self.body = nn.Sequential(
            conv(channels, wide, 1),
            nn.BatchNorm2d(wide),
            nn.ReLU6(inplace=True),
            conv(wide, wide, 3, groups=wide),
            nn.BatchNorm2d(wide),
            nn.ReLU6(inplace=True),
            conv(wide, channels, 1),
            nn.BatchNorm2d(channels),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x)


class DenseBlock(nn.Module):
    def __init__(self, channels: int, growth: int = 4, layers: int = 3) -> None:
        super().__init__()
        widths = [channels + growth * index for index in range(layers)]
        self.norms = nn.ModuleList(nn.BatchNorm2d(width) for width in widths)
        self.convs = nn.ModuleList(conv(width, growth) for width in widths)

    def forward(self, x: Tensor) -> Tensor:
        features = [x]
        for norm, convolution in zip(self.norms, self.convs, strict=True):
            features.append(convolution(torch.relu(norm(torch.cat(features, 1)))))
        return torch.cat(features, 1)


class InceptionBlock(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.convs = nn.ModuleList(conv(channels, 4, size) for size in (1, 3, 5))
        self.norms = nn.ModuleList(nn.BatchNorm2d(4, eps=0.001) for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        branches = [norm(c(x)) for c, norm in zip(self.convs, self.norms, strict=True)]
        pooled = F.avg_pool2d(x, 3, 1, 1)
        return torch.cat([*(F.relu(branch, inplace=True) for branch in branches), pooled], 1)


class UNet3d(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.down = self._block(1, 4)
        self.bottom = self._block(4, 8)
        self.up = nn.ConvTranspose3d(8, 4, 2, 2)
        self.last = self._block(8, 4)

    @staticmethod
    def _block(inputs: int, outputs: int) -> nn.Sequential:
        return nn.Sequential(
            nn.Conv3d(inputs, outputs, 3, padding=1),
            nn.BatchNorm3d(outputs),
            nn.LeakyReLU(0.1),
        )

    def forward(self, x: Tensor) -> Tensor:
        high = self.down(x)
        low = self.bottom(F.max_pool3d(high, 2))
        return self.last(torch.cat([self.up(low), high], 1))


class PointNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv1d(3, 16, 1), nn.BatchNorm1d(16)
        self.conv2, self.bn2 = nn.Conv1d(16, 32, 1), nn.BatchNorm1d(32)
        self.fc, self.bn3 = nn.Linear(32, 16), nn.BatchNorm1d(16)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.bn1(self.conv1(x)))
        x = self.bn2(self.conv2(x))
        x = torch.max(x, 2)[0]
        return self.bn3(self.fc(x)).relu()


class ShuffleUnit(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        half = channels // 2
        self.branch = nn.Sequential(
            conv(half, half, 1),
            nn.BatchNorm2d(half),
            nn.ReLU(inplace=True),
            conv(half, half, 3, groups=half),
            nn.BatchNorm2d(half),
            conv(half, half, 1),
            nn.BatchNorm2d(half),
            nn.ReLU(inplace=True),
        )

    def forward(self, x: Tensor) -> Tensor:
        first, second = x.chunk(2, dim=1)
        joined = torch.cat((first, self.branch(second)), dim=1)
        n, c, h, w = joined.shape
        return joined.view(n, 2, c // 2, h, w).transpose(1, 2).reshape(n, c, h, w)


class SqueezeExcitation(nn.Module):
    """MobileNetV3's and EfficientNet's: activations that no kernel fuses, and a gate."""

    def __init__(self, channels: int, activation: nn.Module) -> None:
        super().__init__()
        self.conv, self.bn, self.activation = (
            conv(channels, channels),
            nn.BatchNorm2d(channels),
            activation,
        )
        self.gate = nn.Conv2d(channels, channels, 1)
        self.project, self.bn2 = conv(channels, channels, 1), nn.BatchNorm2d(channels)
        self.dropout = nn.Dropout(0.2)

    def forward(self, x: Tensor) -> Tensor:
        out = self.activation(self.bn(self.conv(x)))
        out = out * torch.sigmoid(self.gate(F.adaptive_avg_pool2d(out, 1)))
        return self.dropout(self.bn2(self.project(out))) + x


class Siamese(nn.Module):
    """One batch norm runs twice: its statistics must move in that order."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.bn = conv(3, 6), nn.BatchNorm2d(6, momentum=0.5)

    def encode(self, x: Tensor) -> Tensor:
        return F.relu(self.bn(self.conv(x)))

    def forward(self, x: Tensor) -> Tensor:
        one, other = self.bn(self.conv(x)), self.bn(self.conv(x.flip(0) * 2))
        return (F.relu(one) - F.relu(other)).abs()


class Features(nn.Module):
    """Returns what lies between the layers, so that little may be fused."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.bn1, self.bn2 = conv(3, 6), nn.BatchNorm2d(6), nn.BatchNorm2d(6)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        normalized = self.bn1(self.conv(x))
        active = F.relu(normalized)
        other = self.bn2(active) + active
        return {"normalized": normalized, "active": active, "sum": other, "relu": F.relu(other)}


def discriminator() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 8, 4, 2, 1),
        nn.LeakyReLU(0.2, inplace=True),
        conv(8, 16, 3, 2),
        nn.BatchNorm2d(16),
        nn.LeakyReLU(0.2, inplace=True),
        conv(16, 8),
        nn.BatchNorm2d(8),
        nn.LeakyReLU(0.2),
        nn.Conv2d(8, 1, 2),
    )


def stem(*blocks: nn.Module, channels: int = 8) -> nn.Module:
    return nn.Sequential(conv(3, channels), nn.BatchNorm2d(channels), nn.ReLU(True), *blocks)


IMAGES = (4, 3, 8, 8)
# name → builder, shape of x, calls that fuse something, calls of batch norm
NETWORKS: dict[str, tuple[Callable[[], Any], tuple[int, ...], int, int]] = {
    "resnet": (lambda: stem(BasicBlock(8, 8), BasicBlock(8, 16, 2)), IMAGES, 5, 6),
    "bottleneck": (lambda: stem(Bottleneck(8, 4), Bottleneck(16, 4)), IMAGES, 7, 9),
    "resnext": (lambda: stem(Bottleneck(8, 8, groups=4)), IMAGES, 4, 5),
    "padded shortcut": (lambda: stem(PaddedShortcut(8)), IMAGES, 2, 2),
    "pre-activation": (lambda: stem(PreActivation(8), PreActivation(8)), IMAGES, 5, 5),
    "mobilenet-v2": (lambda: stem(InvertedResidual(8), InvertedResidual(8)), IMAGES, 7, 7),
    "densenet": (lambda: stem(DenseBlock(8)), IMAGES, 4, 4),
    "inception": (lambda: stem(InceptionBlock(8)), IMAGES, 4, 4),
    "unet-3d": (UNet3d, (2, 1, 4, 4, 4), 2, 3),
    "pointnet": (PointNet, (4, 3, 10), 2, 3),
    "shufflenet": (lambda: stem(ShuffleUnit(8), ShuffleUnit(8)), IMAGES, 5, 7),
    "mobilenet-v3": (lambda: stem(SqueezeExcitation(8, nn.Hardswish(True))), IMAGES, 1, 3),
    "efficientnet": (lambda: stem(SqueezeExcitation(8, nn.SiLU())), IMAGES, 1, 3),
    "siamese": (Siamese, IMAGES, 2, 2),
    "features": (Features, IMAGES, 1, 2),
    "discriminator": (discriminator, IMAGES, 2, 2),
}
