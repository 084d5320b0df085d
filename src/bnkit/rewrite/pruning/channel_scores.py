"""Which channels are removed: scores, and the choice by them."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from bnkit.rewrite.pruning.channel_groups import ChannelGroup, Indices
from bnkit.rewrite.pruning.channel_trace import ChannelTrace

SCALE, NORM, RANDOM = "scale", "norm", "random"
NO_SCALE = 'no batch norm with γ scales its channels; by="norm" can prune them'
NOT_FINITE = "its scores are not finite"


@dataclass(frozen=True)
class Choice:
    """What is to be removed.

    Attributes:
        removed: for each group, the numbers of its channels that go.
        wanted: how many channels were asked for.
        shortage: why fewer go; empty if they do not.
    """

    removed: list[list[int]]
    wanted: int
    shortage: str = ""

    @property
    def count(self) -> int:
        """How many channels go."""
        return sum(map(len, self.removed))


def scores_of(
    model: nn.Module, trace: ChannelTrace, groups: Sequence[ChannelGroup], by: str, seed: int
) -> list[list[float] | str]:
    """Return for each group the score of each channel, or why it has none.

    Args:
        model: that was traced.
        trace: of the model.
        groups: whose channels are scored.
        by: "scale": mean |γ| over all batch norms that scale the channel; "norm": mean L2 norm of
            the weights that make it, over all layers that do; "random".
        seed: of the generator that "random" draws from.
    """
    tensors = dict(model.named_parameters())
    magnitudes: dict[tuple[str, int], Tensor] = {}
    generator = torch.Generator().manual_seed(seed)
    found: list[list[float] | str] = []
    for group in groups:
        if by == RANDOM:
            drawn = torch.rand(len(group.channels), generator=generator, dtype=torch.float64)
            found.append(drawn.tolist())
            continue
        axes = sorted(
            (name, axis)
            for name, axis in group.axes
            if (
                name in trace.products.scales
                if by == SCALE
                else (name, axis) in trace.products.makers
            )
            and name in tensors
        )
        if not axes:
            found.append(NO_SCALE)
            continue
        for name, axis in axes:
            if (name, axis) not in magnitudes:
                rows = tensors[name].detach().cpu().double().movedim(axis, 0)
                rows = rows.reshape(len(rows), -1)
                magnitudes[name, axis] = torch.linalg.vector_norm(rows, dim=1)
        scores = [_mean(channel, axes, magnitudes) for channel in group.channels]
        found.append(scores if all(map(math.isfinite, scores)) else NOT_FINITE)
    return found


def _mean(
    channel: Indices, axes: Sequence[tuple[str, int]], magnitudes: dict[tuple[str, int], Tensor]
) -> float:
    return float(torch.cat([magnitudes[key][channel[key]] for key in axes]).mean())


def choose(
    groups: Sequence[ChannelGroup],
    scores: Sequence[Sequence[float]],
    makers: set[tuple[str, int]],
    *,
    amount: float,
    scope: str,
    round_to: int,
    minimum: int,
) -> Choice:
    """Return which channels go: those of the lowest scores.

    Of channels that tie, an equal share of each group goes, in the order in the model.
    """
    each = [_width(group, makers) for group in groups]
    limits = [
        max(len(group.channels) - max(1, math.ceil(minimum / width)), 0)
        for group, width in zip(groups, each, strict=True)
    ]
    sizes = [len(group.channels) for group in groups]
    orders = [sorted(range(n), key=row.__getitem__) for n, row in zip(sizes, scores, strict=True)]
    if scope == "layer":
        wanted = [_share(amount, size) for size in sizes]
        counts = [min(w, limit) for w, limit in zip(wanted, limits, strict=True)]
        total = sum(wanted)
    else:
        total = _share(amount, sum(sizes))
        counts = _lowest(scores, orders, limits, total)
    short = ["every group keeps its minimum"] if sum(counts) < total else []
    rounded = [
        _rounded(count, size, width, round_to)
        for count, size, width in zip(counts, sizes, each, strict=True)
    ]
    if rounded != counts:
        short.append(f"counts are kept as multiples of {round_to}")
    removed = [sorted(order[:count]) for order, count in zip(orders, rounded, strict=True)]
    return Choice(removed, total, " and ".join(short))


def _share(amount: float, size: int) -> int:
    # 0.3 · 10 is 3 and not 2.9999999999999996.
    return math.floor(amount * size + 1e-9)


def _lowest(
    scores: Sequence[Sequence[float]],
    orders: Sequence[Sequence[int]],
    limits: Sequence[int],
    total: int,
) -> list[int]:
    ranked = []
    for number, order in enumerate(orders):
        allowed = [scores[number][channel] for channel in order[: limits[number]]]
        tied = Counter(allowed)
        seen = Counter[float]()
        for score in allowed:
            seen[score] += 1
            ranked.append((score, (seen[score] - 0.5) / tied[score], number))
    counts = [0] * len(orders)
    for _, _, number in sorted(ranked)[:total]:
        counts[number] += 1
    return counts


def _rounded(count: int, size: int, width: int, round_to: int) -> int:
    """Return the largest number to remove, up to `count`, that leaves a multiple."""
    return next((less for less in range(count, 0, -1) if (size - less) * width % round_to == 0), 0)


def _width(group: ChannelGroup, makers: set[tuple[str, int]]) -> int:
    """Return how many output channels of a layer one channel of the group stands for."""
    return min(len(group.channels[0][key]) for key in group.axes if key in makers)
