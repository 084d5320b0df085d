from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bnkit.errors import DataError
from bnkit.lab.data.splitting import stratified_split


@st.composite
def labels_of_classes(draw):
    counts = draw(st.lists(st.integers(2, 25), min_size=2, max_size=6))
    labels = np.repeat(np.arange(len(counts)), counts)
    return np.array(draw(st.permutations(list(labels))), dtype=np.int64)


shares = st.floats(0.01, 0.99)
seeds = st.integers(0, 2**32)


def split(labels, share, seed):
    names = [f"class {label}" for label in range(labels.max() + 1)]
    return stratified_split(labels, names, share, seed, "data")


@settings(deadline=None, derandomize=True, max_examples=60)
@given(labels_of_classes(), shares, seeds)
def test_the_two_parts_hold_every_example_once(labels, share, seed):
    train, test = split(labels, share, seed)
    np.testing.assert_array_equal(np.sort(np.concatenate([train, test])), np.arange(len(labels)))
    assert (np.diff(train) > 0).all() and (np.diff(test) > 0).all()


@settings(deadline=None, derandomize=True, max_examples=60)
@given(labels_of_classes(), shares, seeds)
def test_every_class_has_its_share_and_an_example_in_both_parts(labels, share, seed):
    train, test = split(labels, share, seed)
    for label in np.unique(labels):
        n = (labels == label).sum()
        held_out = (labels[test] == label).sum()
        assert held_out >= 1
        assert (labels[train] == label).sum() >= 1
        assert abs(held_out - share * n) <= 0.5 or held_out in (1, n - 1)


@settings(deadline=None, derandomize=True, max_examples=30)
@given(labels_of_classes(), shares, seeds)
def test_the_same_seed_draws_the_same_examples(labels, share, seed):
    for first, second in zip(split(labels, share, seed), split(labels, share, seed), strict=True):
        np.testing.assert_array_equal(first, second)


@settings(deadline=None, derandomize=True, max_examples=30)
@given(labels_of_classes(), shares, seeds)
def test_a_class_is_split_alike_whatever_the_other_classes_hold(labels, share, seed):
    _, alone = split(labels, share, seed)
    grown = np.concatenate([labels, np.full(7, labels.max())])
    _, together = split(grown, share, seed)
    others = labels.max()
    np.testing.assert_array_equal(alone[labels[alone] < others], together[grown[together] < others])


def test_another_seed_draws_other_examples():
    labels = np.repeat(np.arange(3), 40)
    assert not np.array_equal(split(labels, 0.5, 0)[1], split(labels, 0.5, 1)[1])


def test_classes_of_one_size_do_not_give_the_same_places():
    labels = np.repeat(np.arange(2), 40)
    test = split(labels, 0.5, 0)[1]
    assert not np.array_equal(test[test < 40], test[test >= 40] - 40)


def test_every_example_is_drawn_about_as_often_as_any_other():
    labels = np.repeat(np.arange(2), 10)
    drawn = np.zeros(20)
    draws = 400
    for seed in range(draws):
        drawn[split(labels, 0.5, seed)[1]] += 1
    # Binomial(400, 1/2): five standard deviations leave 20 examples a chance of 1e-5.
    assert np.abs(drawn - draws / 2).max() < 5 * np.sqrt(draws / 4)


@pytest.mark.parametrize("counts, found", [([5, 1], "1 example,"), ([5, 0, 4], "0 examples")])
def test_a_class_that_cannot_be_in_both_parts_is_refused(counts, found):
    labels = np.repeat(np.arange(len(counts)), counts).astype(np.int64)
    with pytest.raises(DataError, match=rf"data: class 'b' has {found}.*at least two per class"):
        stratified_split(labels, "abc", 0.2, 0, "data")
