"""Training loops under `bnkit.watch`, as rules' cases need them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

import bnkit
from helpers.rule_case import conv_net, images

Step = Callable[[nn.Module, torch.optim.Optimizer], None]


def run_watched(*, select: list[str], model: nn.Module, step: Step, **given: Any) -> Any:
    """Make three steps under `bnkit.watch` and return its report."""
    optimizer = given.pop("optimizer", None) or torch.optim.SGD(model.parameters(), lr=0.01)
    with bnkit.watch(model, optimizer, select=select, **given) as watched:
        for _ in range(3):
            step(model, optimizer)
    return watched.report


def loss_of(y: Any) -> Tensor:
    return y.square().mean()


def backward(model: nn.Module, x: Tensor | None = None) -> None:
    loss_of(model(images() if x is None else x)).backward()


def finish(optimizer: torch.optim.Optimizer) -> None:
    optimizer.step()
    optimizer.zero_grad()


def plain(model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    backward(model)
    finish(optimizer)


class Net(nn.Module):
    """A body, which may run under checkpointing, and a head."""

    def __init__(self, **options: Any) -> None:
        super().__init__()
        self.body, self.head = conv_net(), nn.Conv2d(5, 2, 1)
        self.options = options

    def forward(self, x: Tensor) -> Tensor:
        if self.options:
            x = x.requires_grad_()
            x = torch.utils.checkpoint.checkpoint(self.body, x, **self.options)
        else:
            x = self.body(x)
        return self.head(x)
