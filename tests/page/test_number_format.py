"""Numbers as text."""

from __future__ import annotations

import math

import pytest

from bnkit.page.number_format import duration, estimate, number, p_value


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.9911, "0.9911"),
        (0.0123456, "0.01235"),
        (1.0, "1.000"),
        (123.45, "123.5"),
        (999.96, "1000"),
        (12345.6, "12,346"),
        (1.5e9, "1.500e9"),
        (0.00001, "1.000e-5"),
        (0.0, "0"),
        (-0.0, "0"),
        (-2.5, "−2.500"),
        (math.nan, "NaN"),
        (math.inf, "∞"),
        (-math.inf, "−∞"),
        (None, "n/a"),
    ],
)
def test_number(value, text):
    found = number(value)
    assert found.text == text
    assert found.value is value


def test_sign_is_shown_where_a_difference_is_meant():
    assert number(0.5, signed=True).text == "+0.5000"
    assert number(-0.5, signed=True).text == "−0.5000"
    assert number(0.001, decimals=2, signed=True).text == "0.00"
    assert number(-0.001, decimals=2, signed=True).text == "0.00"


@pytest.mark.parametrize(
    ("values", "texts"),
    [
        ((0.067512, 0.0492, 0.0858), ("0.068", "0.049", "0.086")),
        ((0.9, 0.89996, 0.90004), ("0.900000", "0.899960", "0.900040")),
        ((1500.0, 1000.0, 2000.0), ("1,500", "1,000", "2,000")),
        ((0.5, None, None), ("0.5000", "n/a", "n/a")),
        ((0.5, 0.5, 0.5), ("0.5000", "0.5000", "0.5000")),
        ((1e-9, 0.0, 2e-9), ("1.000e-9", "0", "2.000e-9")),
        ((None, None, None), ("n/a", "n/a", "n/a")),
    ],
)
def test_estimate_is_rounded_to_its_interval(values, texts):
    found = estimate(*values)
    assert (found.value.text, found.low.text, found.high.text) == texts
    assert (found.value.value, found.low.value, found.high.value) == values
    assert found.has_interval == (None not in values)


@pytest.mark.parametrize(
    ("p", "text"), [(0.00052, "0.00052"), (0.05, "0.050"), (1e-9, "< 0.0001"), (None, "n/a")]
)
def test_p_value(p, text):
    assert p_value(p).text == text
    assert p_value(p).value == p


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.04, "0.0 s"),
        (59.94, "59.9 s"),
        (59.96, "1 min 00 s"),
        (245, "4 min 05 s"),
        (3599.7, "1 h 00 min"),
        (7380, "2 h 03 min"),
    ],
)
def test_duration(seconds, text):
    assert duration(seconds).text == text
