"""Which indices of which tensors stand for the same channel, as labels that are tied together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

# The labels along an axis, one for each index; None for an axis that holds no channels.
Axis = tuple[int, ...] | None

MIXED = "combines its channels with a tensor whose channels cannot be followed"


# How constants do not hold: not on the border, or on average alone.
EDGE, UNEVEN = "edge", "uneven"


class Labels:
    """Labels of channels: sets of them are removed together, and some must stay.

    Attributes:
        origins: label → (name of a parameter or buffer, axis, index) that it was made for.
    """

    def __init__(self) -> None:
        self.origins: list[tuple[str, int, int]] = []
        self._parents: list[int] = []
        self._reasons: dict[int, str] = {}

    def new(self, name: str, axis: int, size: int) -> tuple[int, ...]:
        """Return new labels for the indices of one axis of a parameter or buffer."""
        start = len(self._parents)
        self._parents += range(start, start + size)
        self.origins += [(name, axis, index) for index in range(size)]
        return tuple(range(start, start + size))

    def find(self, label: int) -> int:
        """Return the label that stands for all that are tied to one."""
        parents = self._parents
        while parents[label] != label:
            parents[label] = parents[parents[label]]
            label = parents[label]
        return label

    def tie(self, one: Axis, other: Axis, reason: str) -> None:
        """Have the channels of two axes removed together; what cannot be so stays."""
        if one is None or other is None or len(one) != len(other):
            self.keep(one, reason)
            self.keep(other, reason)
            return
        for a, b in zip(one, other, strict=True):
            self._tie(a, b)

    def _tie(self, one: int, other: int) -> None:
        one, other = sorted((self.find(one), self.find(other)))
        if one == other:
            return
        self._parents[other] = one
        reason = self._reasons.pop(other, None)
        if reason is not None:
            self._reasons.setdefault(one, reason)

    def keep(self, axis: Axis, reason: str) -> None:
        """Have the channels of an axis stay; the first reason counts."""
        for label in axis or ():
            self._reasons.setdefault(self.find(label), reason)

    def reason(self, label: int) -> str:
        """Return why a channel must stay; empty if it may go."""
        return self._reasons.get(self.find(label), "")


@dataclass(frozen=True)
class Layout:
    """What is known of one tensor of the traced forward.

    Attributes:
        axes: the labels along each axis.
        constant: for each channel of the only axis that has labels, in float64: the value that it
            takes everywhere once the batch norm or layer that makes it outputs its bias alone; NaN
            where it is no constant. None where nothing is known.
        is_held: whether it depends on parameters and buffers alone.
        made_by: name of the weight whose conv or linear layer has just made it; else "".
        inexact: labels whose constants do not hold everywhere since a depthwise convolution, with
            how: `EDGE` or `UNEVEN`.
    """

    axes: tuple[Axis, ...]
    constant: Tensor | None = None
    is_held: bool = False
    made_by: str = ""
    inexact: frozenset[tuple[int, str]] = frozenset()

    @property
    def channel_axis(self) -> int | None:
        """The only axis that has labels; None if there is none, or several."""
        found = [number for number, axis in enumerate(self.axes) if axis is not None]
        return found[0] if len(found) == 1 else None

    @property
    def channels(self) -> tuple[int, ...]:
        """All labels in it."""
        return tuple(label for axis in self.axes for label in axis or ())

    def with_axes(self, axes: Sequence[Axis], constant: Tensor | None = None) -> Layout:
        """Return the layout of a tensor that is made of this one alone."""
        return replace(self, axes=tuple(axes), constant=constant, made_by="")


def unknown(size: int) -> Tensor:
    """Return the constant of channels of which none is known."""
    return torch.full((size,), torch.nan, dtype=torch.float64)
