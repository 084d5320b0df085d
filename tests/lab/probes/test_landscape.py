"""The landscape along a gradient against plain copies, and on a quadratic in closed form."""

from __future__ import annotations

import copy
import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from bnkit.errors import ProbeError
from bnkit.lab.probes.landscape import Landscape
from lab.probes.probed_networks import NETWORKS, RATE, Taken, batches, length, network


def assert_equals_copies(taken: Taken, multiples: tuple[float, ...]) -> None:
    loss, gradient = taken.plain(taken.before)
    losses, smoothness = [], []
    assert taken.found["loss at step", None, None] == pytest.approx(loss, rel=1e-12)
    for multiple in multiples:
        moved = copy.deepcopy(taken.before)
        with torch.no_grad():
            for name, parameter in moved.named_parameters():
                parameter -= multiple * RATE * gradient[name]
        there_loss, there = taken.plain(moved)
        change = length([there[n] - gradient[n] for n in gradient])
        size, other = length([*gradient.values()]), length([*there.values()])
        product = sum(float((gradient[n] * there[n]).sum()) for n in gradient)
        expected = {
            "loss along gradient": there_loss,
            "gradient predictiveness": change,
            "relative gradient predictiveness": change / size,
            "gradient predictiveness cosine": product / size / other,
        }
        for metric, value in expected.items():
            found = taken.found[metric, None, f"{multiple:g}"]
            assert found == pytest.approx(value, rel=1e-9), metric
        losses.append(there_loss)
        smoothness.append(change / (multiple * RATE * size))
    variation = max(losses) - min(losses)
    assert taken.found["loss variation", None, None] == pytest.approx(variation, rel=1e-9)
    assert taken.found["effective smoothness", None, None] == pytest.approx(max(smoothness))


@pytest.mark.parametrize("sizes", [(8,), (8, 5)], ids=["whole", "accumulated"])
@pytest.mark.parametrize("name", NETWORKS)
def test_equals_copies(name: str, sizes: tuple[int, ...]) -> None:
    multiples = (0.5, 2.0, 4.0)
    probe = Landscape(when=1, multiples=multiples)
    assert_equals_copies(Taken(network(name), probe, batches(*sizes)), multiples)


def quadratic(output: Tensor, _: Tensor) -> Tensor:
    return 0.5 * output.square().sum()


def test_a_quadratic_in_closed_form() -> None:
    # L = ½ Σ (λᵢwᵢ)², whose gradient is λᵢ²wᵢ: g′ = (1 − mηλ²)g in each axis
    scales = torch.tensor([1.0, 3.0], dtype=torch.float64)
    model = nn.Linear(2, 1, bias=False).double()
    with torch.no_grad():
        model.weight.copy_(torch.tensor([[4.0, 1.0]]))
    inputs = torch.diag(scales), torch.zeros(2)
    taken = Taken(model, Landscape(when=1), [inputs], loss=quadratic)
    weight, square = torch.tensor([4.0, 1.0], dtype=torch.float64), scales**2
    gradient = square * weight
    losses = []
    for multiple in [0.5 * k for k in range(1, 9)]:
        key, shrunk = f"{multiple:g}", 1 - multiple * RATE * square
        losses.append(0.5 * float((square * (shrunk * weight) ** 2).sum()))
        change = multiple * RATE * float((square * gradient).norm())
        assert taken.found["loss along gradient", None, key] == pytest.approx(losses[-1])
        assert taken.found["gradient predictiveness", None, key] == pytest.approx(change)
    assert taken.found["loss variation", None, None] == pytest.approx(max(losses) - min(losses))
    expected = float((square * gradient).norm() / gradient.norm())
    assert taken.found["effective smoothness", None, None] == pytest.approx(expected, rel=1e-12)


def test_eight_steps_cost_eight_passes() -> None:
    model, forwards, backwards = network("Residual"), [], []
    model.stem.register_forward_hook(lambda *_: forwards.append(1))
    model.stem.weight.register_hook(lambda _: backwards.append(1))
    probe = Landscape(when=1)
    Taken(model, probe, batches(8))
    assert (len(forwards) - 1, len(backwards) - 1) == (8, 8)  # less the step's own
    assert (probe.cost().forwards, probe.cost().backwards) == (8, 8)


def test_what_overflows_is_recorded_as_such() -> None:
    model = network("Residual")
    with torch.no_grad():
        model.head.weight[0, 0] = math.inf
    found = Taken(model, Landscape(when=1), batches(8)).found
    assert math.isnan(found["loss variation", None, None])
    assert math.isnan(found["effective smoothness", None, None])


@pytest.mark.parametrize("multiples", [[0.0, 1.0], [-1.0], [math.inf]])
def test_multiples_that_are_no_steps_are_refused(multiples: Any) -> None:
    with pytest.raises(ProbeError, match="numbers above 0"):
        Landscape(multiples=multiples)
