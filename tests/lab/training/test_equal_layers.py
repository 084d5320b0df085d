"""Training with bnkit's layers and with torch's: the same losses under equal seeds.

The kernel is named: for tensors this small `auto` may take torch's own operators.
"""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from bnkit.kernels.dispatch import NUMBA, use_kernel
from bnkit.lab.networks import build_network, named_builder
from bnkit.lab.training import Split
from bnkit.lab.training.batches import grouped_batches
from bnkit.lab.training.computation import Computation
from bnkit.lab.training.observer import StepPlace
from bnkit.lab.training.optimizer_steps import OptimizerSteps
from helpers.training_cases import settings

STEPS = 200
SINGLE_STEPS = 50


def digits(dtype: torch.dtype) -> Split:
    generator = np.random.default_rng(0)
    images = torch.from_numpy(generator.random((160, 1, 8, 8))).to(dtype)
    return Split(images, torch.from_numpy(generator.integers(0, 10, 160)))


def with_torchs_layers(network: nn.Sequential) -> nn.Sequential:
    """Return a copy whose batch norms are torch's, with the same tensors."""
    twin = copy.deepcopy(network)
    for index, layer in enumerate(twin):
        if isinstance(layer, nn.BatchNorm2d):
            twin[index] = nn.BatchNorm2d(layer.num_features, dtype=layer.weight.dtype)
            twin[index].load_state_dict(layer.state_dict())
    assert {type(m) for m in twin if isinstance(m, nn.BatchNorm2d)} == {nn.BatchNorm2d}
    return twin


def pair(computation: Computation) -> tuple[list[nn.Sequential], list[OptimizerSteps]]:
    torch.manual_seed(0)
    ours = build_network(named_builder("three-conv"), "three-conv", (1, 8, 8), 10, {"filters": 4})
    ours = computation.convert(ours)
    assert isinstance(ours, nn.Sequential)
    networks = [ours, with_torchs_layers(ours)]
    given = settings(optimizer={"name": "sgd", "lr": 0.05, "momentum": 0.9})
    return networks, [
        OptimizerSteps(
            network.train(), given, F.cross_entropy, computation, total=STEPS, per_epoch=5
        )
        for network in networks
    ]


def test_losses_agree_to_1e_8_over_200_steps_in_float64() -> None:
    computation = Computation("float64")
    _, (ours, torchs) = pair(computation)
    batches = grouped_batches(digits(torch.float64), 32, False, 1, seed=0)
    losses = []
    with use_kernel(NUMBA):
        for step, group in zip(range(1, STEPS + 1), batches, strict=False):
            losses.append(
                [steps.take(StepPlace(step, 1), group)[0].loss for steps in (ours, torchs)]
            )
    found, expected = np.array(losses).T
    assert expected[-5:].mean() < 0.5 * expected[:5].mean()
    np.testing.assert_allclose(found, expected, rtol=1e-8)


def test_each_step_from_equal_weights_agrees_to_1e_5_in_float32() -> None:
    (network, twin), (ours, torchs) = pair(Computation())
    batches = grouped_batches(digits(torch.float32), 32, False, 1, seed=0)
    with use_kernel(NUMBA):
        for step, group in zip(range(1, SINGLE_STEPS + 1), batches, strict=False):
            network.load_state_dict(twin.state_dict())
            ours.optimizer.load_state_dict(copy.deepcopy(torchs.optimizer.state_dict()))
            found, expected = (
                steps.take(StepPlace(step, 1), group)[0].loss for steps in (ours, torchs)
            )
            assert found == pytest.approx(expected, rel=1e-5)
            for mine, theirs in zip(network.parameters(), twin.parameters(), strict=True):
                assert (mine - theirs).norm() <= 1e-5 * theirs.norm() + 1e-6
