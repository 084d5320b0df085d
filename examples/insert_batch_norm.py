"""Put batch norms into a network that has none, train it a little, and take them out again."""

from __future__ import annotations

import torch
from torch import nn

import bnkit


def main() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(
        *(nn.Conv2d(1, 8, 3), nn.ReLU(), nn.Conv2d(8, 16, 3), nn.ReLU()),
        *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 4)),
    )
    x, labels = torch.randn(32, 1, 12, 12), torch.arange(32) % 4
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    rewrite = bnkit.insert(model, x, inplace=True, optimizer=optimizer)
    print(rewrite)
    for _ in range(20):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x), labels).backward()
        optimizer.step()

    # What batch norm does in eval mode goes into the convolutions, and the layers go.
    removed = bnkit.remove(model, x, fold_scale=True)
    print(removed)


if __name__ == "__main__":
    main()
