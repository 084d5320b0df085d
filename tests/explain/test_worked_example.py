"""The worked example's numbers: by hand, against torch, and by properties."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bnkit.errors import DataError
from bnkit.explain import example_batch, render_json, work_through

# Worked by hand. eps = 5 makes every root whole: √(4 + 5) = 3 and √(20 + 5) = 5 with the batch's
# variances, √(11 + 5) = 4 and √(20 + 5) = 5 with the updated running variances.
HAND_ARGUMENTS = {
    "x": [[1, 18], [5, 14], [1, 22], [5, 10]],
    "weight": [3, 10],
    "bias": [1, -1],
    "eps": 5.0,
    "momentum": 0.25,
    "running_mean": [1, 0],
    "running_var": [116 / 9, 160 / 9],
}
HAND_RESULTS = {
    "mean": [3, 16],
    "var": [4, 20],
    "unbiased_var": [16 / 3, 80 / 3],
    "mean_reshaped": [[3, 16]],
    "var_reshaped": [[4, 20]],
    "invstd": [1 / 3, 1 / 5],
    "x_hat": [[-2 / 3, 2 / 5], [2 / 3, -2 / 5], [-2 / 3, 6 / 5], [2 / 3, -6 / 5]],
    "y": [[-1, 3], [3, -5], [-1, 11], [3, -13]],
    "y_mean": [1, -1],
    "y_var": [4, 80],
    "running_mean_before": [1, 0],
    "running_var_before": [116 / 9, 160 / 9],
    "running_mean": [1.5, 4],
    "running_var": [11, 20],
}
HAND_INFERENCE = [[0.625, 27], [3.625, 19], [0.625, 35], [3.625, 11]]


def assert_same(actual, expected, tolerance=1e-13):
    torch.testing.assert_close(
        torch.as_tensor(np.asarray(actual), dtype=torch.float64),
        torch.as_tensor(np.asarray(expected), dtype=torch.float64),
        rtol=tolerance,
        atol=tolerance,
    )


def test_assert_same_can_fail():
    with pytest.raises(AssertionError, match="not close"):
        assert_same([1.0, 2.0], [1.0, 2.0 + 1e-11])
    with pytest.raises(AssertionError, match="shape"):
        assert_same([[1.0, 2.0]], [1.0, 2.0])


@pytest.mark.parametrize("name", HAND_RESULTS)
def test_hand_worked_numbers(name):
    assert_same(getattr(work_through(**HAND_ARGUMENTS), name), HAND_RESULTS[name])


def test_hand_worked_inference_and_plain_facts():
    example = work_through(**HAND_ARGUMENTS)
    assert_same(example.inference.y, HAND_INFERENCE)
    assert (example.shape, example.axes, example.values_per_channel) == ((4, 2), (0,), 4)
    assert (example.eps, example.momentum) == (5.0, 0.25)


def test_defaults_are_those_of_a_new_layer():
    example = work_through([[0.0], [2.0]])
    assert_same(example.weight, [1])
    assert_same(example.bias, [0])
    assert_same(example.running_mean_before, [0])
    assert_same(example.running_var_before, [1])
    assert example.eps == torch.nn.BatchNorm1d(1).eps
    assert example.momentum == torch.nn.BatchNorm1d(1).momentum


@st.composite
def batches(draw):
    """Draw arguments of `work_through`: a random shape, scale and set of settings."""
    rank = draw(st.sampled_from([2, 3, 4]))
    shape = [draw(st.integers(1, 7)) for _ in range(rank)]
    if np.prod(shape) == shape[1]:
        shape[draw(st.sampled_from([axis for axis in range(rank) if axis != 1]))] = 2
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    channels = shape[1]
    scale = draw(st.sampled_from([0.01, 1.0, 30.0]))
    arguments = {"x": (rng.normal(size=shape) + draw(st.sampled_from([0, 3, -10]))) * scale}
    if draw(st.booleans()):
        arguments["weight"] = rng.normal(size=channels)
        arguments["bias"] = rng.normal(size=channels)
    if draw(st.booleans()):
        arguments["running_mean"] = rng.normal(size=channels)
        arguments["running_var"] = rng.uniform(0.1, 5, size=channels)
    arguments["eps"] = draw(st.sampled_from([1e-5, 1e-3, 0.5]))
    arguments["momentum"] = draw(st.sampled_from([0.0, 0.1, 0.7, 1.0]))
    return arguments


@settings(max_examples=80, deadline=None)
@given(batches())
def test_json_equals_torch(arguments):
    """What a program reads from the JSON is what torch's own functions give."""
    numbers = json.loads(render_json(work_through(**arguments)))

    x = torch.tensor(arguments["x"])
    channels = x.shape[1]
    axes = [axis for axis in range(x.ndim) if axis != 1]
    vector = {
        name: torch.tensor(arguments[name]) if name in arguments else start
        for name, start in {
            "weight": torch.ones(channels, dtype=torch.float64),
            "bias": torch.zeros(channels, dtype=torch.float64),
            "running_mean": torch.zeros(channels, dtype=torch.float64),
            "running_var": torch.ones(channels, dtype=torch.float64),
        }.items()
    }
    running = vector["running_mean"], vector["running_var"]
    rest = {"eps": arguments["eps"]}
    functional = torch.nn.functional.batch_norm
    x_hat = functional(x, None, None, training=True, **rest)
    affine = vector["weight"], vector["bias"]
    y = functional(x, *running, *affine, training=True, momentum=arguments["momentum"], **rest)
    inference_y = functional(x, *running, *affine, training=False, **rest)

    assert numbers["shape"] == list(x.shape)
    assert numbers["axes"] == axes
    assert numbers["values_per_channel"] == x.numel() // channels
    assert_same(numbers["x"], x, tolerance=0)
    for name, expected in {
        "mean": x.mean(axes),
        "var": x.var(axes, correction=0),
        "unbiased_var": x.var(axes, correction=1),
        "mean_reshaped": x.mean(axes, keepdim=True),
        "var_reshaped": x.var(axes, correction=0, keepdim=True),
        "invstd": 1 / (x.var(axes, correction=0) + arguments["eps"]).sqrt(),
        "x_hat": x_hat,
        "weight": vector["weight"],
        "bias": vector["bias"],
        "y": y,
        "y_mean": y.mean(axes),
        "y_var": y.var(axes, correction=0),
        "running_mean": running[0],
        "running_var": running[1],
    }.items():
        assert_same(numbers[name], expected, tolerance=1e-11)
    assert_same(numbers["inference"]["y"], inference_y, tolerance=1e-10)
    assert numbers["agreement"]["agrees"] is True


@settings(max_examples=25, deadline=None)
@given(batches(), st.integers(0, 2**32 - 1))
def test_permuting_examples_permutes_y(arguments, seed):
    order = np.random.default_rng(seed).permutation(len(arguments["x"]))
    example = work_through(**arguments)
    permuted = work_through(**arguments | {"x": arguments["x"][order]})
    assert_same(permuted.y, example.y[order], tolerance=1e-11)


@settings(max_examples=25, deadline=None)
@given(batches(), st.sampled_from([-8.0, 0.5, 64.0]))
def test_a_constant_added_changes_no_training_output(arguments, constant):
    example = work_through(**arguments)
    shifted = work_through(**arguments | {"x": arguments["x"] + constant})
    assert_same(shifted.y, example.y, tolerance=1e-9)


def test_constant_channel_gives_bias():
    example = work_through([[3.0, 1.0], [3.0, 2.0]], bias=[7.0, 0.0])
    assert_same(example.var, [0.0, 0.25])
    assert_same(example.y[:, 0], [7.0, 7.0])
    assert example.agreement.agrees


def test_default_example_has_the_statistics_its_docstring_states():
    batch = example_batch()
    example = work_through(batch.x, batch.weight, batch.bias)
    assert example.shape == (2, 3, 3, 3)
    assert_same(example.mean, [200, 20, 0.5])
    assert_same(np.sqrt(example.var), [10, 2, 0.1])


def test_integers_float32_and_tensors_are_taken():
    rows = [[1, 2], [3, 5]]
    expected = work_through(rows).y
    for x in (
        np.array(rows, dtype=np.int8),
        np.array(rows, dtype=np.float32),
        torch.tensor(rows, dtype=torch.float16),
    ):
        assert_same(work_through(x).y, expected, tolerance=0)


def test_the_caller_s_array_is_neither_changed_nor_shared():
    x = np.array([[1.0], [2.0]])
    example = work_through(x)
    x[0] = 100.0
    assert example.x[0, 0] == 1.0
    example.x[1] = 5.0
    assert x[1, 0] == 2.0


def test_random_state_is_left_alone():
    state = torch.get_rng_state()
    work_through([[1.0], [2.0]])
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize(
    "arguments",
    [
        {"x": [[1e200], [-1e200]]},
        {"x": [[1.7e308], [1.7e308]]},
        {"x": [[0.0], [1e-3]], "weight": [1e308], "eps": 1e-300},
        {"x": [[1.0], [2.0]], "running_var": [1e300], "running_mean": [1e308], "weight": [1e300]},
    ],
)
def test_results_beyond_float64_are_refused(arguments):
    with pytest.raises(DataError, match=r"beyond the range of float64.*Divide x by a power of ten"):
        work_through(**arguments)
