"""Fold batch norms into the conv and linear layers beside them, and see what was left and why."""

from __future__ import annotations

import torch
from torch import nn

import bnkit


def main() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3, bias=False),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.BatchNorm2d(8),
        nn.Conv2d(8, 8, 3, padding=1),
    )
    example = torch.randn(4, 3, 16, 16)
    for _ in range(20):  # so that the statistics are those of data
        model(torch.randn(16, 3, 16, 16) + 1)
    model.eval()
    rewrite = bnkit.fold(model, example)
    print(rewrite)
    print(rewrite.model)
    print("\nwith the border corrected:")
    print(bnkit.fold(model, example, border="correct"))


if __name__ == "__main__":
    main()
