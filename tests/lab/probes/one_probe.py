"""A probe on a network, outside of a study: what it records at the start, or over a few steps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from bnkit.lab.probes import Probe, Session
from bnkit.lab.probes.objective import ClassifierObjective, SplitExamples
from bnkit.lab.store import MetricRow
from bnkit.lab.training import Computation, Split
from bnkit.lab.training.observer import StepPlace

LOSS = nn.functional.cross_entropy
Found = dict[tuple[str, str | None, str | None], float]


class Branched(nn.Module):
    """No chain: a residual block and a shared ReLU, then a concatenation; (N, 2, H, W) → (N, 3)."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(4)
        self.conv1, self.norm1 = nn.Conv2d(2, 4, 3, padding=1), nn.BatchNorm2d(4)
        self.conv2, self.norm2 = nn.Conv2d(4, 4, 3, padding=1), nn.BatchNorm2d(4)
        self.relu, self.dropout = nn.ReLU(), nn.Dropout(0.25)
        self.mix, self.tanh = nn.Conv2d(8, 5, 1), nn.Tanh()
        self.head = nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        first = self.relu(self.norm1(self.conv1(x)))
        second = self.relu(first + self.norm2(self.conv2(self.dropout(first))))
        return self.head(self.tanh(self.mix(torch.cat([first, second], 1))).mean((2, 3)))


def examples(
    shape: tuple[int, ...] = (20, 2, 5, 4), *, batch_size: int = 6, seed: int = 7
) -> SplitExamples:
    generator = torch.Generator().manual_seed(seed)
    images = torch.randn(shape, generator=generator) * 2 + 0.5
    labels = torch.randint(3, shape[:1], generator=generator)
    return SplitExamples(Split(images, labels), batch_size)


def session_of(
    model: nn.Module, probe: Probe, *, loss: Any = LOSS, dtype: str = "float32", **given: Any
) -> Session:
    probe.prepare(model)
    return Session(model, [probe], ClassifierObjective(loss, Computation(dtype)), **given)


def found_in(rows: Sequence[MetricRow]) -> Found:
    return {(row.metric, row.layer, row.key): row.value for row in rows}


def at_start(model: nn.Module, probe: Probe, **given: Any) -> Found:
    session = session_of(model, probe, **given)
    session.start()
    return found_in(session.rows)


def take_step(session: Session, place: StepPlace, optimizer: Any, batches: Sequence[Any]) -> None:
    """Take an optimizer step as a training loop does."""
    network, objective = session.network, session.objective
    total = sum(len(labels) for _, labels in batches)
    optimizer.zero_grad()
    session.begin(place)
    for batch in batches:
        (objective.loss(network, batch) * (len(batch[1]) / total)).backward()
    session.before_update(batches, optimizer.param_groups[0]["lr"], is_plain_gradient=True)
    optimizer.step()
    session.after_update()
