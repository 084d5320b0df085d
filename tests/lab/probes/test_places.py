"""Layers by pattern and kind, and what passes them."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from bnkit.errors import ProbeError
from bnkit.lab.probes.places import Place, choose_places, watched


def model() -> nn.Module:
    features = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.ReLU())
    return nn.Sequential(features, nn.Flatten())


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ("input of every batch norm", [Place("0.1", "input")]),
        ("every activation", [Place("0.2")]),
        ("output of 0", [Place("0")]),
        ("0.*", [Place("0.0"), Place("0.1"), Place("0.2")]),
        (["0.2", "input of 0.0"], [Place("0.0", "input"), Place("0.2")]),
        ("every weight", [Place("0.0")]),
    ],
)
def test_places(wanted: str | list[str], expected: list[Place]) -> None:
    assert list(choose_places(model(), wanted)) == expected


def test_what_matches_nothing_lists_the_layers() -> None:
    with pytest.raises(ProbeError) as caught:
        choose_places(model(), "input of layer9")
    assert "'input of layer9' names no layer" in str(caught.value)
    assert "0.0 (Conv2d), 0.1 (BatchNorm2d)" in str(caught.value)
    with pytest.raises(ProbeError, match="the network has no linear"):
        choose_places(model(), "every linear")
    with pytest.raises(ProbeError, match=r"is one layer itself.*Wrap it"):
        choose_places(nn.Linear(2, 2), "every weight")
    with pytest.raises(ProbeError, match="one of batch norm, normalization"):
        choose_places(model(), "every pooling")


def test_watching_shows_inputs_and_outputs_and_ends() -> None:
    network, seen = model(), {}
    places = choose_places(network, ["input of 0.2", "output of 0.2"])
    with watched(network, places, lambda place, tensor: seen.__setitem__(place.side, tensor)):
        network(torch.randn(4, 1, 5, 5))
    assert torch.equal(seen["input"].relu(), seen["output"])
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in network.modules())
