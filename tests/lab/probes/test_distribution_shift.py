"""Distribution shift against loops over channels with SciPy, and shifts that are known."""

from __future__ import annotations

import copy
import math
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import wasserstein_distance
from torch import Tensor, nn

import bnkit
from bnkit.lab.probes.distribution_shift import DistributionShift, shift_of
from bnkit.lab.training.observer import StepPlace
from lab.probes.one_probe import Branched, Found, examples, found_in, session_of, take_step

BATCHES = list(examples(batch_size=10).batches())
KEYS = ("mean", "std", "wasserstein")
SHIFT, EQUAL_DRAWS = "distribution shift", "distribution shift at equal draws"


def after_a_step(model: nn.Module, batches: Any, **given: Any) -> Found:
    session = session_of(model, DistributionShift(when=1, **given))
    torch.manual_seed(21)
    take_step(session, StepPlace(1, 1), torch.optim.SGD(model.parameters(), lr=0.3), batches)
    return found_in(session.rows)


def inputs_of(model: nn.Module, paths: list[str], batches: Any) -> dict[str, np.ndarray]:
    """Return what layers receive in training mode, (N, C, …), with the draws of seed 21."""
    seen: dict[str, list[Tensor]] = {path: [] for path in paths}
    handles = [
        model.get_submodule(path).register_forward_pre_hook(
            lambda _, args, path=path: seen[path].append(args[0].detach().clone())
        )
        for path in paths
    ]
    torch.manual_seed(21)
    for images, _ in batches:
        model.train()(images)
    for handle in handles:
        handle.remove()
    return {path: torch.cat(tensors).double().numpy() for path, tensors in seen.items()}


def slow_shift(old: np.ndarray, new: np.ndarray) -> tuple[float, ...]:
    shifts = []
    for channel in range(old.shape[1]):
        a, b = old[:, channel].ravel(), new[:, channel].ravel()
        unit = np.sqrt(((a - a.mean()) ** 2).mean())
        distance = wasserstein_distance(a, b)
        shifts.append([abs(b.mean() - a.mean()), abs(b.std() - a.std()), distance] / unit)
    return tuple(np.mean(shifts, axis=0))


@pytest.mark.parametrize("batches", [BATCHES[:1], BATCHES], ids=["one batch", "accumulated"])
def test_equals_a_plain_loop_on_a_network_that_is_no_chain(batches: Any) -> None:
    model = Branched()
    before = copy.deepcopy(model)
    found = after_a_step(model, batches)
    paths = ["conv1", "conv2", "mix", "head"]
    old, new = inputs_of(before, paths, batches), inputs_of(model, paths, batches)
    for path in paths:
        expected = slow_shift(old[path], new[path])
        for metric in (SHIFT, EQUAL_DRAWS):
            values = [found[metric, path, key] for key in KEYS]
            assert values == pytest.approx(expected, rel=1e-4, abs=1e-7), path
    assert found[SHIFT, "conv1", "mean"] == 0.0, "the data are the same"
    assert found[SHIFT, "mix", "wasserstein"] > 0.001


def test_a_shift_in_closed_form() -> None:
    # h = x·w + b, the loss is mean(h): ∂/∂b = 1, ∂/∂w = mean(x), so b falls by 0.3 and w by 0.3·½.
    model = nn.Sequential(nn.Linear(1, 1), nn.Identity(), nn.Linear(1, 1))
    for index, weight in ((0, 2.0), (2, 1.0)):
        nn.init.constant_(model[index].weight, weight)
        nn.init.zeros_(model[index].bias)
    x = torch.tensor([[0.0], [1.0]])
    session = session_of(model, DistributionShift(when=1), loss=lambda output, _: output.mean())
    batch = (x, torch.zeros(2, dtype=torch.int64))
    take_step(session, StepPlace(1, 1), torch.optim.SGD(model[0].parameters(), lr=0.3), [batch])
    found = found_in(session.rows)
    # Before: values 0 and 2, std 1. After: −0.3 and 1.85 − 0.3: mean 0.625, std 0.925.
    expected = {"mean": 0.375, "std": 0.075, "wasserstein": (0.3 + 0.45) / 2}
    assert {key: found[SHIFT, "2", key] for key in KEYS} == pytest.approx(expected, abs=1e-6)


def test_the_arms_noise_is_in_the_shift_and_all_other_draws_are_the_same() -> None:
    model = Branched()
    model.norm1 = bnkit.NoisyBatchNorm2d(4)
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    model.head.bias.requires_grad_(True)
    found = after_a_step(model, BATCHES[:1])
    for key in KEYS:
        assert found[EQUAL_DRAWS, "head", key] == 0.0, "nothing before the head was trained"
        assert found[SHIFT, "conv2", key] > 0.05
    # As at the next step: the noise continues the stream of random numbers, the dropout repeats.
    torch.manual_seed(21)
    images = BATCHES[0][0]
    noise_then = model.relu(model.norm1(model.conv1(images)))
    mask = model.dropout(torch.ones_like(noise_then))
    noise_next = model.relu(model.norm1(model.conv1(images)))
    old, new = noise_then * mask, noise_next * mask
    expected = slow_shift(old.detach().double().numpy(), new.detach().double().numpy())
    values = [found[SHIFT, "conv2", key] for key in KEYS]
    assert values == pytest.approx(expected, rel=1e-4)


def test_samples_of_unequal_size_and_constant_channels_and_nan() -> None:
    generator = np.random.default_rng(0)
    old, new = generator.normal(size=(2, 12)), generator.normal(1.0, 2.0, size=(2, 9))
    found = shift_of([old[:, :5], old[:, 5:]], [new])
    assert found == pytest.approx(slow_shift(old.T, new.T))
    old[1], alone = 0.1, shift_of([old[:1]], [new[:1]])
    assert shift_of([old], [new]) == alone, "a constant channel has no unit"
    assert all(map(math.isnan, shift_of([old[1:]], [new[1:]])))
    new[0, 0] = math.nan
    assert all(map(math.isnan, shift_of([old], [new])))


def test_a_network_that_works_in_place_is_seen_before_it_does() -> None:
    torch.manual_seed(1)
    model = nn.Sequential(
        nn.Conv2d(2, 3, 1), nn.Identity(), nn.ReLU(inplace=True), nn.Flatten(), nn.Linear(60, 3)
    )
    before = copy.deepcopy(model)
    found = after_a_step(model, BATCHES[:1], layers="input of 1")
    old, new = (inputs_of(m, ["1"], BATCHES[:1])["1"] for m in (before, model))
    values = [found[SHIFT, "1", key] for key in KEYS]
    assert values == pytest.approx(slow_shift(old, new), rel=1e-4)
