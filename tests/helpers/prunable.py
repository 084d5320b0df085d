"""Networks whose channels are laid out in every way that pruning has to follow, or must refuse."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def unit(inside: int, out: int, kernel: int = 1, groups: int = 1, **options: Any) -> nn.Sequential:
    conv = nn.Conv2d(inside, out, kernel, groups=groups, bias=False, **options)
    return nn.Sequential(conv, nn.BatchNorm2d(out), nn.ReLU())


class Head(nn.Module):
    """A body, averaged over space, and five logits."""

    def __init__(self, body: nn.Module, channels: int) -> None:
        super().__init__()
        self.body, self.fc = body, nn.Linear(channels, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.body(x).mean((2, 3)))


class ResNeXtBlock(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Sequential(unit(8, 12), unit(12, 12, 3, 3, padding=1))
        self.outer = nn.Sequential(nn.Conv2d(12, 8, 1, bias=False), nn.BatchNorm2d(8))

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x + self.outer(self.inner(x)))


class CrossStage(nn.Module):
    """A CSP block: two halves, one through a bottleneck, concatenated."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = unit(8, 12), unit(18, 8)
        self.inner = nn.Sequential(unit(6, 6), unit(6, 6, 3, padding=1))

    def forward(self, x: Tensor) -> Tensor:
        left, right = self.first(x).chunk(2, 1)
        return self.last(torch.cat([left, right, right + self.inner(right)], 1))


class Shuffle(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = unit(8, 12, groups=2)
        self.depthwise, self.last = unit(12, 12, 3, 12, padding=1), unit(12, 8, groups=2)

    def forward(self, x: Tensor) -> Tensor:
        y = self.first(x)
        n, c, h, w = y.shape
        y = y.view(n, 2, c // 2, h, w).transpose(1, 2).reshape(n, c, h, w)
        return x + self.last(self.depthwise(y))


class Excited(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner, self.last = unit(8, 12, 3), unit(12, 8)
        self.gate = nn.Sequential(
            nn.AdaptiveAvgPool2d(1), nn.Conv2d(12, 4, 1), nn.SiLU(), nn.Conv2d(4, 12, 1)
        )

    def forward(self, x: Tensor) -> Tensor:
        y = self.inner(x)
        return self.last(y * self.gate(y).sigmoid())


class Fusion(nn.Module):
    """HRNet's exchange: two resolutions, added after resampling."""

    def __init__(self) -> None:
        super().__init__()
        self.high, self.low = unit(8, 8, 3, padding=1), unit(8, 10, 3, padding=1, stride=2)
        self.up, self.down = unit(10, 8), unit(8, 10, 3, padding=1, stride=2)
        self.join = unit(18, 8)

    def forward(self, x: Tensor) -> Tensor:
        high, low = self.high(x), self.low(x)
        up = F.interpolate(self.up(low), size=high.shape[2:], mode="bilinear")
        fused, deep = F.relu(high + up), F.relu(low + self.down(high))
        return self.join(torch.cat([fused, F.interpolate(deep, scale_factor=2.0)], 1))


class Standardized(nn.Conv2d):
    """A conv with a forward of its own, which standardizes its weight."""

    def forward(self, x: Tensor) -> Tensor:
        mean = self.weight.mean((1, 2, 3), keepdim=True)
        return F.conv2d(x, self.weight - mean, self.bias, padding=self.padding)


class LayerScale(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(8, 8, 3, padding=1, groups=8)
        self.norm = nn.BatchNorm2d(8)
        self.up, self.down = nn.Conv2d(8, 16, 1), nn.Conv2d(16, 8, 1)
        self.gamma = nn.Parameter(torch.full((8, 1, 1), 0.5))

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(self.depthwise(x))
        return x + self.gamma * self.down(F.gelu(self.up(y)))


class HardCoded(nn.Module):
    """A channel count written into forward, beside layers that can be pruned."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.third = unit(3, 6), unit(6, 4), unit(4, 8)

    def forward(self, x: Tensor) -> Tensor:
        y = self.second(self.first(x))
        y = y.reshape(x.shape[0], 4, *x.shape[2:])
        return self.third(y)


class DividesByCount(nn.Module):
    """A sum that depends on how many channels there are, and not on their order."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = unit(3, 6), unit(6, 8)

    def forward(self, x: Tensor) -> Tensor:
        y = self.first(x)
        return self.second(y / y.shape[1])


class WritesInPlace(nn.Module):
    """Writes into single channels and rows, and a convolution called as a function."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = unit(3, 8)[:2], unit(8, 8, 3)[:2]
        self.third = nn.Conv2d(8, 4, 1)
        self.kernel = nn.Parameter(torch.randn(6, 8, 3, 3))
        self.fc = nn.Linear(10, 3)

    def forward(self, x: Tensor) -> Tensor:
        y = self.first(x)
        y[:, 0] += 2
        z = self.second(y)
        z[:, :, 0] = 0
        third = F.elu(self.third(z.clamp_(-1, 1)), inplace=True)
        other = F.conv2d(y, self.kernel)
        return self.fc(torch.cat([third.amax((2, 3)), other.mean((2, 3))], 1))


def instances() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 8, 3),
        nn.InstanceNorm2d(8, affine=True),
        nn.ReLU(),
        unit(8, 8),
        nn.PixelShuffle(2),
        unit(2, 6),
        nn.Conv2d(6, 2, 1),
    )


class Siamese(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.backbone = nn.Sequential(unit(3, 8, 3), unit(8, 6, 3))
        self.compare = nn.Linear(12, 2)

    def forward(self, x: Tensor) -> Tensor:
        pair = [self.backbone(side).amax((2, 3)) for side in (x, x.flip(3))]
        return self.compare(torch.cat(pair, 1))


class TrainingBranch(nn.Module):
    """An auxiliary classifier in training alone."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.body = unit(3, 8), unit(8, 6)
        self.side, self.fc, self.aux = unit(8, 4), nn.Linear(6, 5), nn.Linear(12, 5)

    def forward(self, x: Tensor) -> Any:
        y = self.stem(x)
        out = self.fc(self.body(y).mean((2, 3)))
        if not self.training:
            return out
        return out, self.aux(torch.cat([y, self.side(y)], 1).mean((2, 3)))


def flattened() -> nn.Module:
    return nn.Sequential(
        unit(3, 6, 3),
        nn.MaxPool2d(2),
        unit(6, 8),
        nn.Flatten(),
        nn.Linear(72, 10),
        nn.BatchNorm1d(10),
        nn.PReLU(10),
        nn.Dropout(0.5),
        nn.Linear(10, 5),
    )


def generator() -> nn.Module:
    return nn.Sequential(
        nn.ConvTranspose2d(3, 8, 2, 2, bias=False),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.ConvTranspose2d(8, 8, 3, groups=8),
        nn.BatchNorm2d(8),
        nn.ConvTranspose2d(8, 6, 3, 2, groups=2, bias=False),
        nn.BatchNorm2d(6),
        nn.Conv2d(6, 3, 1),
    )


class Prunable(NamedTuple):
    """How to build a network and its example; layers that pruning must leave as they are."""

    build: Callable[[], nn.Module]
    kept: tuple[str, ...] = ()
    example: Callable[[], Any] = lambda: torch.randn(2, 3, 8, 8)


PRUNABLE = {
    "resnext": Prunable(lambda: Head(nn.Sequential(unit(3, 8), ResNeXtBlock(), ResNeXtBlock()), 8)),
    "csp": Prunable(lambda: Head(nn.Sequential(unit(3, 8), CrossStage()), 8)),
    "shuffle": Prunable(lambda: Head(nn.Sequential(unit(3, 8), Shuffle()), 8)),
    "excited": Prunable(lambda: Head(nn.Sequential(unit(3, 8), Excited()), 8)),
    "fusion": Prunable(lambda: Head(nn.Sequential(unit(3, 8), Fusion()), 8)),
    "standardized": Prunable(
        lambda: Head(nn.Sequential(Standardized(3, 8, 3), nn.BatchNorm2d(8), unit(8, 6)), 6)
    ),
    "layer-scale": Prunable(lambda: Head(nn.Sequential(unit(3, 8), LayerScale()), 8)),
    "hard-coded": Prunable(lambda: Head(HardCoded(), 8), ("body.second.0",)),
    "divides-by-count": Prunable(lambda: Head(DividesByCount(), 8), ("body.first.0",)),
    "writes-in-place": Prunable(WritesInPlace, ("first.0",)),
    "instances": Prunable(instances),
    "siamese": Prunable(Siamese),
    "training-branch": Prunable(TrainingBranch),
    "flattened": Prunable(flattened),
    "generator": Prunable(generator),
    "group-norm": Prunable(
        lambda: Head(nn.Sequential(nn.Conv2d(3, 8, 1), nn.GroupNorm(2, 8), unit(8, 6)), 6),
        ("body.0",),
    ),
}
