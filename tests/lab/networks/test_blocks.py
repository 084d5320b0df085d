from __future__ import annotations

import pytest
from torch import nn

from bnkit.errors import NetworkError
from bnkit.lab.networks.blocks import block
from bnkit.lab.networks.dense import dense
from bnkit.lab.networks.three_conv import three_conv
from bnkit.lab.networks.vgg import vgg


@pytest.mark.parametrize(
    ("place", "kinds"),
    [
        ("before-norm", ["Linear", "Dropout", "BatchNorm1d", "Tanh"]),
        ("after-norm", ["Linear", "BatchNorm1d", "Dropout", "Tanh"]),
        ("after-activation", ["Linear", "BatchNorm1d", "Tanh", "Dropout"]),
        ("before-output", ["Linear", "BatchNorm1d", "Tanh"]),
    ],
)
def test_dropout_stands_where_it_is_asked_for(place: str, kinds: list[str]) -> None:
    layers = block(nn.Linear(2, 2), nn.BatchNorm1d(2), "tanh", 0.3, place)
    assert [type(layer).__name__ for layer in layers] == kinds
    expected = [0.3] if "Dropout" in kinds else []
    assert [layer.p for layer in layers if isinstance(layer, nn.Dropout)] == expected


def test_without_dropout_there_is_no_dropout_layer() -> None:
    assert len(block(nn.Linear(2, 2), nn.BatchNorm1d(2))) == 3


def test_networks_pass_their_options_on() -> None:
    for network in (
        dense((4,), 2, dropout=0.2, dropout_place="before-norm"),
        three_conv((1, 8, 8), 2, activation="tanh", dropout=0.2, dropout_place="before-norm"),
    ):
        kinds = [type(layer).__name__ for layer in network]
        assert kinds.count("Dropout") == 3
        assert all(
            kinds[i + 1].startswith("BatchNorm") for i, k in enumerate(kinds[:-1]) if k == "Dropout"
        )
    assert sum(isinstance(layer, nn.Tanh) for layer in network) == 3


def test_dropout_before_the_output_stands_there_once() -> None:
    options = {"dropout": 0.2, "dropout_place": "before-output"}
    for network in (
        dense((4,), 2, **options),
        three_conv((1, 8, 8), 2, **options),
        vgg((1, 8, 8), 2, depth=11, width=2, **options),
    ):
        kinds = [type(layer).__name__ for layer in network]
        assert kinds.count("Dropout") == 1
        assert kinds[-2:] == ["Dropout", "Linear"]
    assert not any(isinstance(m, nn.Dropout) for m in dense((4,), 2, dropout_place="before-output"))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"dropout": 1.5}, "dropout = 1.5"),
        ({"dropout": -0.1}, "from 0 to below 1"),
        ({"dropout_place": "after"}, "dropout_place = 'after'; one of before-norm"),
        ({"activation": "gelu"}, "activation = 'gelu'"),
    ],
)
def test_options_that_are_unknown_are_refused(options: dict[str, object], words: str) -> None:
    for builder, shape in ((dense, (4,)), (three_conv, (1, 8, 8))):
        with pytest.raises(NetworkError, match=words):
            builder(shape, 2, **options)
