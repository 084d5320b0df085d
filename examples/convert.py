"""Turn a network's batch norms into another kind of layer, and see what was done and what not."""

from __future__ import annotations

import torch
from torch import Tensor, nn

import bnkit


class NormAct(nn.BatchNorm2d):
    """A subclass with behaviour of its own, which torch's converter would strip."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x).relu()


def main() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(
        *(nn.Conv2d(3, 64, 3), nn.BatchNorm2d(64), nn.ReLU()),
        *(nn.Conv2d(64, 16, 3), NormAct(16), nn.AdaptiveAvgPool2d(1), nn.Flatten()),
        *(nn.Linear(16, 8), nn.BatchNorm1d(8)),
    )
    x = torch.randn(4, 3, 16, 16)
    for kind in ("group", "frozen", "bnkit"):
        print(f"-- to {kind}")
        print(bnkit.convert(model, kind, example_args=x))

    # An optimizer that is given goes on with the layers that are trained.
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    rewrite = bnkit.convert(model, "frozen", inplace=True, optimizer=optimizer)
    print("parameters left to train:", sum(len(g["params"]) for g in optimizer.param_groups))
    rewrite.undo()
    print("after undo:", sum(len(group["params"]) for group in optimizer.param_groups))


if __name__ == "__main__":
    main()
