from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from helpers.architectures import Recurrent
from helpers.rule_case import RuleCase


class Cell(nn.Module):
    """A plain recurrence, with a batch norm per step if asked for."""

    def __init__(self, steps: int = 1, **options: Any) -> None:
        super().__init__()
        self.inside, self.hidden = nn.Linear(4, 6), nn.Linear(6, 6)
        self.norms = nn.ModuleList(nn.BatchNorm1d(6, **options) for _ in range(steps))

    def forward(self, x: Tensor) -> Tensor:
        hidden = torch.zeros(len(x), 6)
        for step in range(x.shape[1]):
            norm = self.norms[min(step, len(self.norms) - 1)]
            hidden = torch.tanh(norm(self.inside(x[:, step]) + self.hidden(hidden)))
        return hidden


class FunctionalCell(nn.Module):
    """F.batch_norm on one set of buffers, or on one per step."""

    def __init__(self, sets: int) -> None:
        super().__init__()
        self.sets = sets
        for number in range(sets):
            self.register_buffer(f"mean{number}", torch.zeros(4))
            self.register_buffer(f"var{number}", torch.ones(4))

    def forward(self, x: Tensor) -> Tensor:
        hidden = x[:, 0]
        for step in range(x.shape[1]):
            mean, var = (getattr(self, f"{name}{step % self.sets}") for name in ("mean", "var"))
            hidden = torch.tanh(F.batch_norm(hidden + x[:, step], mean, var))
        return hidden


class TwoDirections(nn.Module):
    """Steps of the two directions take turns: the next call is not fed, the one after is."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(4)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        there, back = x[:, 0], x[:, -1]
        for step in range(1, x.shape[1]):
            there = torch.tanh(self.norm(there + x[:, step]))
            back = torch.tanh(self.norm(back + x[:, -step]))
        return {"there": there, "back": back}


class Siamese(nn.Module):
    """One encoder on two inputs, which meet after it."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.ReLU())
        self.head = nn.Linear(12, 1)

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        pair = [self.encoder(first), self.encoder(second)]
        return self.head(torch.cat(pair, 1))


def sequences(model: nn.Module) -> dict[str, Any]:
    return {"model": model, "example_args": torch.randn(5, 3, 4)}


def siamese() -> dict[str, Any]:
    return {"model": Siamese(), "example_args": [torch.randn(5, 4), torch.randn(5, 4)]}


def lstm() -> dict[str, Any]:
    example = {"tokens": torch.zeros(5, 3, dtype=torch.long), "scale": torch.ones(1)}
    return {"model": Recurrent(), "example_args": example}


CASES = [
    RuleCase("a cell", lambda: sequences(Cell()), layers=("norms.0",), message="runs 3 times"),
    RuleCase("an LSTM's hidden state", lstm, layers=("norm",)),
    RuleCase("two directions", lambda: sequences(TwoDirections()), layers=("norm",)),
    RuleCase("F.batch_norm", lambda: sequences(FunctionalCell(1)), layers=("",)),
    RuleCase("the last of too few norms", lambda: sequences(Cell(2)), layers=("norms.1",)),
    RuleCase("a norm per step", lambda: sequences(Cell(3))),
    RuleCase("buffers per step", lambda: sequences(FunctionalCell(3))),
    RuleCase("the batch's own statistics", lambda: sequences(Cell(track_running_stats=False))),
    RuleCase("Siamese", siamese),
]
