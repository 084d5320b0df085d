"""The networks of this benchmark: three-conv and a stack of depthwise and 1×1 convolutions.

Each is built without batch norm, with torch's layer, or with bnkit's fused one; the convolutions
are the same, weight for weight.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor, nn

import bnkit

Norm = Literal["none", "torch", "bnkit"]
CLASSES = 10


def norm_and_activation(channels: int, norm: Norm, activation: str | None) -> nn.Module:
    """Return batch norm, if any, and the activation, if any, as one module."""
    if norm == "bnkit":
        return bnkit.BatchNormAct2d(channels, activation)
    layers: list[nn.Module] = [nn.BatchNorm2d(channels)] if norm == "torch" else []
    if activation is not None:
        layers.append(nn.ReLU() if activation == "relu" else nn.ReLU6(inplace=True))
    return layers[0] if len(layers) == 1 else nn.Sequential(*layers)


def three_conv(norm: Norm) -> nn.Module:
    """Return the lab's three-conv network for grey images of 32×32 pixels."""
    layers: list[nn.Module] = []
    for in_channels in (1, 16, 16):
        layers += [
            nn.Conv2d(in_channels, 16, 3, padding=1),
            norm_and_activation(16, norm, "relu"),
        ]
    return nn.Sequential(*layers, nn.MaxPool2d(2), nn.Flatten(), nn.Linear(16 * 16 * 16, CLASSES))


class InvertedResidual(nn.Module):
    """1×1 convolution, depthwise 3×3, 1×1, each with batch norm; the input added where it fits.

    Source: Sandler et al. 2018, "MobileNetV2: Inverted Residuals and Linear Bottlenecks".
    """

    def __init__(self, channels: int, out: int, stride: int, norm: Norm, expand: int = 6) -> None:
        super().__init__()
        hidden = channels * expand
        self.adds = stride == 1 and channels == out
        self.fuses_add = self.adds and norm == "bnkit"
        self.expand = nn.Conv2d(channels, hidden, 1, bias=False)
        self.expand_norm = norm_and_activation(hidden, norm, "relu6")
        self.depthwise = nn.Conv2d(hidden, hidden, 3, stride, 1, groups=hidden, bias=False)
        self.depthwise_norm = norm_and_activation(hidden, norm, "relu6")
        self.project = nn.Conv2d(hidden, out, 1, bias=False)
        self.project_norm = norm_and_activation(out, norm, None)

    def forward(self, x: Tensor) -> Tensor:
        y = self.expand_norm(self.expand(x))
        y = self.project(self.depthwise_norm(self.depthwise(y)))
        if self.fuses_add:
            return self.project_norm(y, x)
        y = self.project_norm(y)
        return x + y if self.adds else y


def mobilenet(norm: Norm) -> nn.Module:
    """Return five inverted residuals of MobileNetV2's middle, pooling and a linear layer."""
    blocks = [
        InvertedResidual(channels, out, stride, norm)
        for channels, out, stride in ((24, 24, 1), (24, 32, 2), (32, 32, 1), (32, 64, 2))
    ]
    blocks.append(InvertedResidual(64, 64, 1, norm))
    return nn.Sequential(*blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, CLASSES))


# name → how to build it, shape of a batch, and what bnkit may add of what torch's layer adds.
NETWORKS: dict[str, tuple[Callable[[Norm], nn.Module], tuple[int, ...], float]] = {
    "three-conv": (three_conv, (256, 1, 32, 32), 0.35),
    "mobilenet": (mobilenet, (16, 24, 56, 56), 0.4),
}


def same_weights(source: nn.Module, target: nn.Module) -> None:
    """Give the target the source's convolutions and linear layers; batch norms start alike."""

    def weighted(model: nn.Module) -> list[nn.Module]:
        return [m for m in model.modules() if isinstance(m, nn.Conv2d | nn.Linear)]

    for ours, theirs in zip(weighted(target), weighted(source), strict=True):
        ours.load_state_dict(theirs.state_dict())


def batch_of(shape: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """Return images and labels."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(CLASSES, shape[:1], generator=generator)
    return torch.randn(shape, generator=generator), labels
