from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from bnkit.lab.study.statistics import (
    bca_interval,
    estimate_mean,
    geometric_mean,
    holm,
    least_squares_slopes,
    two_sided_p,
)

# Student 1908, Biometrika 6, 1-25: hours of sleep gained by ten patients, drug 2 minus drug 1.
# t = 4.0621 on 9 degrees of freedom, p = 0.002833, 95 % interval 0.7001142 to 2.4598858: as the
# paired t test of R prints them for its data set `sleep`.
SLEEP = np.array([1.2, 2.4, 1.3, 1.3, 0.0, 1.0, 1.8, 0.8, 4.6, 1.4])


def test_students_sleep_data() -> None:
    estimate = estimate_mean(SLEEP)
    interval = estimate.interval()
    assert interval is not None
    assert float(estimate.mean) == pytest.approx(1.58, abs=1e-12)
    assert float(estimate.mean / estimate.standard_error) == pytest.approx(4.0621, abs=5e-5)
    p = two_sided_p(estimate.mean, estimate.standard_error, estimate.n)
    assert float(p) == pytest.approx(0.002833, abs=5e-7)
    assert [float(bound) for bound in interval] == pytest.approx([0.7001142, 2.4598858], abs=5e-8)


@pytest.mark.parametrize("n", [2, 3, 7])
def test_p_and_interval_are_those_of_scipys_t_test(n: int) -> None:
    values = np.random.default_rng(n).normal(0.3, 1.0, (n, 4))
    expected = stats.ttest_1samp(values, 0.1)
    estimate = estimate_mean(values)
    p = two_sided_p(estimate.mean - 0.1, estimate.standard_error, n)
    np.testing.assert_allclose(p, expected.pvalue, rtol=1e-12)
    bounds = expected.confidence_interval(0.95)
    interval = estimate.interval()
    assert interval is not None
    np.testing.assert_allclose(interval[0], bounds.low, rtol=1e-12)
    np.testing.assert_allclose(interval[1], bounds.high, rtol=1e-12)


def test_one_value_has_no_interval() -> None:
    assert estimate_mean(np.array([3.0])).interval() is None


@given(st.floats(-1e6, 1e6), st.integers(2, 12))
def test_equal_values_have_no_spread_and_themselves_as_mean(value: float, n: int) -> None:
    estimate = estimate_mean(np.full(n, value))
    assert float(estimate.mean) == value
    assert float(estimate.standard_error) == 0.0


@pytest.mark.parametrize(("distance", "p"), [(0.0, 1.0), (0.1, 0.0), (-0.1, 0.0)])
def test_p_without_spread_is_the_limit(distance: float, p: float) -> None:
    assert float(two_sided_p(np.array(distance), np.array(0.0), 5)) == p
    if distance:
        tiny = two_sided_p(np.array(distance), np.array(1e-12), 5)
        assert float(tiny) == pytest.approx(p, abs=1e-30)


def test_squares_of_large_values_do_not_overflow() -> None:
    estimate = estimate_mean(np.array([1e200, 2e200, 3e200]))
    assert float(estimate.mean) == pytest.approx(2e200)
    assert float(estimate.standard_error) == pytest.approx(1e200 / math.sqrt(3))


def test_holm_by_hand() -> None:
    # 4 · 0.005, 3 · 0.01, 2 · 0.03, and 1 · 0.04, raised to the one before it
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.4, 0.9]) == pytest.approx([0.8, 0.9])
    assert holm([0.7, 0.9]) == pytest.approx([1.0, 1.0])
    assert holm([]) == []


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_holm_rejects_what_the_step_down_procedure_rejects(p_values: list[float]) -> None:
    rejected = set()
    order = sorted(range(len(p_values)), key=p_values.__getitem__)
    for rank, index in enumerate(order):
        if p_values[index] * (len(p_values) - rank) >= 0.05:
            break
        rejected.add(index)
    assert {i for i, p in enumerate(holm(p_values)) if p < 0.05} == rejected


def textbook_bca(values: np.ndarray, resamples: np.ndarray) -> tuple[float, float]:
    """Efron 1987, equations 2.3 and 6.6, from given resamples' means."""
    mean = values.mean()
    below = (np.sum(resamples < mean) + np.sum(resamples <= mean)) / 2 / len(resamples)
    z0 = stats.norm.ppf(below)
    left_out = (values.sum() - values) / (len(values) - 1)
    deviations = left_out.mean() - left_out
    acceleration = np.sum(deviations**3) / (6 * np.sum(deviations**2) ** 1.5)
    quantiles = []
    for alpha in (0.025, 0.975):
        z = z0 + stats.norm.ppf(alpha)
        quantiles.append(stats.norm.cdf(z0 + z / (1 - acceleration * z)))
    low, high = np.quantile(resamples, quantiles)
    return float(low), float(high)


def test_bca_agrees_with_the_textbook_and_not_with_percentiles() -> None:
    generator = np.random.default_rng(1)
    runs = []
    for _ in range(8):
        means = generator.choice(SLEEP, (9_999, len(SLEEP))).mean(axis=1)
        runs.append((*textbook_bca(SLEEP, means), *np.quantile(means, [0.025, 0.975])))
    mean = np.mean(runs, axis=0)
    # one run against the mean of eight: ours has the spread of one, theirs an eighth of it
    tolerance = 4 * np.std(runs, axis=0, ddof=1) * math.sqrt(1 + 1 / 8)
    ours = bca_interval(SLEEP)
    assert ours is not None
    assert (np.abs(np.array(ours) - mean[:2]) <= tolerance[:2]).all()
    assert (np.abs(np.array(ours) - mean[2:]) > tolerance[2:]).all()


def test_bca_is_the_same_every_time_and_needs_ten_values_that_differ() -> None:
    assert bca_interval(SLEEP) == bca_interval(SLEEP)
    assert bca_interval(SLEEP[:9]) is None
    assert bca_interval(np.full(12, 0.25)) is None


@pytest.mark.parametrize("others", [1, 2, 5])
def test_bca_of_nearly_degenerate_values_is_finite_or_none(others: int) -> None:
    values = np.array([0.5] * (10 - others) + [0.75] * others)
    interval = bca_interval(values)
    assert interval is None or (np.isfinite(interval).all() and interval[0] <= interval[1])


def test_slopes_by_hand_and_of_scipy() -> None:
    x = np.array([0.0, 1.0, 3.0])
    # mean x = 4/3; Σ(x − mean)·y / Σ(x − mean)² = (−4/3·1 − 1/3·2 + 5/3·4) / (42/9) = 1
    y = np.array([[1.0, 2.0, 4.0], [0.3, 0.9, 0.1]])
    assert least_squares_slopes(x, y)[0] == pytest.approx(1.0)
    assert least_squares_slopes(x, y)[1] == pytest.approx(stats.linregress(x, y[1]).slope)


@given(st.floats(-1e3, 1e3))
def test_a_flat_row_has_slope_zero_exactly(value: float) -> None:
    x = np.array([0.1, 0.2, 0.7])
    assert least_squares_slopes(x, np.full((1, 3), value))[0] == 0.0


def test_geometric_means_by_hand_and_of_scipy() -> None:
    assert float(geometric_mean(np.array([0.1, 10.0, 100.0, 0.01]))) == pytest.approx(1.0)
    values = np.random.default_rng(0).lognormal(size=(3, 4, 2))
    for axis in (0, 1):
        found = geometric_mean(values, axis)
        np.testing.assert_allclose(found, stats.gmean(values, axis=axis), rtol=1e-12)
    assert float(geometric_mean(np.full(7, 0.1))) == 0.1
