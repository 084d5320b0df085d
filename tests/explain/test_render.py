"""The text for people and the JSON for programs."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest

from bnkit.cli.output_format import in_ascii
from bnkit.explain import example_batch, render_json, render_text, work_through
from bnkit.explain.tables import format_numbers

NUMBER = re.compile(r"-?\d+(?:\.\d+)?(?:e[+-]?\d+)?")


@pytest.fixture(scope="module")
def example():
    batch = example_batch()
    return work_through(batch.x, batch.weight, batch.bias)


def step(text: str, number: int) -> str:
    """Return the text of one numbered step."""
    return re.search(rf"^{number}\. .*?(?=^{number + 1}\. |\Z)", text, re.M | re.S).group()


def assert_shows(text: str, values) -> None:
    """Require that the text shows each of the values in their order, to a thousandth.

    Of itself, that is, or of a tenth of the largest value: a block has its decimals in common.
    """
    floor = 0.1 * np.abs(values).max()
    shown = iter([float(token) for token in NUMBER.findall(text)])
    for value in np.ravel(values):
        if not any(abs(number - value) <= 1e-3 * max(abs(value), floor) for number in shown):
            raise AssertionError(f"{value} is not shown, or not in order")


def test_assert_shows_can_fail():
    assert_shows("mean 1.5 and 2.25", [1.5, 2.25])
    for values in ([1.5, 2.5], [2.25, 1.5], [-1.5], [1.5, 2.25, 2.25]):
        with pytest.raises(AssertionError, match="not shown"):
            assert_shows("mean 1.5 and 2.25", values)


def channel_rows(text: str, columns: int) -> np.ndarray:
    """Return the numbers of a table that has one row per channel, shape (C, columns)."""
    rows = re.findall(r"^ +channel \d+(?: \(\w+\))?((?: +[-\d.e+]+)+)$", text, re.M)
    rows = [[float(cell) for cell in row.split()] for row in rows]
    return np.array([row for row in rows if len(row) == columns])


def test_text_shows_the_numbers_of_the_json(example):
    text = render_text(example)
    numbers = json.loads(render_json(example))

    def column(number, columns, index, rows=slice(None)):
        return channel_rows(step(text, number), columns)[rows, index]

    shown = {
        "mean": column(2, 2, 1),
        "var": column(3, 3, 1),
        "invstd": column(5, 1, 0),
        "weight": column(6, 2, 0),
        "bias": column(6, 2, 1),
        "y_mean": column(7, 4, 0),
        "y_var": column(7, 4, 2),
        "running_mean_before": column(8, 3, 1, slice(3)),
        "running_mean": column(8, 3, 2, slice(3)),
        "unbiased_var": column(8, 3, 0, slice(3, None)),
        "running_var_before": column(8, 3, 1, slice(3, None)),
        "running_var": column(8, 3, 2, slice(3, None)),
    }
    for name, values in shown.items():
        np.testing.assert_allclose(values, numbers[name], rtol=6e-4, atol=1e-12, err_msg=name)


def test_a_table_with_another_number_would_be_noticed(example):
    text = step(render_text(example), 2)
    assert "20.0" in text
    rows = channel_rows(text.replace(" 20.0", " 21.0"), 2)
    with pytest.raises(AssertionError, match="Not equal"):
        np.testing.assert_allclose(rows[:, 1], example.mean, rtol=6e-4)


@pytest.mark.parametrize(("number", "name"), [(1, "x"), (5, "x_hat"), (6, "y"), (9, "inference")])
def test_blocks_show_every_value_of_a_small_batch(example, number, name):
    values = example.inference.y if name == "inference" else getattr(example, name)
    text = step(render_text(example), number)
    # Rows of the blocks hold the first example's row and then the second's.
    for channel in range(3):
        assert_shows(text, np.concatenate(list(values[:, channel]), axis=1))


@pytest.mark.parametrize("shape", [(3, 2), (2, 3, 4)])
def test_batches_without_images_show_every_value_too(shape):
    x = np.random.default_rng(0).normal(size=shape)
    text = render_text(work_through(x))
    for channel in range(shape[1]):
        assert_shows(step(text, 1), x[:, channel])


def test_every_step_has_a_formula_and_a_reason(example):
    text = render_text(example, ["red", "green", "blue"])
    for number, formula in enumerate(
        [
            "m = N·H·W = 2·3·3 = 18 values per channel",
            "mean = Σ x / m",
            "var = Σ (x − mean)² / m",
            "from shape (C,) to (1, C, 1, 1) = (1, 3, 1, 1)",
            "x_hat = (x − mean) · invstd",
            "y = weight · x_hat + bias",
            "weight² · var / (var + eps)",
            "unbiased_var = Σ (x − mean)² / (m − 1)",
            example.inference.formula,
        ],
        start=1,
    ):
        assert formula in step(text, number)
        assert "Why: " in step(text, number)
    assert "Agreement with torch.nn.BatchNorm2d" in step(text, 10)
    assert "They agree" in step(text, 10)
    assert "channel 2 (blue)" in text


def test_a_disagreement_is_said(example):
    from dataclasses import replace

    wrong = replace(example, agreement=replace(example.agreement, agrees=False))
    assert "They disagree" in render_text(wrong)
    assert "They agree" not in render_text(wrong)


@pytest.mark.parametrize(
    "shape",
    [(2, 1), (300, 200), (2, 2, 1), (9, 65, 90), (1, 1, 1, 2), (9, 64, 30, 31), (2, 12, 2, 9)],
)
@pytest.mark.parametrize(
    ("mean", "std"), [(0, 1), (1e8, 1), (1e10, 1e-5), (1e-9, 1e-12), (0, 1e90), (5, 0), (0, 0)]
)
def test_fits_80_columns_and_few_screens_whatever_the_batch(shape, mean, std):
    rng = np.random.default_rng(0)
    x = rng.normal(size=shape) * std + mean
    weight = rng.normal(size=shape[1])
    lines = render_text(work_through(x, weight, np.full(shape[1], mean))).splitlines()
    assert max(map(len, lines)) <= 80
    assert len(lines) < 280
    assert not any(line != line.rstrip() for line in lines)


def test_what_is_left_out_of_a_large_batch_is_said():
    text = render_text(work_through(np.random.default_rng(0).normal(size=(64, 32, 28, 28))))
    assert "(a part of shape (64, 32, 28, 28); --format json has every value)" in text
    assert "(10 of 32 rows; --format json has all)" in text
    assert "…" in step(text, 4)
    assert "channel 3" not in step(text, 1)


def test_nothing_is_said_to_be_left_out_of_a_small_batch(example):
    assert "--format json" not in render_text(example)


def test_singular_and_plural():
    text = render_text(work_through(np.arange(4.0).reshape(1, 1, 2, 2)))
    assert "1 example, 1 channel, 2 × 2 positions" in " ".join(text.split())


def test_json_round_trips_every_number(example):
    numbers = json.loads(render_json(example))
    assert numbers == example.to_dict()
    for name in ("x", "mean", "var", "x_hat", "y", "running_mean", "running_var", "var_reshaped"):
        np.testing.assert_array_equal(np.array(numbers[name]), getattr(example, name), strict=True)
    np.testing.assert_array_equal(np.array(numbers["inference"]["y"]), example.inference.y)
    assert np.array(numbers["mean_reshaped"]).shape == (1, 3, 1, 1)


def test_json_has_one_key_per_line_in_the_design_s_words(example):
    lines = render_json(example).splitlines()
    keys = [line.split('"')[1] for line in lines[1:-1]]
    assert keys == [
        *("shape", "axes", "values_per_channel", "eps", "momentum", "x", "mean", "var"),
        *("unbiased_var", "mean_reshaped", "var_reshaped", "invstd", "x_hat", "weight", "bias"),
        *("y", "y_mean", "y_var", "running_mean_before", "running_var_before", "running_mean"),
        *("running_var", "inference", "agreement"),
    ]


def test_ascii_text_says_the_same(example):
    text = in_ascii(render_text(example))
    assert text.isascii()
    assert "?" not in text
    assert "x_hat = (x - mean) * invstd" in text
    assert "var = sum (x - mean)^2 / m" in text
    assert max(map(len, text.splitlines())) <= 84


@pytest.mark.parametrize(
    ("values", "options", "expected"),
    [
        ([210, 200.0], {}, ["210", "200"]),
        ([0.5, -1.25], {}, ["0.50", "-1.25"]),
        ([0, 0.0], {}, ["0", "0"]),
        ([], {}, []),
        ([-1e-17, 1.0], {}, ["0", "1"]),
        ([-1e-17, 1.5], {}, ["0.0", "1.5"]),
        ([1 / 3, 2 / 3], {}, ["0.33333", "0.66667"]),
        ([12.34567, 1], {}, ["12.346", "1.000"]),
        ([100, 0.01], {"keep_small": True}, ["100", "0.01"]),
        ([105.882, 0.0105882], {"keep_small": True}, ["105.88", "0.010588"]),
        ([1e8 + 0.25, 1e8], {"resolution": 0.01}, ["100000000.25", "100000000.00"]),
        ([1.5e30, 2e30], {}, ["1.5e+30", "2e+30"]),
        ([1.5e-30, -2e-30], {}, ["1.5e-30", "-2e-30"]),
        ([5e-324], {}, ["4.9407e-324"]),
        ([3600.0, 9.0], {"resolution": 1e-5}, ["3600", "9"]),
    ],
)
def test_format_numbers(values, options, expected):
    assert format_numbers(values, **options) == expected
