from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from bnkit.lab.training.batches import grouped_batches
from bnkit.lab.training.computation import Computation
from bnkit.lab.training.observer import StepPlace
from bnkit.lab.training.optimizer_steps import OptimizerSteps
from helpers.training_cases import network, plain_network, run, settings, splits


def test_accumulation_is_the_large_batch_for_a_network_without_batch_norm() -> None:
    """Batches of 16, two to a step, against batches of 32; the last step has 18 examples."""
    small, large = plain_network().double(), plain_network().double()
    changes = {"precision": "float64", "schedule": {"name": "step", "every": 1}}
    accumulated = run(small, settings(accumulate=2, **changes))
    whole = run(large, settings(**changes), batch_size=32)
    torch.testing.assert_close(small.state_dict(), large.state_dict(), rtol=1e-12, atol=1e-14)
    for ours, theirs in zip(accumulated.checkpoints, whole.checkpoints, strict=True):
        assert ours == pytest.approx(theirs, rel=1e-12)


def test_no_step_spans_two_epochs() -> None:
    groups = grouped_batches(splits()[0], 16, False, 3, seed=0)
    sizes = [[len(labels) for _, labels in next(groups)] for _ in range(4)]
    assert sizes == [[16, 16, 16], [2], [16, 16, 16], [2]]
    result = run(plain_network(), settings(accumulate=3))
    assert [(c.step, c.epoch) for c in result.checkpoints] == [(0, 0), (2, 1), (4, 2), (6, 3)]


def test_batch_norm_sees_each_batch_by_itself() -> None:
    model = network()
    run(model, settings(accumulate=2, epochs=1))
    assert model[1].num_batches_tracked == 4


def test_a_gradient_longer_than_clip_norm_is_shortened_to_it() -> None:
    train_split, _ = splits()
    batch = [(train_split.images, train_split.labels)]

    def moved(**changes: object) -> torch.Tensor:
        model = plain_network()
        given = settings(optimizer={"name": "sgd", "lr": 1.0}, **changes)
        steps = OptimizerSteps(model, given, F.cross_entropy, Computation(), total=1, per_epoch=1)
        before = nn.utils.parameters_to_vector(model.parameters()).detach().clone()
        steps.take(StepPlace(1, 1), batch)
        return nn.utils.parameters_to_vector(model.parameters()).detach() - before

    free = moved()
    short = moved(clip_norm=0.01)
    assert free.norm() > 0.1
    torch.testing.assert_close(short, free * (0.01 / free.norm()), rtol=1e-3, atol=1e-8)
    torch.testing.assert_close(moved(clip_norm=100.0), free)


def test_a_loss_that_is_not_finite_takes_no_step() -> None:
    model = plain_network()
    before = copy.deepcopy(model.state_dict())
    train_split, _ = splits()
    losses = iter([1.0, float("inf")])
    steps = OptimizerSteps(
        model,
        settings(accumulate=2),
        lambda logits, labels: F.cross_entropy(logits, labels) * next(losses),
        Computation(),
        total=1,
        per_epoch=1,
    )
    batches = [(train_split.images[:8], train_split.labels[:8])] * 2
    assert steps.take(StepPlace(1, 1), batches) is None
    torch.testing.assert_close(model.state_dict(), before, rtol=0, atol=0)
