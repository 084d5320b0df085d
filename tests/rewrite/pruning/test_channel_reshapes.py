"""Labels through reshapes: each element of the new tensor keeps its channel, or is tied to it."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from bnkit.rewrite.pruning.channel_labels import MIXED, Labels
from bnkit.rewrite.pruning.channel_reshapes import reshaped


@given(
    st.integers(1, 3),
    st.integers(2, 6),
    st.lists(st.integers(1, 3), min_size=0, max_size=2),
    st.data(),
)
def test_every_element_keeps_its_channel(
    samples: int, channels: int, space: list[int], data: st.DataObject
) -> None:
    labels = Labels()
    axis = labels.new("weight", 0, channels)
    old = [samples, channels, *space]
    where = torch.arange(channels).view(1, -1, *[1] * len(space)).expand(old)
    cut = data.draw(st.integers(1, len(old)))
    new = [*old[:cut], -1] if cut < len(old) else [-1, *old[1:]]
    moved = where.reshape(new)
    axes = reshaped(labels, [None, axis, *[None] * len(space)], old, moved.shape)
    for number, found in enumerate(axes):
        if found is None:
            continue
        for index, label in enumerate(found):
            roots = {labels.find(axis[c]) for c in moved.select(number, index).unique().tolist()}
            assert roots == {labels.find(label)}
    assert not any(labels.reason(label) for label in axis) or all(a is None for a in axes)


def test_groups_of_channels_are_tied_by_their_place() -> None:
    labels = Labels()
    axis = labels.new("weight", 0, 6)
    axes = reshaped(labels, [None, axis, None], [2, 6, 4], [2, 3, 2, 4])
    assert axes == [None, None, axis[:2], None]
    assert [labels.find(label) for label in axis] == [0, 1, 0, 1, 0, 1]


def test_a_flattening_repeats_each_channel() -> None:
    labels = Labels()
    axis = labels.new("weight", 0, 3)
    assert reshaped(labels, [None, axis, None], [5, 3, 2], [5, 6])[1] == (0, 0, 1, 1, 2, 2)


def test_what_is_tied_to_a_channel_that_stays_stays() -> None:
    labels = Labels()
    one, other = labels.new("a", 0, 3), labels.new("b", 0, 3)
    labels.keep(other, "returned")
    labels.tie(one, other, MIXED)
    assert [labels.reason(label) for label in one] == ["returned"] * 3
    third = labels.new("c", 0, 2)
    labels.tie(third, one, MIXED)
    assert labels.reason(third[0]) == MIXED
