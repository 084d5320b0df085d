"""Make the batch norm of an existing network fast by one line, and see what was done."""

from __future__ import annotations

import torch
from torch import Tensor, nn

import bnkit


class Block(nn.Module):
    """A residual block with one ReLU module for both activations."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        y = self.relu(self.bn1(self.conv1(x)))
        return self.relu(self.bn2(self.conv2(y)) + x)


def main() -> None:
    stem = nn.Sequential(nn.Conv2d(3, 16, 3), nn.BatchNorm2d(16), nn.ReLU(inplace=True))
    model = nn.Sequential(stem, Block(16), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 10))
    x = torch.randn(8, 3, 32, 32)

    rewrite = bnkit.accelerate(model, example_args=x)
    print(rewrite)
    print("names unchanged:", list(rewrite.model.state_dict()) == list(model.state_dict()))
    print("torch's layers again:", type(rewrite.undo()[0][1]) is nn.BatchNorm2d)

    # The second line fuses what swapping modules cannot: the shared ReLU and the addition.
    compiled = torch.compile(model, backend="bnkit")
    compiled(x).sum().backward()
    for report in bnkit.compile_reports():
        print(report)


if __name__ == "__main__":
    main()
