from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

import bnkit
from bnkit.errors import ArgumentError, ArgumentTypeError, BnkitError, RewriteError
from helpers.architectures import CASES
from helpers.healthy_architectures import HEALTHY

NETWORKS = {**HEALTHY, **{name: case for name, case in CASES.items() if name not in HEALTHY}}
IMAGES = torch.randn(4, 3, 8, 8)
BATCH_NORM = nn.modules.batchnorm._BatchNorm


def plain() -> nn.Sequential:
    return nn.Sequential(
        *(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.ConvTranspose2d(4, 5, 3), nn.Tanh()),
        *(nn.Flatten(), nn.Linear(320, 6), nn.ReLU(inplace=True), nn.Linear(6, 2)),
    )


def test_names_that_an_optimizer_keeps_are_those_of_the_model() -> None:
    model = plain()
    optimizer = torch.optim.SGD(model.named_parameters(), lr=0.1)
    before = list(optimizer.param_groups[0]["param_names"])
    rewrite = bnkit.insert(model, IMAGES, inplace=True, optimizer=optimizer)
    names = {id(p): name for name, p in rewrite.model.named_parameters()}
    group = optimizer.param_groups[0]
    assert group["param_names"] == [names[id(p)] for p in group["params"]]
    assert group["param_names"] != before
    rewrite.undo()
    assert optimizer.param_groups[0]["param_names"] == before


def reasons(rewrite: bnkit.rewrite.Rewrite) -> dict[str, str]:
    return {item.path: item.reason for item in rewrite.skipped}


@pytest.mark.parametrize("name", NETWORKS)
def test_what_is_inserted_into_every_network_is_removed_again(name: str) -> None:
    case = NETWORKS[name]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        example = case.example()
        bare = bnkit.remove(case.build(), example).model
    rewrite = bnkit.insert(bare, example)
    convs = [m for m in bare.modules() if isinstance(m, nn.Linear | nn.modules.conv._ConvNd)]
    assert len(rewrite.changes) + len(rewrite.skipped) == len(convs)
    if rewrite.changes:
        removed = bnkit.remove(rewrite.model, example, fold_scale=True)
        assert removed.relative_difference is not None
        assert removed.relative_difference < 1e-5, "nothing else was left of them"
    before, after = bare.state_dict(), rewrite.undo().state_dict()
    assert list(before) == list(after)
    torch.testing.assert_close(dict(before), dict(after), rtol=0, atol=0)


def test_they_stand_directly_behind_the_layers_whose_biases_go() -> None:
    model = plain()
    rewrite = bnkit.insert(model, IMAGES)
    new = rewrite.model
    assert [type(new[number].norm).__name__ for number in (0, 2, 5)] == [
        *("BatchNorm2d", "BatchNorm2d", "BatchNorm1d"),
    ]
    assert new[0].layer.bias is None
    assert "its bias dropped" in rewrite.changes[0].what
    assert "it makes the network's output" in reasons(rewrite)["7"]
    assert set(rewrite.removed_keys) >= {"0.weight", "0.bias"}
    assert set(rewrite.added_keys) >= {"0.layer.weight", "0.norm.running_mean"}
    assert rewrite.difference is not None
    assert rewrite.difference > 0
    assert "statistics are initial" in rewrite.notes[0]


def test_in_training_the_dropped_bias_made_no_difference() -> None:
    model = plain()[:1].double()
    x = IMAGES.double()
    kept = bnkit.insert(model, x, after="0", drop_bias=False).model.train()
    dropped = bnkit.insert(model, x, after="0").model.train()
    assert kept[0].layer.bias is not None
    torch.testing.assert_close(kept(x), dropped(x), rtol=1e-9, atol=1e-9)
    assert (kept(x).mean((0, 2, 3)).abs() < 1e-9).all()


def test_behind_the_activation_the_bias_stays() -> None:
    model = plain()
    rewrite = bnkit.insert(model, IMAGES, where="after-activation", kind="torch")
    new = rewrite.model
    assert [type(new[number].norm) for number in (1, 3, 6)] == [
        *(nn.BatchNorm2d, nn.BatchNorm2d, nn.BatchNorm1d),
    ]
    assert isinstance(new[1].activation, nn.ReLU)
    assert new[0].bias is not None
    assert "behind its activation 1" in rewrite.changes[0].what


def test_modes_dtype_and_frozen_parts_are_the_layers() -> None:
    model = plain()[:2].to(torch.bfloat16)
    model[0].eval()
    norm = bnkit.insert(model, IMAGES.bfloat16(), after="0").model[0].norm
    assert norm.weight.dtype == torch.bfloat16
    assert norm.training is False
    assert model[1].training is True


class Awkward(nn.Module):
    """One of everything that gets no batch norm."""

    def __init__(self) -> None:
        super().__init__()
        self.shared = nn.Conv2d(3, 3, 3, padding=1)
        self.read, self.unused = nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 1)
        self.normed, self.norm = nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)
        self.grouped, self.group = nn.Conv2d(4, 4, 1), nn.GroupNorm(2, 4)
        self.pooled, self.tokens = nn.Conv2d(4, 4, 1), nn.Linear(4, 4)
        self.attention = nn.MultiheadAttention(4, 2, batch_first=True)
        self.head = nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.shared(self.shared(x))
        x = self.read(x) + F.conv2d(x, self.read.weight)
        x = self.group(self.grouped(self.norm(F.max_pool2d(F.relu(self.normed(x)), 2))))
        x = x + self.pooled(x[:1].mean((2, 3), keepdim=True))
        x = self.tokens(x.flatten(2).transpose(1, 2))
        return F.log_softmax(self.head(self.attention(x, x, x)[0].mean(1)), 1)


def test_layers_that_get_none_are_named_with_the_reason() -> None:
    rewrite = bnkit.insert(Awkward(), IMAGES)
    assert not rewrite.changes
    expected = {
        "shared": "runs 2 times in a forward",
        "read": "its weight is read by a function",
        "unused": "never ran as a module",
        "normed": "feeds a batch norm already",
        "grouped": "feeds group already, which normalizes",
        "pooled": "one value per channel",
        "tokens": "its channels lie on the last axis",
        "attention.out_proj": "never ran as a module",
        "head": "makes the network's output",
    }
    found = reasons(rewrite)
    assert found.keys() == expected.keys()
    for path, words in expected.items():
        assert words in found[path]
    named = bnkit.insert(Awkward(), IMAGES, after="head")
    assert [change.path for change in named.changes] == ["head"]


class Activations(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.convs = nn.ModuleList(nn.Conv2d(3, 3, 1) for _ in range(5))
        self.relu, self.own = nn.ReLU(), nn.Sequential(nn.Identity(), nn.SiLU())

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.convs[1](self.relu(self.convs[0](x))))
        x = torch.tanh(self.convs[2](x))
        x = self.own(self.convs[3](x))
        y = self.convs[4](x)
        return (y * y.sigmoid()).mean()


def test_an_activation_that_cannot_be_wrapped_is_refused() -> None:
    rewrite = bnkit.insert(Activations(), IMAGES, after="convs", where="after-activation")
    assert [change.path for change in rewrite.changes] == ["convs.3"]
    found = reasons(rewrite)
    assert "its activation relu is used several times" in found["convs.0"]
    assert "torch.tanh, called as a function" in found["convs.2"]
    assert "its output goes to several places" in found["convs.4"]


class Reads(nn.Module):
    """Its code asks the layer for its width; the second one is called through a plain list."""

    def __init__(self, through_list: bool) -> None:
        super().__init__()
        self.conv, self.through_list = nn.Conv2d(3, 4, 3), through_list
        self.layers = [self.conv]

    def forward(self, x: Tensor) -> Tensor:
        if self.through_list:
            return F.relu(self.layers[0](x))
        return F.relu(self.conv(x)) * self.conv.out_channels


@pytest.mark.parametrize(
    ("through_list", "words"),
    [(False, "Leave out, by after="), (True, "^conv: was put into a Sequential .* does not run")],
)
@pytest.mark.parametrize("inplace", [True, False])
def test_code_that_looks_into_the_layer_is_noticed(
    through_list: bool, words: str, inplace: bool
) -> None:
    model = Reads(through_list)
    before = repr(model), copy.deepcopy(model.state_dict())
    with pytest.raises(RewriteError, match=words):
        bnkit.insert(model, IMAGES, after="conv", inplace=inplace)
    assert repr(model) == before[0]
    torch.testing.assert_close(dict(model.state_dict()), dict(before[1]), rtol=0, atol=0)


def test_the_optimizer_trains_what_is_inserted_and_forgets_what_is_dropped() -> None:
    model = plain()
    optimizer = torch.optim.Adam(
        [{"params": model[0].named_parameters()}, {"params": model[2:].named_parameters()}]
    )
    model(IMAGES).square().sum().backward()
    optimizer.step()
    weight, bias = model[0].weight, model[0].bias
    before = [list(map(id, group["params"])) for group in optimizer.param_groups]
    kept = {key: value.clone() for key, value in optimizer.state[bias].items()}
    rewrite = bnkit.insert(model, IMAGES, after="0", inplace=True, optimizer=optimizer)
    norm = model[0].norm
    held = optimizer.param_groups[0]["params"]
    assert [id(p) for p in held] == [id(weight), id(norm.weight), id(norm.bias)]
    assert optimizer.param_groups[0]["param_names"][1:] == ["0.norm.weight", "0.norm.bias"]
    assert bias not in optimizer.state
    optimizer.zero_grad()
    model(IMAGES).square().sum().backward()
    optimizer.step()
    assert (norm.bias != 0).any()
    rewrite.undo()
    assert [list(map(id, group["params"])) for group in optimizer.param_groups] == before
    assert optimizer.param_groups[0]["param_names"] == ["weight", "bias"]
    assert norm.weight not in optimizer.state
    for key, value in kept.items():
        assert torch.equal(optimizer.state[bias][key], value)


@given(
    axes=st.integers(0, 3),
    channels=st.integers(1, 5),
    size=st.integers(1, 4),
    n=st.integers(2, 4),
    transposed=st.booleans(),
)
@settings(max_examples=25, deadline=None)
def test_dimension_and_channels_are_those_of_the_output(
    axes: int, channels: int, size: int, n: int, transposed: bool
) -> None:
    kinds = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
    kinds = kinds if transposed else (nn.Conv1d, nn.Conv2d, nn.Conv3d)
    layer = nn.Linear(2, channels) if axes == 0 else kinds[axes - 1](2, channels, 1)
    x = torch.randn(n, 2, *[size] * axes)
    model = bnkit.insert(layer, x, after="*").model
    assert type(model.norm).__name__ == f"BatchNorm{max(axes, 1)}d"
    assert model.norm.num_features == channels
    assert model.train()(x).shape == layer(x).shape


@pytest.mark.parametrize(
    ("model", "arguments", "kind", "words"),
    [
        (plain(), {"where": "before"}, ArgumentError, "where='before'.*before-activation"),
        (plain(), {"kind": "group"}, ArgumentError, "one of bnkit, torch"),
        (plain(), {"after": "conv"}, RewriteError, "names no conv or linear layer.*nearest"),
        (nn.Sequential(nn.ReLU()), {}, RewriteError, "no conv or linear layer"),
        (nn.Sequential(nn.LazyLinear(3)), {}, RewriteError, "uninitialized"),
        (nn.Sequential(nn.Conv2d(7, 3, 1)), {}, RewriteError, "on the example"),
        (plain(), {"optimizer": 3, "inplace": True}, ArgumentTypeError, "one of torch.optim"),
        (
            plain(),
            {"optimizer": torch.optim.SGD(plain().parameters()), "inplace": True},
            RewriteError,
            "holds none of the parameters",
        ),
        (plain(), {"optimizer": torch.optim.SGD(plain().parameters())}, RewriteError, "inplace"),
        (3, {}, ArgumentTypeError, "a network"),
    ],
)
def test_bad_input_is_one_message(
    model: Any, arguments: dict[str, Any], kind: type[BnkitError], words: str
) -> None:
    with pytest.raises(kind, match=words):
        bnkit.insert(model, IMAGES, **arguments)
