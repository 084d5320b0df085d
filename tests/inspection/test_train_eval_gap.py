"""The gap between the modes against the same two forwards, done by hand."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bnkit.inspection.batches import batches_of
from bnkit.inspection.data_pass import read_data
from bnkit.inspection.facts.data import DataFacts
from helpers.rule_case import look_trained, recalibrated, values

X, LABELS = values(40, 6), torch.arange(40) % 3


def mlp() -> Any:
    layers = (nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(inplace=True), nn.Dropout(0.5))
    return look_trained(nn.Sequential(*layers, nn.Linear(8, 3), nn.BatchNorm1d(3)))


def read(model: nn.Module, data: Any) -> DataFacts:
    batches = batches_of(model, data, 20)
    return read_data(model, next(batches), batches)


def relative(one: Tensor, other: Tensor) -> float:
    return ((one - other).norm() / other.norm()).item()


def test_gaps_are_those_of_two_forwards() -> None:
    model = mlp()
    gap = read(model, [(X, LABELS)]).gap
    assert gap is not None
    by_hand = copy.deepcopy(model).eval()
    seen: dict[str, list[Tensor]] = {"1": [], "5": []}
    for place, outputs in seen.items():
        by_hand[int(place)].register_forward_hook(
            lambda _, __, y, outputs=outputs: outputs.append(y.clone())
        )
    eval_output = by_hand(X)
    inputs = by_hand[0](X)
    own = by_hand[1](inputs)
    for place in (1, 5):
        by_hand[place].momentum = 0.0
        by_hand[place].train()
    train_output = by_hand(X)
    assert gap.samples == 40
    assert gap.output == pytest.approx(relative(train_output, eval_output), rel=1e-5)
    first, last = gap.layers
    assert (first.layer, last.layer) == ("1", "5")
    assert first.relative == pytest.approx(relative(seen["1"][2], seen["1"][0]), rel=1e-5)
    assert first.own == pytest.approx(relative(by_hand[1](inputs), own), rel=1e-5)
    assert last.relative == pytest.approx(relative(train_output, eval_output), rel=1e-5)
    assert gap.train_loss == pytest.approx(F.cross_entropy(train_output, LABELS).item(), rel=1e-5)
    assert gap.eval_loss == pytest.approx(F.cross_entropy(eval_output, LABELS).item(), rel=1e-5)


def test_a_layer_s_own_gap_leaves_out_what_reaches_it() -> None:
    model = mlp().double()
    recalibrated(model.eval(), X.double())
    model[1].running_var *= 0.01
    gap = read(model, [X.double()]).gap
    assert gap is not None
    first, last = gap.layers
    assert first.own == pytest.approx(first.relative)
    assert first.own > 0.8
    assert last.own < 0.1 < last.relative
    assert gap.train_loss is None


def test_the_pass_moves_no_statistics_between_its_forwards() -> None:
    model = recalibrated(mlp().eval(), X)
    for layer in (model[1], model[5]):
        layer.momentum = 1.0
    gap = read(model, list(X.split(20))).gap
    assert gap is not None
    assert gap.layers[0].own > 0.01, "halves are not normalized by what the whole has"


class Boxes(nn.Module):
    """As many outputs as values are above 0."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = look_trained(nn.BatchNorm1d(6))

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(x)
        return y[y > 0]


class RaisesInEval(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm = look_trained(nn.BatchNorm1d(6))

    def forward(self, x: Tensor) -> Tensor:
        if not self.norm.training:
            raise ValueError("no")
        return self.norm(x)


@pytest.mark.parametrize(
    ("model", "message"), [(Boxes(), "other shapes"), (RaisesInEval(), "raised ValueError in eval")]
)
def test_why_there_is_no_gap(model: nn.Module, message: str) -> None:
    found = read(model, X)
    assert found.gap is None
    assert message in found.gap_error


def test_a_frozen_layer_stays_in_eval_mode_in_the_pass() -> None:
    model = mlp().train()
    model[1].eval()
    found = read(model, [X])
    assert found.gap is not None
    assert (found.gap.layers[0].own, found.gap.layers[0].relative) == (0, 0)
    expected = model[4](F.relu(model[1](model[0](X))))
    last = found.population("5")
    assert last is not None
    torch.testing.assert_close(torch.tensor(last.mean), expected.mean(0).detach())
