"""Freeze the batch norms of a backbone, train, and see that they stood still."""

from __future__ import annotations

import torch
from torch import nn

import bnkit


def main() -> None:
    torch.manual_seed(0)
    backbone = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU())
    model = nn.Sequential(backbone, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 2))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    frozen = bnkit.freeze(model, "0", inplace=True)
    print(frozen)

    norm = backbone[1]
    before = {key: value.clone() for key, value in norm.state_dict().items()}
    for _ in range(3):
        model.train()
        optimizer.zero_grad()
        model(torch.randn(8, 3, 9, 9) + 1).square().mean().backward()
        optimizer.step()
    stood = all(torch.equal(value, before[key]) for key, value in norm.state_dict().items())
    print(f"stood still through three steps: {stood}")
    print(bnkit.unfreeze(model, inplace=True))

    # One forward in training mode that must not count, such as a probe.
    with bnkit.frozen_statistics(model):
        model(torch.randn(8, 3, 9, 9))
    print(f"batches counted: {int(norm.num_batches_tracked)}")


if __name__ == "__main__":
    main()
