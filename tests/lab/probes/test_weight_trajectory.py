"""Weight trajectories against weights read by hand, and paths whose angles are known."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import nn

from bnkit.errors import ProbeError
from bnkit.lab.probes.weight_trajectory import (
    WeightTrajectory,
    jaggedness,
    path_turning,
    two_of_last,
)
from bnkit.lab.training.observer import StepPlace
from lab.probes.one_probe import LOSS, Branched, examples, session_of, take_step


def test_weights_and_loss_of_each_epoch_and_the_path_over_them() -> None:
    model, training = Branched(), examples()
    probe = WeightTrajectory(weights=["conv2.weight[3,1,1,0]", "head.bias[2]"])
    session = session_of(model, probe, training=training)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    batches, points = list(training.batches()), []
    images = torch.cat([images for images, _ in batches])
    labels = torch.cat([labels for _, labels in batches])
    session.start()
    for step in range(1, 9):
        take_step(session, StepPlace(step, -(-step // 2), step % 2 == 0), optimizer, batches[:1])
        if step % 2 == 0:
            with torch.no_grad():
                loss = LOSS(model.eval()(images), labels).item()
            model.train()
            points.append((model.conv2.weight[3, 1, 1, 0].item(), model.head.bias[2].item(), loss))
    session.finish()
    rows = session.rows

    def series(metric: str, layer: str | None, key: str | None) -> list[float]:
        return [r.value for r in rows if (r.metric, r.layer, r.key) == (metric, layer, key)][1:]

    path = np.array(points)
    assert series("weight", "conv2.weight", "3,1,1,0") == list(path[:, 0])
    assert series("weight", "head.bias", "2") == list(path[:, 1])
    assert series("trajectory loss", None, None) == pytest.approx(path[:, 2], rel=1e-6)
    losses = series("trajectory loss", None, None)
    variation = sum(abs(b - a) for a, b in pairwise(losses))
    concluded = {row.metric: row.value for row in rows[-2:]}
    assert concluded["jaggedness"] == pytest.approx(variation / (max(losses) - min(losses)))
    assert concluded["path turning"] == pytest.approx(slow_turning(path), rel=1e-5)


def slow_turning(points: np.ndarray) -> float:
    scaled = (points - points.min(0)) / (points.max(0) - points.min(0))
    angles = []
    for i in range(1, len(scaled) - 1):
        a, b = scaled[i] - scaled[i - 1], scaled[i + 1] - scaled[i]
        angles.append(math.acos(float(a @ b) / math.sqrt(float(a @ a) * float(b @ b))))
    return sum(angles)


def test_known_paths() -> None:
    line = np.linspace(0, 1, 5)[:, None] * [2.0, -3.0, 0.5]
    assert path_turning(line) == pytest.approx(0.0, abs=1e-7)
    square = np.array([[0.0, 0], [1, 0], [1, 1], [0, 1]]) * [10.0, 0.1]
    assert path_turning(square) == pytest.approx(math.pi)
    back = np.array([[0.0, 5], [1, 5], [1, 5], [0, 5]])
    assert path_turning(back) == pytest.approx(math.pi), "a flat axis and a pause do not count"
    assert jaggedness(np.array([4.0, 3, 1, 0.5])) == pytest.approx(1.0)
    assert jaggedness(np.array([2.0, 1, 2, math.nan, 1])) == pytest.approx(3.0)
    assert math.isnan(jaggedness(np.ones(3)))
    assert math.isnan(path_turning(line[:1]))


def test_the_default_is_two_weights_of_the_last_convolution() -> None:
    chosen = two_of_last(Branched())
    assert [(weight.path, weight.key) for weight in chosen] == [
        ("mix.weight", "0,0,0,0"),
        ("mix.weight", "0,1,0,0"),
    ]
    probe = WeightTrajectory()
    probe.prepare(nn.Sequential(nn.Linear(1, 4), nn.ReLU()))
    assert [weight.key for weight in probe.weights] == ["0,0", "1,0"]
    with pytest.raises(ProbeError, match="no weight of two axes"):
        two_of_last(nn.BatchNorm1d(3))


@pytest.mark.parametrize(
    ("weight", "message"),
    [
        ("conv2.weight", r"no weight of conv2\.weight, which is of shape \(4, 4, 3, 3\)"),
        ("conv2.weight[4,0,0,0]", "one index per axis, counted from 0"),
        ("conv2.weights[0,0,0,0]", r"Did you mean 'conv2\.weight'"),
        ("conv2.weight[-1,0,0,0]", "the path of a parameter and an index"),
        (3, "weights = 3"),
    ],
)
def test_what_is_no_weight_is_refused(weight: object, message: str) -> None:
    with pytest.raises(ProbeError, match=message):
        WeightTrajectory(weights=[weight]).prepare(Branched())


def test_a_loss_that_is_no_scalar_is_refused_in_words() -> None:
    probe = WeightTrajectory()
    session = session_of(Branched(), probe, training=examples(), loss=lambda output, _: output)
    with pytest.raises(ProbeError, match=r"the loss is of shape \(6, 3\)"):
        session.start()
