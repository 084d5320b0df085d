"""The comparison with torch: it holds for hard batches, and it can fail."""

from __future__ import annotations

import numpy as np
import pytest

from bnkit.explain import work_through
from bnkit.explain.agreement import compare, rounding_bounds, run_torch
from bnkit.explain.batch import make_batch

NAMES = ["y", "running_mean", "running_var", "inference.y"]


def settle(seed=0, shape=(4, 3, 5, 5)):
    """Return our arrays, torch's, and the bounds, for one random batch."""
    rng = np.random.default_rng(seed)
    x, weight, bias = rng.normal(size=shape), rng.normal(size=shape[1]), rng.normal(size=shape[1])
    batch = make_batch(x, weight=weight, bias=bias)
    example = work_through(x, weight, bias)
    ours = {name: getattr(example, name) for name in NAMES[:3]} | {
        "inference.y": example.inference.y
    }
    layer, theirs = run_torch(batch)
    bounds = rounding_bounds(batch, example.var, example.running_mean, example.running_var)
    return layer, ours, theirs, bounds


def test_compares_every_output_with_the_right_layer():
    for shape, name in (((4, 2), "1d"), ((4, 2, 3), "1d"), ((4, 2, 3, 3), "2d")):
        agreement = work_through(np.random.default_rng(1).normal(size=shape)).agreement
        assert agreement.layer == f"torch.nn.BatchNorm{name}"
        assert list(agreement.max_abs_difference) == NAMES
        assert list(agreement.rounding_bound) == NAMES
        assert agreement.agrees


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("error", [1e-8, -1e-8, np.nan, np.inf])
def test_one_wrong_number_is_a_disagreement(name, error):
    layer, ours, theirs, bounds = settle()
    assert compare(layer, ours, theirs, bounds).agrees
    wrong = ours[name].copy()
    wrong.flat[-1] += error
    assert not compare(layer, ours | {name: wrong}, theirs, bounds).agrees


def test_the_usual_mistakes_are_disagreements():
    """Swapped momentum, the biased variance in running_var, eps outside the root."""
    layer, ours, theirs, bounds = settle()
    m = 4 * 5 * 5
    biased = (ours["running_var"] - 0.9) * (m - 1) / m + 0.9
    backwards = ours["running_mean"] * 9
    for wrong in (
        {"running_var": biased},
        {"running_mean": backwards},
        {"y": ours["y"] * (1 - 1e-5)},
    ):
        assert not compare(layer, ours | wrong, theirs, bounds).agrees


def test_difference_is_the_largest_absolute_one():
    ours = {"y": np.array([1.0, 2.0, 3.0])}
    theirs = {"y": np.array([1.5, -2.0, 3.0])}
    agreement = compare("layer", ours, theirs, {"y": 4.0})
    assert agreement.max_abs_difference == {"y": 4.0}
    assert agreement.agrees
    assert not compare("layer", ours, theirs, {"y": 3.9}).agrees


@pytest.mark.parametrize("shape", [(2, 1), (37, 3), (8, 4, 101), (2, 2, 1, 1), (16, 3, 13, 13)])
@pytest.mark.parametrize(
    ("mean", "std"),
    [(0, 1), (1e5, 1), (1e8, 1), (1e10, 1e-5), (1e-9, 1e-12), (0, 1e30), (5, 0), (0.1, 0), (0, 0)],
)
def test_rounding_explains_the_difference_for_hard_batches(shape, mean, std):
    rng = np.random.default_rng(2)
    x = rng.normal(size=shape) * std + mean
    weight, bias = rng.normal(size=shape[1]), rng.normal(size=shape[1])
    assert work_through(x, weight, bias).agreement.agrees
    assert work_through(x, weight, bias, momentum=1.0).agreement.agrees
