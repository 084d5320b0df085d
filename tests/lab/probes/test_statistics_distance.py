"""Distances of running statistics against statistics taken by hand, and known distances."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

import bnkit
from bnkit.lab.probes.statistics_distance import StatisticsDistance
from lab.probes.one_probe import Branched, at_start, examples

MEAN, VARIANCE = "running mean distance", "running variance distance"


def test_equals_statistics_taken_by_hand_on_a_network_that_is_no_chain() -> None:
    model, training = Branched(), examples((19, 2, 5, 4))
    for norm in (model.norm1, model.norm2):
        norm.running_mean.uniform_(-1, 1)
        norm.running_var.uniform_(0.2, 3)
    found = at_start(model, StatisticsDistance(), training=training)
    assert len(found) == 4
    # Dropout off, and every batch normalized by itself.
    running = {path: getattr(model, path).state_dict() for path in ("norm1", "norm2")}
    running = {path: {k: v.clone() for k, v in state.items()} for path, state in running.items()}
    received: dict[str, list[torch.Tensor]] = {"norm1": [], "norm2": []}
    model.train().dropout.eval()
    for path, parts in received.items():
        model.get_submodule(path).register_forward_pre_hook(
            lambda _, args, parts=parts: parts.append(args[0].detach())
        )
    for images, _ in list(training.batches())[:3]:
        model(images)
    for path, parts in received.items():
        x = torch.cat(parts).double().movedim(1, 0).flatten(1).numpy()
        mean, var = x.mean(1), x.var(1, ddof=1)
        own = {key: value.double().numpy() for key, value in running[path].items()}
        expected = np.median(np.abs(own["running_mean"] - mean) / np.sqrt(var))
        assert found[MEAN, path, None] == pytest.approx(expected, rel=1e-5)
        expected = np.median(np.abs(np.log(own["running_var"] / var)))
        assert found[VARIANCE, path, None] == pytest.approx(expected, rel=1e-5)


def test_recalibrated_statistics_are_at_no_distance() -> None:
    model, training = Branched(), examples((18, 2, 5, 4))
    batches = [images for images, _ in training.batches()]
    bnkit.recalibrate(model, batches, inplace=True)
    found = at_start(model, StatisticsDistance(), training=training)
    assert found == {key: pytest.approx(0, abs=1e-5) for key in found}


def test_known_distances_and_a_constant_channel() -> None:
    model, training = nn.Sequential(nn.BatchNorm1d(3)), examples((20, 3))
    images = training.split.images
    # Channels: ±1, ±2 and a constant: σ² = 20/19 and 80/19.
    images[:, 0] = torch.tensor([1.0, -1.0] * 10)
    images[:, 1] = torch.tensor([2.0, -2.0] * 10)
    images[:, 2] = 7.0
    model[0].running_mean.copy_(torch.tensor([1.0, 1.0, 7.0]))
    found = at_start(model, StatisticsDistance(), training=training)
    units = math.sqrt(19 / 20), math.sqrt(19 / 80)
    assert found[MEAN, "0", None] == pytest.approx(sum(units) / 2)
    logarithms = math.log(20 / 19), math.log(80 / 19)
    assert found[VARIANCE, "0", None] == pytest.approx(sum(logarithms) / 2)
    images[4, 1] = math.nan
    found = at_start(model, StatisticsDistance(), training=training)
    assert all(math.isnan(value) for value in found.values())


def test_frozen_layers_and_those_without_statistics_are_not_recorded() -> None:
    model = nn.Sequential(
        *(nn.Linear(5, 4), nn.BatchNorm1d(4), nn.BatchNorm1d(4, track_running_stats=False)),
        *(nn.BatchNorm1d(4).eval(), nn.BatchNorm1d(4), nn.Linear(4, 3)),
    )
    probe = StatisticsDistance()
    probe.prepare(model)
    probe.prepare = lambda _: None
    model[4] = nn.Identity()  # as the arm without batch norm leaves it
    found = at_start(model, probe, training=examples((20, 5)))
    assert set(found) == {(MEAN, "1", None), (VARIANCE, "1", None)}
    for index in (1, 2, 3):
        model[index] = nn.Identity()
    assert at_start(model, probe, training=examples((20, 5))) == {}


def test_the_noise_of_an_arm_is_not_in_the_population() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(5, 4), bnkit.BatchNorm1d(4), nn.Linear(4, 4), nn.BatchNorm1d(4))
    expected = at_start(model, StatisticsDistance(), training=examples((20, 5)))
    noisy = bnkit.NoisyBatchNorm1d(4)
    noisy.load_state_dict(model[1].state_dict())
    model[1] = noisy
    assert at_start(model, StatisticsDistance(), training=examples((20, 5))) == expected
