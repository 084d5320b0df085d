"""Learning rates against torch's own schedulers, step by step."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import nn
from torch.optim.lr_scheduler import CosineAnnealingLR, LRScheduler, StepLR

from bnkit.lab.training import TrainingSettings
from bnkit.lab.training.computation import Computation
from bnkit.lab.training.observer import StepPlace
from bnkit.lab.training.optimizer_steps import OptimizerSteps
from bnkit.lab.training.schedules import rate_factor

TOTAL, PER_EPOCH = 24, 4


def factors(schedule: Any, total: int = TOTAL) -> list[float]:
    given = TrainingSettings.model_validate(
        {"steps": total, "optimizer": {"name": "sgd", "lr": 1.0}, "schedule": schedule}
    )
    return [rate_factor(given.schedule, step, total, PER_EPOCH) for step in range(1, total + 1)]


def torchs(make: Any, every: int) -> list[float]:
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    scheduler: LRScheduler = make(optimizer)
    rates = []
    for step in range(1, TOTAL + 1):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        if step % every == 0:
            scheduler.step()
    return rates


def test_constant_is_one() -> None:
    assert factors("constant") == [1.0] * TOTAL


def test_step_is_torchs_in_epochs_and_in_steps() -> None:
    in_epochs = factors({"name": "step", "every": 2, "factor": 0.5})
    expected = torchs(lambda optimizer: StepLR(optimizer, 2, gamma=0.5), PER_EPOCH)
    assert in_epochs == pytest.approx(expected, rel=1e-12)
    in_steps = factors({"name": "step", "every": 5, "unit": "steps"})
    assert in_steps == pytest.approx(torchs(lambda o: StepLR(o, 5), 1), rel=1e-12)
    assert in_steps[4:6] == pytest.approx([1.0, 0.1])


def test_cosine_is_torchs() -> None:
    expected = torchs(lambda o: CosineAnnealingLR(o, TOTAL, eta_min=0.1), 1)
    found = factors({"name": "cosine", "final": 0.1})
    assert found == pytest.approx(expected, rel=1e-9)


def test_a_warm_up_rises_to_the_full_rate_and_the_cosine_starts_there() -> None:
    found = factors({"name": "cosine", "warmup": 4, "unit": "steps"})
    assert found[:5] == [0.25, 0.5, 0.75, 1.0, 1.0]
    assert found == factors({"name": "cosine", "warmup": 1})
    assert all(later < earlier for earlier, later in pairwise(found[4:]))
    # A training of 4 steps is shorter than a warm-up of 2 epochs of 4 steps: it ends in it.
    assert factors({"name": "cosine", "warmup": 2}, total=4) == [0.125, 0.25, 0.375, 0.5]


def test_the_rate_is_set_from_the_step_alone() -> None:
    given = TrainingSettings.model_validate(
        {
            "steps": 10,
            "optimizer": {"name": "sgd", "lr": 0.2},
            "schedule": {"name": "step", "every": 3, "unit": "steps", "factor": 0.5},
        }
    )
    loss = nn.functional.cross_entropy
    steps = OptimizerSteps(nn.Linear(2, 2), given, loss, Computation(), total=10, per_epoch=5)
    batch = (torch.zeros(3, 2), torch.zeros(3, dtype=torch.long))
    seen = []
    for step in (7, 1, 4, 4):
        steps.take(StepPlace(step, 1), [batch])
        seen.append(steps.optimizer.param_groups[0]["lr"])
    assert seen == pytest.approx([0.05, 0.2, 0.1, 0.1])
