"""Accuracy after pruning, against masking by hand, and a network with channels to spare."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from torch import Tensor, nn

from bnkit.errors import ProbeError
from bnkit.lab.probes import Session
from bnkit.lab.probes.objective import ClassifierObjective, SplitExamples
from bnkit.lab.probes.pruned_accuracy import PrunedAccuracy
from bnkit.lab.training import Computation, Split

CHANNELS = 8


def network(*, affine: bool = True) -> nn.Sequential:
    """One prunable layer, with γ, β and statistics of a trained network."""
    torch.manual_seed(0)
    norm = nn.BatchNorm1d(CHANNELS, affine=affine)
    model = nn.Sequential(nn.Linear(5, CHANNELS), norm, nn.ReLU(), nn.Linear(CHANNELS, 3))
    if affine:
        with torch.no_grad():
            norm.weight.normal_()
            norm.bias.normal_()
    model = model.double()
    for _ in range(5):
        model(torch.randn(64, 5, dtype=torch.float64) * 2 + 1)
    return model


def data(count: int = 400) -> Split:
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(count, 5, generator=generator, dtype=torch.float64)
    return Split(images, torch.randint(3, (count,), generator=generator))


def found(model: nn.Module, held_out: Split, **options: object) -> dict[tuple[str, str], float]:
    probe = PrunedAccuracy(when="epoch", **options)
    objective = ClassifierObjective(nn.functional.cross_entropy, Computation("float64"))
    session = Session(model, [probe], objective, held_out=SplitExamples(held_out))
    session.start()
    return {(row.metric, str(row.key)): row.value for row in session.rows}


def accuracy(logits: Tensor, labels: Tensor) -> float:
    return (logits.argmax(1) == labels).double().mean().item()


def masked(model: nn.Sequential, images: Tensor, gone: Tensor) -> Tensor:
    """Run the network with act(β) in the place of the channels that are gone."""
    linear, norm, activation, output = copy.deepcopy(model).eval()
    with torch.no_grad():
        y = norm(linear(images))
        y[:, gone] = norm.bias[gone]
        return output(activation(y))


@pytest.mark.parametrize("amount", [0.25, 0.5])
def test_equals_masking_by_hand(amount: float) -> None:
    model, held_out = network(), data()
    measured = found(model.train(), held_out, amounts=[amount], draws=2, examples=300)
    images, labels = held_out.images[:300], held_out.labels[:300]
    whole = accuracy(copy.deepcopy(model).eval()(images), labels)
    scores = {"scale": model[1].weight.abs(), "norm": model[0].weight.norm(dim=1)}
    for way, score in scores.items():
        gone = score.argsort()[: int(amount * CHANNELS)]
        expected = accuracy(masked(model, images, gone), labels)
        assert measured["pruned accuracy", f"{way} {amount:g}"] == pytest.approx(expected)
        assert measured["accuracy lost to pruning", f"{way} {amount:g}"] == pytest.approx(
            whole - expected
        )
    # A mean over two choices of channels: in 300 images there are 600 hits or misses.
    hits = measured["pruned accuracy", f"random {amount:g}"] * 600
    assert hits == pytest.approx(round(hits), abs=1e-6)


def test_channels_of_scale_zero_cost_nothing_and_others_do() -> None:
    """Labels are the network's own predictions, and half of its channels have γ = 0."""
    model = network()
    with torch.no_grad():
        model[1].weight[: CHANNELS // 2] = 0
        model[1].weight[CHANNELS // 2 :] = 3
        model[0].weight[CHANNELS // 2 :] /= 100  # by the norm of weights the wrong half goes
        model[1].running_mean.zero_()
        model[1].running_var.copy_(model[0].weight.square().sum(1))
        model[0].bias.zero_()
    images = data().images
    held_out = Split(images, copy.deepcopy(model).eval()(images).detach().argmax(1))
    measured = found(model, held_out, amounts=[0.5])
    assert measured["pruned accuracy", "scale 0.5"] == 1.0
    assert measured["accuracy lost to pruning", "scale 0.5"] == 0.0
    assert measured["pruned accuracy", "norm 0.5"] < 0.9
    assert measured["pruned accuracy", "random 0.5"] < 0.99


def test_all_ways_prune_the_layers_that_scale_can_prune() -> None:
    """The last hidden layer has no batch norm: it keeps its channels, however they are chosen."""
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Linear(5, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Linear(6, 6), nn.ReLU(), nn.Linear(6, 3)
    ).double()
    with torch.no_grad():
        model[0].weight[:3] = 0  # these three go by norm, at no cost: their γ is 0 too
        model[0].bias[:3] = 0
        model[1].weight[:3] = 0
        model[3].weight[:3] /= 1000  # of all layers, these would go first
    images = data().images
    held_out = Split(images, copy.deepcopy(model).eval()(images).detach().argmax(1))
    measured = found(model, held_out, amounts=[0.5])
    assert measured["pruned accuracy", "norm 0.5"] == 1.0


def test_without_scale_there_is_no_accuracy_by_it() -> None:
    measured = found(network(affine=False), data(), amounts=[0.5])
    assert math.isnan(measured["pruned accuracy", "scale 0.5"])
    assert 0 <= measured["pruned accuracy", "norm 0.5"] <= 1


def test_a_network_without_channels_to_remove_is_refused() -> None:
    with pytest.raises(ProbeError, match="cannot be pruned: no channel can be removed"):
        found(nn.Sequential(nn.Flatten(), nn.Linear(5, 3)).double(), data())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"amounts": [0.5, 1.0]}, "amounts = .*below 1"),
        ({"draws": 0}, "draws = 0"),
        ({"scope": "all"}, "scope = 'all'; one of layer, global"),
        ({"examples": 0}, "examples = 0"),
    ],
    ids=["amounts", "draws", "scope", "examples"],
)
def test_wrong_options_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(ProbeError, match=message):
        PrunedAccuracy(**options)
