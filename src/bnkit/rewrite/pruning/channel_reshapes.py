"""Labels of channels through a change of shape."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from bnkit.rewrite.pruning.channel_labels import Axis, Labels

_Array = npt.NDArray[np.int64]
# Segments with more elements are not looked into.
_MANY = 50_000_000
_SPLIT = "a reshape mixes its channels with other axes"


def reshaped(
    labels: Labels, axes: Sequence[Axis], old: Sequence[int], new: Sequence[int]
) -> list[Axis]:
    """Return the labels along the axes of a tensor in another shape.

    Channels that are laid out over several axes are tied such that the last of them can shrink:
    (N, C) → (N, groups, C / groups) ties what has the same place in all groups.

    Args:
        labels: of the trace.
        axes: the labels along the old axes.
        old: the old sizes.
        new: the new sizes; as many elements.
    """
    result: list[Axis] = [None] * len(new)
    for old_part, new_part in _segments(old, new):
        part = [axes[number] for number in old_part]
        if all(axis is None for axis in part):
            continue
        sizes = [old[number] for number in old_part]
        shape = [new[number] for number in new_part]
        for number, axis in zip(new_part, _segment(labels, part, sizes, shape), strict=True):
            result[number] = axis
    return result


def _segments(old: Sequence[int], new: Sequence[int]) -> Iterator[tuple[list[int], list[int]]]:
    """Yield the shortest runs of old and new axes that hold the same elements."""
    i = j = 0
    while i < len(old) or j < len(new):
        left, right = [], []
        a = b = 1
        while True:
            if i < len(old) and (a <= b or j >= len(new)):
                a *= old[i]
                left.append(i)
                i += 1
            elif j < len(new):
                b *= new[j]
                right.append(j)
                j += 1
            else:
                break
            if a == b and left and right:
                break
        yield left, right


def _segment(
    labels: Labels, part: Sequence[Axis], sizes: Sequence[int], shape: Sequence[int]
) -> list[Axis]:
    labelled = [number for number, axis in enumerate(part) if axis is not None]
    if [size for size in sizes if size != 1] == [size for size in shape if size != 1]:
        kept = iter(axis for axis, size in zip(part, sizes, strict=True) if size != 1)
        return [None if size == 1 else next(kept) for size in shape]
    if len(labelled) != 1 or int(np.prod(sizes)) > _MANY:
        for axis in part:
            labels.keep(axis, _SPLIT)
        return [None] * len(shape)
    number = labelled[0]
    spread = [1] * len(sizes)
    spread[number] = sizes[number]
    values: _Array = np.asarray(part[number], dtype=np.int64).reshape(spread)
    values = np.broadcast_to(values, tuple(sizes)).reshape(tuple(shape))
    varying = [
        axis
        for axis in range(len(shape))
        if shape[axis] > 1 and not (values == values.take([0], axis)).all()
    ]
    if not varying:  # a single channel
        labels.keep(part[number], _SPLIT)
        return [None] * len(shape)
    last = varying[-1]
    rows = np.moveaxis(values, last, -1).reshape(-1, shape[last])
    rows = np.unique(rows, axis=0)
    first = tuple(rows[0].tolist())
    for row in rows[1:]:
        labels.tie(first, tuple(row.tolist()), _SPLIT)
    return [first if axis == last else None for axis in range(len(shape))]
