"""Well-known architectures in small, written as their authors write them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class BasicBlock(nn.Module):
    """ResNet's block: one ReLU module for both activations."""

    def __init__(self, inside: int, channels: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inside, channels, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(channels, channels, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.downsample = None
        if stride != 1 or inside != channels:
            self.downsample = nn.Sequential(
                nn.Conv2d(inside, channels, 1, stride, bias=False), nn.BatchNorm2d(channels)
            )

    def forward(self, x: Tensor) -> Tensor:
        identity = x if self.downsample is None else self.downsample(x)
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        out += identity
        return self.relu(out)


class ResNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 8, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(8)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(2)
        self.layer1 = nn.Sequential(BasicBlock(8, 8), BasicBlock(8, 8))
        self.layer2 = nn.Sequential(BasicBlock(8, 16, 2), BasicBlock(16, 16))
        self.avgpool = nn.AdaptiveAvgPool2d((1, 1))
        self.fc = nn.Linear(16, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        x = self.layer2(self.layer1(x))
        return self.fc(torch.flatten(self.avgpool(x), 1))


class VGG(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for inside, channels in ((3, 8), (8, 8), (8, 16)):
            conv = nn.Conv2d(inside, channels, 3, padding=1)
            layers += [conv, nn.BatchNorm2d(channels), nn.ReLU(inplace=True)]
        self.features = nn.Sequential(*layers, nn.MaxPool2d(2))
        self.classifier = nn.Sequential(
            nn.Linear(16, 8), nn.ReLU(True), nn.Dropout(), nn.Linear(8, 5)
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.features(x).mean((2, 3)))


class ConvBNActivation(nn.Sequential):
    def __init__(
        self, inside: int, out: int, act: Callable[[], nn.Module], groups: int = 1, stride: int = 1
    ) -> None:
        super().__init__(
            nn.Conv2d(inside, out, 3, stride, 1, groups=groups, bias=False),
            nn.BatchNorm2d(out, eps=1e-3, momentum=0.01),
            act(),
        )


class SqueezeExcite(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Conv2d(channels, 4, 1), nn.Conv2d(4, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        scale = self.fc2(F.relu(self.fc1(x.mean((2, 3), keepdim=True))))
        return F.hardsigmoid(scale) * x


class InvertedResidual(nn.Module):
    """The block of MobileNetV2 and V3 and of EfficientNet, with stochastic depth in training."""

    def __init__(self, channels: int, act: Callable[[], nn.Module], excite: bool) -> None:
        super().__init__()
        wide = 2 * channels
        self.block = nn.Sequential(
            ConvBNActivation(channels, wide, act),
            ConvBNActivation(wide, wide, act, groups=wide),
            SqueezeExcite(wide) if excite else nn.Identity(),
            nn.Conv2d(wide, channels, 1, bias=False),
            nn.BatchNorm2d(channels),
        )

    def forward(self, x: Tensor) -> Tensor:
        y = self.block(x)
        if self.training:
            y = y * (torch.rand(x.shape[0], 1, 1, 1) < 0.8) / 0.8
        return x + y


def mobile_net(act: Callable[[], nn.Module], excite: bool) -> nn.Module:
    return nn.Sequential(
        ConvBNActivation(3, 8, act, stride=2),
        InvertedResidual(8, act, excite),
        InvertedResidual(8, act, excite),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Dropout(0.2),
        nn.Linear(8, 5),
    )


class DenseLayer(nn.Sequential):
    """A Sequential with a forward of its own, as DenseNet was first written."""

    def __init__(self, inside: int, growth: int) -> None:
        super().__init__()
        self.add_module("norm1", nn.BatchNorm2d(inside))
        self.add_module("relu1", nn.ReLU(inplace=True))
        self.add_module("conv1", nn.Conv2d(inside, growth, 3, padding=1, bias=False))

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([x, super().forward(x)], 1)


class DenseNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(3, 4, 3), DenseLayer(4, 4), DenseLayer(8, 4))
        self.features.add_module("norm5", nn.BatchNorm2d(12))
        self.classifier = nn.Linear(12, 5)

    def forward(self, x: Tensor) -> Tensor:
        out = F.relu(self.features(x), inplace=True)
        return self.classifier(F.adaptive_avg_pool2d(out, (1, 1)).flatten(1))


class UNet(nn.Module):
    """Two levels, in 2d or 3d; each stage is conv, batch norm and ReLU, twice."""

    def __init__(self, axes: int) -> None:
        super().__init__()
        conv, norm = (nn.Conv2d, nn.BatchNorm2d) if axes == 2 else (nn.Conv3d, nn.BatchNorm3d)
        up = nn.ConvTranspose2d if axes == 2 else nn.ConvTranspose3d
        self.pool = nn.MaxPool2d(2) if axes == 2 else nn.MaxPool3d(2)

        def stage(inside: int, out: int) -> nn.Sequential:
            first = (conv(inside, out, 3, padding=1), norm(out), nn.ReLU(inplace=True))
            second = (conv(out, out, 3, padding=1), norm(out), nn.LeakyReLU(0.1, inplace=True))
            return nn.Sequential(*first, *second)

        self.down, self.bottom, self.level = stage(1, 4), stage(4, 8), stage(8, 4)
        self.up, self.head = up(8, 4, 2, 2), conv(4, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        skip = self.down(x)
        deep = self.up(self.bottom(self.pool(skip)))
        return self.head(self.level(torch.cat([skip, deep], 1)))


class PointNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv1d(3, 8, 1), nn.Conv1d(8, 16, 1)
        self.fc1, self.fc2 = nn.Linear(16, 8), nn.Linear(8, 5)
        self.bn1, self.bn2, self.bn3 = nn.BatchNorm1d(8), nn.BatchNorm1d(16), nn.BatchNorm1d(8)
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = F.relu(self.bn1(self.conv1(x)))
        x = self.bn2(self.conv2(x)).max(2)[0]
        return F.log_softmax(self.fc2(self.relu(self.bn3(self.fc1(x)))), dim=1), x


class BasicConv2d(nn.Module):
    def __init__(self, inside: int, out: int, **kwargs: Any) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inside, out, bias=False, **kwargs)
        self.bn = nn.BatchNorm2d(out, eps=0.001)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.bn(self.conv(x)), inplace=True)


class Inception(nn.Module):
    """With an auxiliary head that runs in training alone."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = BasicConv2d(3, 8, kernel_size=3)
        self.branches = nn.ModuleDict(
            {
                "one": BasicConv2d(8, 4, kernel_size=1),
                "three": BasicConv2d(8, 4, kernel_size=3, padding=1),
            }
        )
        self.aux = nn.Sequential(nn.Conv2d(8, 4, 1), nn.BatchNorm2d(4), nn.ReLU())
        self.fc = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        x = self.stem(x)
        out = torch.cat([branch(x) for branch in self.branches.values()], 1)
        result = {"logits": self.fc(out.mean((2, 3)))}
        if self.training:
            result["aux"] = self.aux(x).mean((2, 3))
        return result


def discriminator() -> nn.Module:
    return nn.Sequential(
        nn.utils.parametrizations.spectral_norm(nn.Conv2d(3, 8, 4, 2, 1)),
        nn.LeakyReLU(0.2, inplace=True),
        nn.Conv2d(8, 16, 4, 2, 1, bias=False),
        nn.BatchNorm2d(16),
        nn.LeakyReLU(0.2, inplace=True),
        nn.Conv2d(16, 1, 4),
        nn.Sigmoid(),
    )


class ASPPPooling(nn.Sequential):
    """Iterates over its modules in a forward of its own; one value per channel after pooling."""

    def __init__(self, inside: int, out: int) -> None:
        super().__init__(
            nn.AdaptiveAvgPool2d(1), nn.Conv2d(inside, out, 1), nn.BatchNorm2d(out), nn.ReLU()
        )

    def forward(self, x: Tensor) -> Tensor:
        size = x.shape[-2:]
        for module in self:
            x = module(x)
        return F.interpolate(x, size=size, mode="bilinear", align_corners=False)


class DeepLab(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.backbone = ResNet()
        atrous = nn.Sequential(
            nn.Conv2d(8, 4, 3, padding=2, dilation=2), nn.BatchNorm2d(4), nn.ReLU()
        )
        self.convs = nn.ModuleList([atrous, ASPPPooling(8, 4)])
        self.project = nn.Sequential(
            nn.Conv2d(8, 4, 1), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(0.5)
        )

    def forward(self, x: Tensor) -> Tensor:
        body = self.backbone
        x = body.layer1(body.relu(body.bn1(body.conv1(x))))
        return self.project(torch.cat([conv(x) for conv in self.convs], dim=1))


class Recurrent(nn.Module):
    """An LSTM whose one batch norm runs at every step, and inputs in a dictionary."""

    def __init__(self) -> None:
        super().__init__()
        self.cell = nn.LSTMCell(4, 6)
        self.norm = nn.BatchNorm1d(6)
        self.activation = nn.ReLU()
        self.embed = nn.Embedding(7, 4)
        self.decode = nn.Linear(4, 7, bias=False)
        self.decode.weight = self.embed.weight
        self.down = nn.Linear(6, 4)

    def forward(self, tokens: Tensor, scale: Tensor) -> Tensor:
        x = self.embed(tokens) * scale
        hidden = cell = torch.zeros(x.shape[0], 6, dtype=x.dtype)
        for step in range(x.shape[1]):
            hidden, cell = self.cell(x[:, step], (hidden, cell))
            hidden = self.activation(self.norm(hidden))
        return self.decode(self.down(hidden))


class Case(NamedTuple):
    """How to build a network and its example; how many batch norms, how many are fused.

    Attributes:
        fused: with an example.
        fused_without: without one.
    """

    build: Callable[[], nn.Module]
    example: Callable[[], Any]
    norms: int
    fused: int
    fused_without: int


def images() -> Tensor:
    return torch.randn(6, 3, 16, 16)


def symbolic() -> nn.Module:
    return torch.fx.symbolic_trace(VGG())


CASES = {
    "resnet": Case(ResNet, images, 10, 1, 0),
    "vgg": Case(VGG, images, 3, 3, 3),
    "mobilenet-v2": Case(lambda: mobile_net(nn.ReLU6, False), images, 7, 5, 5),
    "mobilenet-v3": Case(lambda: mobile_net(nn.Hardswish, True), images, 7, 0, 0),
    "efficientnet": Case(lambda: mobile_net(nn.SiLU, True), images, 7, 0, 0),
    "densenet": Case(DenseNet, images, 3, 2, 0),
    "unet-2d": Case(lambda: UNet(2), lambda: torch.randn(2, 1, 8, 8), 6, 6, 6),
    "unet-3d": Case(lambda: UNet(3), lambda: torch.randn(2, 1, 4, 6, 4), 6, 6, 6),
    "pointnet": Case(PointNet, lambda: torch.randn(6, 3, 20), 3, 1, 0),
    "inception": Case(Inception, images, 4, 1, 1),
    "discriminator": Case(discriminator, images, 1, 1, 1),
    "deeplab": Case(DeepLab, images, 13, 4, 2),
    "recurrent": Case(
        Recurrent,
        lambda: {"tokens": torch.randint(7, (5, 3)), "scale": torch.ones(1)},
        1,
        1,
        0,
    ),
    "data-parallel": Case(lambda: nn.DataParallel(VGG()), images, 3, 3, 3),
    "graph-module": Case(symbolic, images, 3, 3, 0),
}
