"""Well-known architectures in small in which `bnkit check` must find no error and no warning.

They are written as their authors write them, with what tempts a linter: zero-initialized γ,
stochastic depth, shared heads, channel splits, transposes, one value per channel.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from helpers.architectures import CASES, SqueezeExcite
from helpers.healthy_parts import StochasticDepth, channel_shuffle, conv_bn


class Bottleneck(nn.Module):
    """ResNet's, with the last γ of each branch at 0, as torchvision can initialize it."""

    def __init__(self, inside: int, width: int, stride: int = 1) -> None:
        super().__init__()
        out = 4 * width
        self.conv1, self.bn1 = nn.Conv2d(inside, width, 1, bias=False), nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3, self.bn3 = nn.Conv2d(width, out, 1, bias=False), nn.BatchNorm2d(out)
        nn.init.zeros_(self.bn3.weight)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = None
        if stride != 1 or inside != out:
            self.downsample = nn.Sequential(
                nn.Conv2d(inside, out, 1, stride, bias=False), nn.BatchNorm2d(out)
            )

    def forward(self, x: Tensor) -> Tensor:
        identity = x if self.downsample is None else self.downsample(x)
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.relu(self.bn2(self.conv2(out)))
        return self.relu(self.bn3(self.conv3(out)) + identity)


class ResNet50(nn.Module):
    """Of any depths and width; (3, 4, 6, 3) and 64 are ResNet-50: 53 layers, 26560 channels."""

    def __init__(self, depths: tuple[int, ...] = (3, 4, 6, 3), width: int = 64) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, width, 7, 2, 3, bias=False)
        self.bn1, self.relu = nn.BatchNorm2d(width), nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        inside = width
        for stage, depth in enumerate(depths):
            blocks = []
            for number in range(depth):
                stride = 2 if stage and not number else 1
                blocks.append(Bottleneck(inside, width << stage, stride))
                inside = 4 * (width << stage)
            self.add_module(f"layer{stage + 1}", nn.Sequential(*blocks))
        self.stages = len(depths)
        self.avgpool, self.fc = nn.AdaptiveAvgPool2d((1, 1)), nn.Linear(inside, 1000)

    def forward(self, x: Tensor) -> Tensor:
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        for stage in range(self.stages):
            x = getattr(self, f"layer{stage + 1}")(x)
        return self.fc(torch.flatten(self.avgpool(x), 1))


class PreActivationBlock(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.bn1, self.conv1 = nn.BatchNorm2d(channels), nn.Conv2d(channels, channels, 3, 1, 1)
        self.bn2, self.conv2 = nn.BatchNorm2d(channels), nn.Conv2d(channels, channels, 3, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        out = self.conv1(F.relu(self.bn1(x)))
        return x + self.conv2(F.relu(self.bn2(out)))


class DenseNetBC(nn.Module):
    """Bottleneck layers that keep a list of what came before, a transition, drop rate 0."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1, bias=False)
        self.norms1 = nn.ModuleList(nn.BatchNorm2d(8 + 4 * n) for n in range(3))
        self.convs1 = nn.ModuleList(nn.Conv2d(8 + 4 * n, 16, 1, bias=False) for n in range(3))
        self.norms2 = nn.ModuleList(nn.BatchNorm2d(16) for _ in range(3))
        self.convs2 = nn.ModuleList(nn.Conv2d(16, 4, 3, padding=1, bias=False) for _ in range(3))
        self.transition = nn.Sequential(
            nn.BatchNorm2d(20), nn.ReLU(True), nn.Conv2d(20, 8, 1, bias=False), nn.AvgPool2d(2)
        )
        self.head = nn.Sequential(nn.BatchNorm2d(8), nn.ReLU(True))
        self.fc = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        features = [self.stem(x)]
        layers = (self.norms1, self.convs1, self.norms2, self.convs2)
        for norm1, conv1, norm2, conv2 in zip(*layers, strict=True):
            new = conv2(F.relu(norm2(conv1(F.relu(norm1(torch.cat(features, 1)))))))
            features.append(F.dropout(new, p=0.0, training=self.training))
        x = self.head(self.transition(torch.cat(features, 1)))
        return self.fc(x.mean((2, 3)))


class ShuffleUnit(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        half = channels // 2
        self.branch = nn.Sequential(
            *conv_bn(half, half, 1),
            nn.ReLU(inplace=True),
            *conv_bn(half, half, 3, groups=half),
            *conv_bn(half, half, 1),
            nn.ReLU(inplace=True),
        )

    def forward(self, x: Tensor) -> Tensor:
        left, right = x.chunk(2, dim=1)
        return channel_shuffle(torch.cat((left, self.branch(right)), dim=1), 2)


class MBConv(nn.Module):
    """EfficientNet's and MobileNetV3's block, squeeze-and-excite and stochastic depth inside."""

    def __init__(self, channels: int, act: Callable[[], nn.Module], drop: float) -> None:
        super().__init__()
        wide = 4 * channels
        self.block = nn.Sequential(
            *(*conv_bn(channels, wide, 1), act()),
            *(*conv_bn(wide, wide, 5, groups=wide), act()),
            SqueezeExcite(wide),
            *conv_bn(wide, channels, 1),
        )
        self.stochastic_depth = StochasticDepth(drop)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.stochastic_depth(self.block(x))


def mobile(act: Callable[[], nn.Module], drop: float) -> nn.Module:
    blocks = [MBConv(8, act, drop * number / 3) for number in range(3)]
    head = (nn.AdaptiveAvgPool2d(1), nn.Flatten(1), nn.Dropout(0.2), nn.Linear(8, 5))
    return nn.Sequential(*conv_bn(3, 8, 3, stride=2), act(), *blocks, *head)


class InceptionBlock(nn.Module):
    """Four branches of conv, batch norm, ReLU; the pooled one too."""

    def __init__(self, inside: int) -> None:
        super().__init__()

        def unit(first: int, out: int, size: int) -> nn.Module:
            return nn.Sequential(*conv_bn(first, out, size, eps=1e-3), nn.ReLU(inplace=True))

        self.one = unit(inside, 4, 1)
        self.three = nn.Sequential(unit(inside, 4, 1), unit(4, 4, 3))
        self.five = nn.Sequential(unit(inside, 4, 1), unit(4, 4, 3), unit(4, 4, 3))
        self.pool = unit(inside, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        pooled = F.avg_pool2d(x, 3, stride=1, padding=1)
        return torch.cat([self.one(x), self.three(x), self.five(x), self.pool(pooled)], 1)


class Generator(nn.Module):
    """DCGAN's: γ drawn around 1."""

    def __init__(self) -> None:
        super().__init__()
        self.main = nn.Sequential(
            nn.ConvTranspose2d(6, 8, 4, bias=False),
            *(nn.BatchNorm2d(8), nn.ReLU(True)),
            nn.ConvTranspose2d(8, 4, 4, 2, 1, bias=False),
            *(nn.BatchNorm2d(4), nn.ReLU(True)),
            nn.ConvTranspose2d(4, 3, 4, 2, 1, bias=False),
            nn.Tanh(),
        )
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d):
                nn.init.normal_(module.weight, 1.0, 0.02)

    def forward(self, z: Tensor) -> Tensor:
        return self.main(z)


class GANPair(nn.Module):
    """The discriminator sees real and made images in turn, through one set of layers."""

    def __init__(self) -> None:
        super().__init__()
        self.generator = Generator()
        self.discriminator = nn.Sequential(
            nn.Conv2d(3, 4, 4, 2, 1, bias=False),
            nn.LeakyReLU(0.2, inplace=True),
            nn.Conv2d(4, 8, 4, 2, 1, bias=False),
            *(nn.BatchNorm2d(8), nn.LeakyReLU(0.2, inplace=True)),
            nn.Conv2d(8, 1, 4, bias=False),
        )

    def forward(self, real: Tensor, z: Tensor) -> dict[str, Tensor]:
        fake = self.generator(z)
        return {"real": self.discriminator(real), "fake": self.discriminator(fake), "image": fake}


def audio() -> nn.Module:
    """M5, on raw waveforms."""
    layers: list[nn.Module] = []
    for inside, out, size, stride in ((1, 8, 16, 4), (8, 8, 3, 1), (8, 16, 3, 1)):
        conv = nn.Conv1d(inside, out, size, stride)
        layers += [conv, nn.BatchNorm1d(out), nn.ReLU(), nn.MaxPool1d(2)]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(16, 5))


class Conformer(nn.Module):
    """Its convolution module: layer norm, transposes, GLU, depthwise conv, batch norm, dropout."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList()
        for _ in range(2):
            conv = nn.ModuleDict(
                {
                    "norm": nn.LayerNorm(8),
                    "in": nn.Conv1d(8, 16, 1),
                    "depthwise": nn.Conv1d(8, 8, 3, padding=1, groups=8),
                    "batch_norm": nn.BatchNorm1d(8),
                    "out": nn.Conv1d(8, 8, 1),
                    "dropout": nn.Dropout(0.1),
                }
            )
            self.layers.append(conv)

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            y = F.glu(layer["in"](layer["norm"](x).transpose(1, 2)), dim=1)
            y = F.silu(layer["batch_norm"](layer["depthwise"](y)))
            x = x + layer["dropout"](layer["out"](y)).transpose(1, 2)
        return x


class Detector(nn.Module):
    """One head's convs on two scales, with batch norms of their own for each."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(*conv_bn(3, 8, 3), nn.SiLU())
        self.down = nn.Sequential(*conv_bn(8, 8, 3, stride=2), nn.SiLU())
        self.conv, self.predict = nn.Conv2d(8, 8, 3, padding=1, bias=False), nn.Conv2d(8, 4, 1)
        self.norms = nn.ModuleList(nn.BatchNorm2d(8) for _ in range(2))

    def forward(self, x: Tensor) -> list[Tensor]:
        fine = self.body(x)
        levels = zip((fine, self.down(fine)), self.norms, strict=True)
        return [self.predict(F.silu(norm(self.conv(level)))) for level, norm in levels]


class RepVGGBlock(nn.Module):
    """Three branches, one of them a bare batch norm of the input."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.identity = nn.BatchNorm2d(channels)
        self.dense = nn.Sequential(*conv_bn(channels, channels, 3))
        self.one = nn.Sequential(*conv_bn(channels, channels, 1))

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.dense(x) + self.one(x) + self.identity(x))


def mlp() -> nn.Module:
    """Dropout after the last batch norm alone."""
    layers: list[nn.Module] = []
    for inside, out in ((12, 16), (16, 8)):
        layers += [nn.Linear(inside, out), nn.BatchNorm1d(out), nn.ReLU()]
    return nn.Sequential(nn.Flatten(), *layers, nn.Dropout(0.5), nn.Linear(8, 5))


def video() -> nn.Module:
    """R(2+1)D: a conv over space, one over time."""
    conv = nn.Conv3d(3, 6, (1, 3, 3), padding=(0, 1, 1), bias=False)
    time = nn.Conv3d(6, 8, (3, 1, 1), padding=(1, 0, 0), bias=False)
    stem = (conv, nn.BatchNorm3d(6), nn.ReLU(True), time, nn.BatchNorm3d(8), nn.ReLU(True))
    return nn.Sequential(*stem, nn.AdaptiveAvgPool3d(1), nn.Flatten(), nn.Linear(8, 5))


class Healthy(NamedTuple):
    """How to build a network, and its example."""

    build: Callable[[], nn.Module]
    example: Callable[[], Any]


def images() -> Tensor:
    return torch.randn(2, 3, 16, 16)


def pre_activation() -> nn.Module:
    blocks = (PreActivationBlock(8), PreActivationBlock(8))
    head = (nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 5))
    return nn.Sequential(nn.Conv2d(3, 8, 3, 1, 1), *blocks, *head)


def pair_inputs() -> dict[str, Tensor]:
    return {"real": torch.randn(2, 3, 16, 16), "z": torch.randn(2, 6, 1, 1)}


def stem() -> tuple[nn.Module, ...]:
    return *conv_bn(3, 8, 3), nn.ReLU(True)


# One batch norm for all time steps is what BN408 is about.
_SICK = {"recurrent"}
HEALTHY = {
    name: Healthy(case.build, case.example) for name, case in CASES.items() if name not in _SICK
} | {
    "resnet-bottleneck": Healthy(lambda: ResNet50((1, 2), 4), images),
    "resnet-pre-activation": Healthy(pre_activation, images),
    "densenet-bc": Healthy(DenseNetBC, images),
    "shufflenet": Healthy(lambda: nn.Sequential(*stem(), ShuffleUnit(8), ShuffleUnit(8)), images),
    "mobilenet-v3-excite": Healthy(lambda: mobile(nn.Hardswish, 0.0), images),
    "efficientnet-stochastic-depth": Healthy(lambda: mobile(nn.SiLU, 0.2), images),
    "inception-branches": Healthy(
        lambda: nn.Sequential(InceptionBlock(3), InceptionBlock(16)), images
    ),
    "generator": Healthy(Generator, lambda: torch.randn(2, 6, 1, 1)),
    "gan-pair": Healthy(GANPair, pair_inputs),
    "audio": Healthy(audio, lambda: torch.randn(2, 1, 256)),
    "conformer": Healthy(Conformer, lambda: torch.randn(2, 10, 8)),
    "detector": Healthy(Detector, images),
    "repvgg": Healthy(lambda: nn.Sequential(*stem(), RepVGGBlock(8)), images),
    "mlp": Healthy(mlp, lambda: torch.randn(4, 3, 4)),
    "video": Healthy(video, lambda: torch.randn(2, 3, 4, 8, 8)),
}
