"""What several architectures are made of."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class StochasticDepth(nn.Module):
    """Drops whole samples' branches, as torchvision's and timm's do."""

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.p == 0.0:
            return x
        keep = torch.empty((len(x), 1, 1, 1), dtype=x.dtype, device=x.device)
        return x * keep.bernoulli_(1 - self.p).div_(1 - self.p)


def conv_bn(
    inside: int, out: int, size: int, *, stride: int = 1, groups: int = 1, eps: float = 1e-5
) -> tuple[nn.Module, nn.Module]:
    conv = nn.Conv2d(inside, out, size, stride, size // 2, groups=groups, bias=False)
    return conv, nn.BatchNorm2d(out, eps=eps)


def channel_shuffle(x: Tensor, groups: int) -> Tensor:
    n, channels, height, width = x.size()
    x = x.view(n, groups, channels // groups, height, width)
    return x.transpose(1, 2).contiguous().view(n, channels, height, width)
