"""Remove a third of a network's channels, read what was done, and put them back."""

from __future__ import annotations

import torch
from torch import nn

import bnkit


def main() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 12, 3, bias=False),
        nn.BatchNorm2d(12),
        nn.ReLU(),
        nn.Conv2d(12, 12, 3, groups=12, bias=False),
        nn.BatchNorm2d(12),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(12 * 4 * 4, 5),
    ).eval()
    with torch.no_grad():
        for norm in (model[1], model[4]):
            norm.weight[::3] = 0  # as network slimming leaves them
            norm.bias.uniform_(-1, 1)
    rewrite = bnkit.prune(model, torch.randn(4, 3, 8, 8), amount=0.34)
    print(rewrite)
    print(rewrite.model)
    rewrite.undo()


if __name__ == "__main__":
    main()
