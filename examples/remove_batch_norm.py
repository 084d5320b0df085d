"""Take batch norm out of a network, read what was done, and put it back."""

from __future__ import annotations

import torch
from torch import nn

import bnkit


def main() -> None:
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3, bias=False),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Conv2d(8, 8, 3),
        nn.BatchNorm2d(8),
    )
    rewrite = bnkit.remove(model, torch.randn(4, 3, 16, 16))
    print(rewrite)
    print(rewrite.model)
    print(rewrite.undo())

    # As trained: what it does in eval mode first goes into the convolutions.
    print(bnkit.remove(model, torch.randn(4, 3, 16, 16), fold_scale=True))


if __name__ == "__main__":
    main()
