from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from helpers.rule_case import RuleCase, images

TOKENS = torch.arange(12).reshape(3, 4)


class Tokens(nn.Module):
    """Embedding (N, L, D), what the case puts between, batch norm of the sizes of the case."""

    def __init__(self, channels: int, move: str = "") -> None:
        super().__init__()
        self.embed = nn.Embedding(12, 6)
        self.move = move
        self.norm = nn.BatchNorm1d(channels)

    def forward(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        x = F.relu(self.embed(tokens))
        if self.move == "transpose":
            x = x.transpose(1, 2)
        elif self.move == "permute":
            x = x.permute(0, 2, 1)
        elif self.move == "reshape":
            x = x.reshape(x.shape[0], 6, -1)
        elif self.move == "twice":
            x = x.mT.movedim(2, 1)
        return F.relu(self.norm(x)), x


class Recurrent(nn.Module):
    def __init__(self, *, batch_first: bool, transposes: bool = False) -> None:
        super().__init__()
        self.rnn = nn.GRU(6, 5, batch_first=batch_first)
        self.transposes = transposes
        self.norm = nn.BatchNorm1d(5 if transposes else 4)

    def forward(self, x: Tensor) -> Tensor:
        out, _ = self.rnn(x)
        return F.relu(self.norm(out.transpose(1, 2) if self.transposes else out))


class Attention(nn.Module):
    """A post-norm transformer block with batch norm on the tokens' axis."""

    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(6, 2, batch_first=True)
        self.norm = nn.BatchNorm1d(4)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.norm(x + self.attention(x, x, x)[0]))


class Patches(nn.Module):
    """As in a vision transformer: patches by a conv, transposed; a residual by a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.patch, self.linear = nn.Conv2d(3, 6, 4, 4), nn.Linear(6, 6)
        self.norm = nn.BatchNorm1d(4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patch(x).flatten(2).transpose(1, 2)
        return F.relu(self.norm(x + self.linear(x)))


class TokenMixing(nn.Module):
    """Mixes positions by a linear layer on the transposed tensor; channels lie on axis 1."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.mix = nn.Embedding(12, 6), nn.Linear(4, 4)
        self.norm = nn.BatchNorm1d(6)

    def forward(self, tokens: Tensor) -> Tensor:
        return F.relu(self.norm(self.mix(self.embed(tokens).transpose(1, 2))))


class FlatConv(nn.Module):
    """A conv's (N, C, H·W), mixed along the positions."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.mix, self.norm = nn.Conv2d(3, 4, 1), nn.Linear(64, 5), nn.BatchNorm1d(4)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.norm(self.mix(self.conv(x).flatten(2))))


class ConvThenTransposed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv1d(6, 5, 1), nn.BatchNorm1d(4)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.norm(self.conv(x).transpose(1, 2)))


class FunctionalNorm(nn.Module):
    """F.linear and F.batch_norm inside of a nested module."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Module()
        self.weight = nn.Parameter(torch.ones(5, 6))
        self.norm = nn.BatchNorm1d(4)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.norm(F.linear(x, self.weight)))


class Written(nn.Module):
    """What comes before was written into a buffer, by a call that returns nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.linear, self.norm = nn.Linear(6, 5), nn.BatchNorm1d(4)

    def forward(self, x: Tensor) -> Tensor:
        buffer = torch.zeros(3, 4, 5)
        buffer[:, :2] = self.linear(x)[:, :2]
        return F.relu(self.norm(buffer))


class ChannelsLastImage(nn.Module):
    def __init__(self, *, permutes: bool) -> None:
        super().__init__()
        self.linear, self.permutes = nn.Linear(8, 8), permutes
        self.norm = nn.BatchNorm2d(8 if permutes else 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.linear(x)
        return F.relu(self.norm(x.permute(0, 3, 1, 2) if self.permutes else x))


def on(model: nn.Module, example: Any) -> dict[str, Any]:
    return {"model": model, "example_args": example}


def sequence(*layers: nn.Module) -> dict[str, Any]:
    return on(nn.Sequential(*layers, nn.ReLU()), torch.randn(3, 4, 6))


CASES = [
    RuleCase("embedding", lambda: on(Tokens(4), TOKENS), layers=("norm",), message="embed"),
    RuleCase("linear", lambda: sequence(nn.Linear(6, 5), nn.BatchNorm1d(4)), layers=("1",)),
    RuleCase(
        "linear, an activation and dropout between",
        lambda: sequence(nn.Linear(6, 5), nn.GELU(), nn.Dropout(0.0), nn.BatchNorm1d(4)),
        layers=("3",),
        message="has the features of 0 on axis 2",
    ),
    RuleCase("layer norm", lambda: sequence(nn.LayerNorm(6), nn.BatchNorm1d(4)), layers=("1",)),
    RuleCase(
        "a batch-first recurrence",
        lambda: on(Recurrent(batch_first=True), torch.randn(3, 4, 6)),
        layers=("norm",),
    ),
    RuleCase("attention", lambda: on(Attention(), torch.randn(3, 4, 6)), layers=("norm",)),
    RuleCase("F.linear", lambda: on(FunctionalNorm(), torch.randn(3, 4, 6)), layers=("norm",)),
    RuleCase("a transformer's residual", lambda: on(Patches(), images()), layers=("norm",)),
    RuleCase("there and back", lambda: on(Tokens(4, "twice"), TOKENS), ("norm",), "I"),
    RuleCase(
        "a reshape for a transpose",
        lambda: on(Tokens(6, "reshape"), TOKENS),
        layers=("norm",),
        severity="I",
        message="mixes up their values",
    ),
    RuleCase(
        "conv, then a transpose",
        lambda: on(ConvThenTransposed(), torch.randn(3, 6, 4)),
        layers=("norm",),
        severity="I",
    ),
    RuleCase(
        "a recurrence whose batch lies on axis 1",
        lambda: on(Recurrent(batch_first=False), torch.randn(3, 4, 6)),
        layers=("norm",),
        severity="I",
    ),
    RuleCase(
        "linear before BatchNorm2d",
        lambda: on(ChannelsLastImage(permutes=False), images()),
        layers=("norm",),
        severity="I",
    ),
    RuleCase("transposed", lambda: on(Tokens(6, "transpose"), TOKENS)),
    RuleCase("permuted", lambda: on(Tokens(6, "permute"), TOKENS)),
    RuleCase(
        "a recurrence, transposed",
        lambda: on(Recurrent(batch_first=True, transposes=True), torch.randn(3, 4, 6)),
    ),
    RuleCase("linear along the positions", lambda: on(TokenMixing(), TOKENS)),
    RuleCase("a conv's positions mixed", lambda: on(FlatConv(), images())),
    RuleCase("images permuted", lambda: on(ChannelsLastImage(permutes=True), images())),
    RuleCase(
        "vectors",
        lambda: on(nn.Sequential(nn.Linear(6, 5), nn.BatchNorm1d(5)), torch.randn(3, 6)),
    ),
    RuleCase("conv", lambda: sequence(nn.Conv1d(4, 5, 1), nn.BatchNorm1d(5))),
    RuleCase("written into a buffer", lambda: on(Written(), torch.randn(3, 4, 6))),
    RuleCase("nothing says where", lambda: sequence(nn.ReLU(), nn.BatchNorm1d(4))),
]
