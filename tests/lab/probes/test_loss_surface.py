"""The loss surface against plain copies, and of a linear map in closed form."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from bnkit.errors import ProbeError
from bnkit.lab.probes import Session
from bnkit.lab.probes.loss_surface import LossSurface, filter_direction
from bnkit.lab.probes.objective import ClassifierObjective, SplitExamples
from bnkit.lab.training import Computation, Split
from lab.probes.probed_networks import LOSS

GENERATOR = torch.Generator().manual_seed(6)
IMAGES = torch.randn(300, 2, 5, 5, generator=GENERATOR, dtype=torch.float64)
LABELS = torch.randint(3, (300,), generator=GENERATOR)


def recorded(model: nn.Module, loss: Any = LOSS, split: Split | None = None, **options: Any) -> Any:
    probe = LossSurface(when=1, **options)
    probe.prepare(model)
    examples = SplitExamples(split or Split(IMAGES, LABELS))
    objective = ClassifierObjective(loss, Computation("float64"))
    session = Session(model, [probe], objective, training=examples)
    session.start()
    return {row.key: row.value for row in session.rows}


def network() -> nn.Module:
    torch.manual_seed(1)
    layers = nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3), nn.ReLU(), nn.Flatten(), nn.Dropout()
    return nn.Sequential(*layers, nn.Linear(27, 3)).double()


def directions(model: nn.Module, seed: int) -> list[dict[str, Tensor]]:
    """Return d₁ and d₂, filter by filter."""
    generator = torch.Generator().manual_seed(seed)
    found: list[dict[str, Tensor]] = [{}, {}]
    for name, weight in model.named_parameters():
        for direction in found if weight.dim() > 1 else ():
            drawn = torch.randn(weight.shape, generator=generator).double()
            for filter_, own in zip(drawn, weight, strict=True):
                filter_ *= own.norm().item() / filter_.norm().item()
            direction[name] = drawn
    return found


@pytest.mark.parametrize("statistics", ["kept", "recomputed"])
def test_equals_copies(statistics: str) -> None:
    model = network()
    model(IMAGES[:40])  # running statistics that are nobody's
    before = copy.deepcopy(model.state_dict())
    found = recorded(model, points=3, span=0.5, statistics=statistics, examples=300, seed=3)
    assert list(found) == [f"{x:g},{y:g}" for x in (-0.5, 0, 0.5) for y in (-0.5, 0, 0.5)]
    first, second = directions(model, 3)
    for key, value in found.items():
        x, y = map(float, key.split(","))
        there = copy.deepcopy(model)
        with torch.no_grad():
            for name, parameter in there.named_parameters():
                if name in first:
                    parameter += x * first[name] + y * second[name]
            if statistics == "recomputed":
                inputs = there[0](IMAGES)
                there[1].running_mean.copy_(inputs.mean((0, 2, 3)))
                there[1].running_var.copy_(inputs.var((0, 2, 3)))
            expected = LOSS(there.eval()(IMAGES), LABELS).item()
        assert value == pytest.approx(expected, rel=1e-9), key
    assert all(torch.equal(model.state_dict()[name], each) for name, each in before.items())


def test_a_linear_map_in_closed_form() -> None:
    # one filter of two weights, L = ½‖Xw‖²/N with X = √N·1: L = ½‖w + x·d₁ + y·d₂‖²
    model = nn.Linear(2, 1, bias=False).double()
    inputs = torch.eye(2, dtype=torch.float64)
    split = Split(inputs, torch.zeros(2, dtype=torch.int64))
    found = recorded(model, lambda output, _: 0.5 * output.square().sum(), split, points=3)
    generator = torch.Generator().manual_seed(0)
    w = model.weight.detach().numpy()[0]
    d = [torch.randn(1, 2, generator=generator)[0].double().numpy() for _ in range(2)]
    d = [each / np.linalg.norm(each) * np.linalg.norm(w) for each in d]
    for key, value in found.items():
        x, y = map(float, key.split(","))
        assert value == pytest.approx(0.5 * ((w + x * d[0] + y * d[1]) ** 2).sum(), rel=1e-6)


def test_filters_have_the_norm_of_the_weights() -> None:
    weight = torch.randn(4, 3, 2, 2)
    weight[1] = 0
    drawn = filter_direction(weight, torch.Generator().manual_seed(0))
    torch.testing.assert_close(drawn.flatten(1).norm(dim=1), weight.flatten(1).norm(dim=1))


def test_a_network_without_batch_norm_has_nothing_to_recompute() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(50, 3)).double()
    options = {"points": 2, "examples": 30}
    assert recorded(model, statistics="recomputed", **options) == recorded(model, **options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"statistics": "averaged"}, "one of kept, recomputed"),
        ({"points": 1}, "at least 2 points"),
        ({"span": 0.0}, "a span above 0"),
        ({"examples": 0}, "1 example"),
    ],
)
def test_options_out_of_range_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ProbeError, match=message):
        LossSurface(**options)


def test_a_weight_that_an_older_norm_computed_is_copied() -> None:
    class Older(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = nn.utils.spectral_norm(nn.Linear(50, 3))

        def forward(self, x: Tensor) -> Tensor:
            return self.inner(x.flatten(1))

    model = Older().double()
    LOSS(model(IMAGES), LABELS).backward()
    assert not model.inner.weight.is_leaf
    found = recorded(model, points=3, examples=300)
    with torch.no_grad():
        assert found["0,0"] == pytest.approx(LOSS(model.eval()(IMAGES), LABELS).item(), rel=1e-12)
    assert found["1,0"] != found["0,0"]
