"""What every probe must keep: no mark on the training, and just the metrics that it declares."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from bnkit.lab.probes import PROBES, ProbeSettings, Session, make_probes
from bnkit.lab.probes.objective import ClassifierObjective, SplitExamples
from bnkit.lab.store import MetricRow
from bnkit.lab.training import Computation, Split, TrainingSettings, train
from lab.probes.probe_cases import PROBE_CASES, ProbeCase

IMAGES, CLASSES, STEPS = 24, 3, 6
VARIANTS: dict[str, dict[str, Any]] = {
    "plain": {},
    "accumulated": {"accumulate": 2, "weight_decay": 0.1},
    "clipped": {"clip_norm": 0.01},
    "bfloat16": {"precision": "bfloat16"},
}


class Noisy(nn.Module):
    """Draws from all three generators as it trains, and keeps a counter that is no buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.seen = 0

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            self.seen += 1
            x = x + random.gauss(0, 0.01) + float(np.random.normal(0, 0.01))
        return x


def network() -> nn.Module:
    torch.manual_seed(3)
    return nn.Sequential(
        nn.Conv2d(2, 4, 3, bias=False),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        Noisy(),
        nn.Conv2d(4, 4, 3),
        nn.BatchNorm2d(4),
        nn.Tanh(),
        nn.Flatten(),
        nn.Dropout(0.3),
        nn.Linear(16, CLASSES),
    )


def split(seed: int) -> Split:
    generator = torch.Generator().manual_seed(seed)
    images = torch.randn(IMAGES, 2, 6, 6, generator=generator)
    return Split(images, torch.randint(CLASSES, (IMAGES,), generator=generator))


def settings(**given: Any) -> TrainingSettings:
    optimizer = {"name": "sgd", "lr": 0.05, "momentum": 0.9}
    content = {"steps": STEPS, "validate_every": 2, "optimizer": optimizer, **given}
    return TrainingSettings.model_validate(content)


class Trained:
    """A short training, with what it left: weights, random draws, records."""

    def __init__(self, cases: Sequence[ProbeCase], **given: Any) -> None:
        self.model = network()
        for generator in (random.seed, np.random.seed, torch.manual_seed):
            generator(11)
        chosen = settings(**given)
        objective = ClassifierObjective(nn.functional.cross_entropy, Computation.of(chosen))
        tables = [ProbeSettings(kind=case.kind, **case.table) for case in cases]
        self.session = Session(
            self.model,
            make_probes(tables, self.model),
            objective,
            held_out=SplitExamples(split(2)),
            training=SplitExamples(split(1)),
        )
        train(
            self.model,
            split(1),
            split(2),
            chosen,
            batch_size=4,
            drop_last=False,
            seed=5,
            loss_function=nn.functional.cross_entropy,
            observer=self.session if cases else None,
        )
        self.draws = (random.random(), np.random.random(), torch.rand(()).item())

    @property
    def rows(self) -> list[MetricRow]:
        return self.session.rows


_plain: dict[str, Trained] = {}


def without_probes(variant: str) -> Trained:
    if variant not in _plain:
        _plain[variant] = Trained((), **VARIANTS[variant])
    return _plain[variant]


def assert_same_training(found: Trained, expected: Trained) -> None:
    ours, theirs = found.model, expected.model
    for (name, tensor), other in zip(
        ours.state_dict().items(), theirs.state_dict().values(), strict=True
    ):
        assert torch.equal(tensor, other), name
    gradients = [p.grad for p in ours.parameters()], [p.grad for p in theirs.parameters()]
    assert all(torch.equal(a, b) for a, b in zip(*gradients, strict=True) if a is not None)
    assert [m.training for m in ours.modules()] == [m.training for m in theirs.modules()]
    assert ours[3].seen == theirs[3].seen
    assert found.draws == expected.draws
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in ours.modules())


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("case", PROBE_CASES, ids=lambda case: case.kind)
def test_training_is_the_same_to_the_last_bit(case: ProbeCase, variant: str) -> None:
    found = Trained([case], **VARIANTS[variant])
    assert_same_training(found, without_probes(variant))
    assert found.rows


def test_all_probes_together_leave_the_same_training() -> None:
    assert_same_training(Trained(PROBE_CASES), without_probes("plain"))


@pytest.mark.parametrize("case", PROBE_CASES, ids=lambda case: case.kind)
def test_a_probe_records_what_it_declares(case: ProbeCase) -> None:
    rows = Trained([case]).rows
    declared = {metric.name: metric for metric in PROBES[case.kind].metrics}
    assert {row.metric for row in rows} == declared.keys()
    for row in rows:
        metric = declared[row.metric]
        assert row.unit == metric.unit
        assert (row.layer is not None) == ("layer" in metric.per)
        assert (row.key is not None) == ("key" in metric.per)
        assert isinstance(row.value, float)
        assert 0 <= row.step <= STEPS
    assert any(math.isfinite(row.value) for row in rows)


def test_every_probe_has_a_case() -> None:
    assert {case.kind for case in PROBE_CASES} == PROBES.keys()


@pytest.mark.parametrize("case", PROBE_CASES, ids=lambda case: case.kind)
def test_a_probe_says_its_cost(case: ProbeCase) -> None:
    model = network()
    (probe,) = make_probes([ProbeSettings(kind=case.kind, **case.table)], model)
    cost = probe.cost()
    assert cost.forwards or cost.backwards or cost.note
    assert cost.copies <= 1


def test_the_suite_can_fail() -> None:
    changed = Trained(())
    with torch.no_grad():
        next(changed.model.parameters()).add_(1e-6)
    with pytest.raises(AssertionError):
        assert_same_training(changed, without_probes("plain"))
