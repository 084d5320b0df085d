from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from helpers.rule_case import RuleCase, recalibrated, values

X, LABELS = values(320, 6), torch.arange(320) % 3


def mlp() -> nn.Sequential:
    """Batch norms "1", "4" and "7"."""
    torch.manual_seed(0)
    return nn.Sequential(
        *(nn.Linear(6, 16), nn.BatchNorm1d(16), nn.ReLU()),
        *(nn.Linear(16, 16), nn.BatchNorm1d(16), nn.ReLU()),
        *(nn.Linear(16, 16), nn.BatchNorm1d(16), nn.ReLU()),
        *(nn.Dropout(0.5), nn.Linear(16, 3)),
    )


def healthy() -> Any:
    return recalibrated(mlp(), X)


def moved(*places: int, training: bool = False, data: Any = None) -> dict[str, Any]:
    model = healthy().train(training)
    for place in places:
        model[place].running_var *= 0.01
    return {"model": model, "data": (X, LABELS) if data is None else data}


class Noisy(nn.Module):
    """It draws in eval mode too; both modes draw alike."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(6)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(x) + 5 * torch.randn_like(x)


class Several(nn.Module):
    """A dictionary in, a tuple out, and a layer that runs twice."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.ModuleDict({"norm": nn.BatchNorm1d(6)})
        self.head = nn.Sequential(nn.Conv1d(6, 4, 1), nn.BatchNorm1d(4))

    def forward(self, left: Tensor, right: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        norm = self.body["norm"]
        left, right = norm(left), norm(right)
        return self.head(left), {"right": right}


def several(shift: float) -> dict[str, Any]:
    left, right = values(300, 6, 5), values(300, 6, 5, seed=1)
    model = recalibrated(Several(), (left, right))
    model.head[1].running_mean += shift
    return {"model": model, "data": {"left": left, "right": right, "target": LABELS[:300]}}


def untrained(*, first: bool) -> dict[str, Any]:
    """A layer that was left behind makes the gap: BN103's, not ours."""
    model = recalibrated(mlp(), X * 30)
    if first:
        model[1].reset_running_stats()
    else:
        model = mlp()
    return {"model": model, "data": X * 30}


def frozen() -> dict[str, Any]:
    """The layers after the frozen one have the statistics of what it gives."""
    model = healthy()
    model[1].running_var *= 0.01
    model[1].eval()
    for place in (4, 7):
        model[place].reset_running_stats()
        model[place].momentum = None
    with torch.no_grad():
        model(X)
    return {"model": model, "data": X}


CASES = [
    RuleCase(
        "one layer's variance is off",
        lambda: moved(4),
        layers=("4",),
        message="cross-entropy",
    ),
    RuleCase("in training mode too", lambda: moved(4, training=True), layers=("4",)),
    RuleCase("the first of two is named", lambda: moved(1, 7), ("1",), "", "then in 7"),
    RuleCase(
        "many small batches unlike the data",
        lambda: {
            "model": recalibrated(nn.Sequential(nn.BatchNorm1d(6)), X + torch.arange(320)[:, None]),
            "data": list((X + torch.arange(320)[:, None]).split(8)),
        },
        layers=("0",),
    ),
    RuleCase("several inputs and outputs", lambda: several(5.0), layers=("head.1",)),
    RuleCase("statistics of the data", moved),
    RuleCase(
        "a single-input model that draws", lambda: {"model": recalibrated(Noisy(), X), "data": X}
    ),
    RuleCase("several, and right", lambda: several(0.0)),
    RuleCase("never trained", lambda: untrained(first=False)),
    RuleCase("left behind: BN103's", lambda: untrained(first=True)),
    RuleCase("frozen, the same in both modes", frozen),
    RuleCase(
        "sorted by class, which batches are not",
        lambda: {
            "model": recalibrated(mlp(), X + 3 * LABELS[:, None]),
            "data": (X + 3 * LABELS[:, None])[LABELS.argsort()],
        },
    ),
]
