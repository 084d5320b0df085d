from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from helpers.rule_case import RuleCase, recalibrated, values

LENGTHS = torch.arange(24) % 12 + 9  # of 20: 27 % are padding


def sequences(*axes: int, lengths: Tensor = LENGTHS, at: int = 0) -> Tensor:
    """Return (24, 6, *axes) with zeros from each sample's length on, along one of the axes."""
    x = values(24, 6, *axes)
    view = x.movedim(2 + at, 1)
    for sample, length in enumerate(lengths.tolist()):
        view[sample, length:] = 0
    return x


class Rows(nn.Module):
    """(N, L, C) flattened to rows for the batch norm."""

    def __init__(self) -> None:
        super().__init__()
        self.proj, self.norm = nn.Linear(6, 5), nn.BatchNorm1d(5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.proj(x.transpose(1, 2))
        return self.norm(x.reshape(-1, 5)).view(len(x), -1, 5)


class Packed(nn.Module):
    """An LSTM on packed sequences, and a batch norm on what is padded again."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn, self.norm = nn.LSTM(6, 5, batch_first=True), nn.BatchNorm1d(5)

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        packed = nn.utils.rnn.pack_padded_sequence(
            x.transpose(1, 2), lengths, batch_first=True, enforce_sorted=False
        )
        y, _ = nn.utils.rnn.pad_packed_sequence(self.rnn(packed)[0], batch_first=True)
        return self.norm(y.transpose(1, 2))


class Masked(nn.BatchNorm1d):
    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        if mask is None:
            return super().forward(x)
        rows = super().forward(x.transpose(1, 2)[mask])
        return torch.zeros_like(x).transpose(1, 2).masked_scatter(mask[..., None], rows)


class TakesMask(nn.Module):
    def __init__(self, *, gives_mask: bool) -> None:
        super().__init__()
        self.norm = Masked(6)
        self.gives_mask = gives_mask

    def forward(self, x: Tensor) -> Tensor:
        mask = x.abs().sum(1) > 0
        return self.norm(x, mask) if self.gives_mask else self.norm(x)


class RealRows(nn.Module):
    """Only the rows that the mask selects are normalized."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(6)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(x.transpose(1, 2)[x.abs().sum(1) > 0])


class OwnNorm(nn.Module):
    """Somebody's batch norm, on the function."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(6))
        self.register_buffer("running_mean", torch.full((6,), 0.1))
        self.register_buffer("running_var", torch.ones(6))

    def forward(self, x: Tensor) -> Tensor:
        mean, var = self.running_mean, self.running_var
        return F.batch_norm(x, mean, var, self.weight, None, self.training)


def frozen() -> dict[str, Any]:
    given = on(nn.Sequential(nn.Conv1d(6, 4, 1), nn.BatchNorm1d(4)), sequences(20))
    given["model"][1].eval()
    return given


def on(model: nn.Module, *data: Tensor, trained: bool = True) -> dict[str, Any]:
    model = recalibrated(model, data) if trained else model
    return {"model": model, "data": [data]}


def convs() -> nn.Module:
    """The tail of "0" is not 0, and "4" sees it end before the conv's own padding."""
    return nn.Sequential(
        *(nn.Conv1d(6, 4, 3, padding=1), nn.BatchNorm1d(4), nn.ReLU()),
        *(nn.Conv1d(4, 5, 3, padding=1), nn.BatchNorm1d(5)),
    )


def norm(rank: int) -> nn.Module:
    return {3: nn.BatchNorm1d, 4: nn.BatchNorm2d, 5: nn.BatchNorm3d}[rank](6)


def digits() -> Tensor:
    """Images with black margins on all sides, of widths that differ."""
    x = torch.zeros(24, 6, 20, 20)
    for sample in range(24):
        margin = 2 + sample % 5
        inner = 20 - 2 * margin
        x[sample, :, margin:-margin, margin:-margin] = values(6, inner, inner, seed=sample)
    return x


CASES = [
    RuleCase("on the input", lambda: on(norm(3), sequences(20)), ("",), "", "27% of the positions"),
    RuleCase("after convs", lambda: on(convs(), sequences(40, lengths=LENGTHS)), ("1", "4")),
    RuleCase("flattened to rows", lambda: on(Rows(), sequences(20)), ("norm",)),
    RuleCase("padded again", lambda: on(Packed(), sequences(20), LENGTHS), ("norm",)),
    RuleCase("spectrograms", lambda: on(norm(4), sequences(5, 20, at=1)), ("",)),
    RuleCase("frames of a clip", lambda: on(norm(5), sequences(20, 3, 4)), ("",)),
    RuleCase(
        "a mask that is not given",
        lambda: on(TakesMask(gives_mask=False), sequences(20)),
        ("norm",),
    ),
    RuleCase("a function", lambda: on(nn.Sequential(OwnNorm()), sequences(20)), ("0",)),
    RuleCase("frozen", frozen),
    RuleCase("a mask", lambda: on(TakesMask(gives_mask=True), sequences(20))),
    RuleCase("real rows alone", lambda: on(RealRows(), sequences(20))),
    RuleCase("one length", lambda: on(norm(3), sequences(20, lengths=torch.full((24,), 9)))),
    RuleCase("less than a quarter", lambda: on(norm(3), sequences(20, lengths=LENGTHS + 3))),
    RuleCase("nothing padded", lambda: on(convs(), values(24, 6, 20))),
    RuleCase("images with margins", lambda: on(norm(4), digits())),
    RuleCase("one channel of six ends", lambda: on(norm(3), _one_channel())),
    RuleCase("never trained", lambda: on(norm(3), sequences(20), trained=False)),
]


def _one_channel() -> Tensor:
    x = values(24, 6, 20)
    x[:, 2] = sequences(20)[:, 2]
    return x
