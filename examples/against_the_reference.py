"""Hold a whole network against float64 arithmetic by the textbook: outputs and gradients."""

from __future__ import annotations

import copy

import torch
from torch import nn

import bnkit


def gradients(model: nn.Module, x: torch.Tensor) -> list[torch.Tensor]:
    model.zero_grad()
    model(x).square().mean().backward()
    return [parameter.grad for parameter in model.parameters() if parameter.grad is not None]


def main() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(1, 8, 3), bnkit.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(288, 2)
    )
    x = torch.randn(32, 1, 8, 8)
    print(f"here: {bnkit.kernel_for(x)}")
    fast = gradients(copy.deepcopy(model), x)
    with bnkit.use_kernel("reference"):
        exact = gradients(copy.deepcopy(model), x)
    largest = max(float((a - b).abs().max()) for a, b in zip(fast, exact, strict=True))
    print(f"largest difference of any gradient: {largest:.1e}")


if __name__ == "__main__":
    main()
