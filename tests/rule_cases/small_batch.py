from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from helpers.rule_case import RuleCase, images, values


def squeezed(batch_size: int, *, frozen: bool = False, example: int = 4) -> dict[str, Any]:
    """At "1" 64 values per sample, at "4" one."""
    model = nn.Sequential(
        nn.Conv2d(3, 4, 1),
        nn.BatchNorm2d(4),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.BatchNorm1d(4),
    )
    if frozen:
        model[4].eval()
    return {"model": model, "example_args": images(example), "batch_size": batch_size}


class OfSequences(nn.Module):
    """Axes are folded into the first: m grows with the batch all the same."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(3)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(x.flatten(0, 1))


class Functional(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return F.batch_norm(self.inner(x), None, None, training=True)


class Scales(nn.Module):
    """The same layer on a large and on a small map."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(3)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.norm(x), self.norm(F.avg_pool2d(x, 4))


def on(model: nn.Module, example: Tensor, batch_size: int) -> dict[str, Any]:
    return {"model": model, "example_args": example, "batch_size": batch_size}


CASES = [
    RuleCase(
        "vectors, batches of 4",
        lambda: squeezed(4),
        layers=("4",),
        message="m = 4 values per channel (on the example its input has shape (4, 4)): batch means "
        "are off by about 1/√m = 0.5 of σ, and running_var averages m/(m − 1) = 1.33",
    ),
    RuleCase("15 are too few", lambda: squeezed(15), layers=("4",)),
    RuleCase("whatever the example's batch", lambda: squeezed(4, example=64), layers=("4",)),
    RuleCase("folded axes", lambda: on(OfSequences(), values(2, 5, 3), 3), ("norm",), "", "m = 15"),
    RuleCase("a function", lambda: on(nn.Sequential(Functional()), values(4, 3), 8), ("0",)),
    RuleCase("the smallest call counts", lambda: on(Scales(), images(), 2), ("norm",), "", "m = 8"),
    RuleCase(
        "its batch size comes with the loader",
        lambda: (
            squeezed(4)
            | {"batch_size": None, "loader": torch.utils.data.DataLoader(range(80), batch_size=8)}
        ),
        layers=("4",),
    ),
    RuleCase("16 suffice", lambda: squeezed(16)),
    RuleCase("a small example, large batches", lambda: squeezed(64, example=2)),
    RuleCase("one value is BN201's", lambda: squeezed(1)),
    RuleCase("frozen", lambda: squeezed(4, frozen=True)),
    RuleCase("folded axes, enough", lambda: on(OfSequences(), values(2, 5, 3), 4)),
]
