"""The statistics behind verdicts: Student t, BCa bootstrap, Holm, least-squares slopes.

Everything reduces the first axis, which runs over seeds.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtr, stdtrit
from scipy.stats import bootstrap

Array = NDArray[np.float64]

LEVEL = 0.05
# A distance below this many units in the last place of the values is rounding, not an effect.
ROUNDING_UNITS = 8 * float(np.finfo(np.float64).eps)
FEWEST_FOR_BOOTSTRAP = 10
RESAMPLES = 9_999
BOOTSTRAP_SEED = 20150211


class MeanEstimate(NamedTuple):
    """A mean over n values and its standard error, per column."""

    mean: Array
    standard_error: Array
    n: int

    def interval(self) -> tuple[Array, Array] | None:
        """Return mean ∓ t₀.₉₇₅(n − 1) · standard error, or None for fewer than two values."""
        if self.n < 2:
            return None
        half_width = float(stdtrit(self.n - 1, 1 - LEVEL / 2)) * self.standard_error
        return self.mean - half_width, self.mean + half_width


def estimate_mean(values: Array) -> MeanEstimate:
    """Return mean and standard error, s / √n with s² = Σ(x − mean)² / (n − 1).

    Args:
        values: finite, shape (n, ...), n ≥ 1. For n = 1 the standard error is NaN.

    Raises:
        FloatingPointError: the values are so large that their mean is not finite.
    """
    n = len(values)
    # Divided by the largest value first, so that no square overflows; and shifted by the first
    # value, so that equal values have a spread of exactly 0.
    scale = np.abs(values).max(axis=0)
    unit = np.where(scale > 0, scale, 1.0)
    shifted = values / unit - values[:1] / unit
    mean = shifted.mean(axis=0)
    with np.errstate(over="ignore"):
        total = (mean + values[0] / unit) * unit
        if n < 2:
            error = np.full_like(total, np.nan)
        else:
            error = np.sqrt(((shifted - mean) ** 2).sum(axis=0) / (n - 1) / n) * unit
    # Equal values have themselves as mean, which the shift and the scale would round.
    is_constant = (values == values[:1]).all(axis=0)
    total = np.where(is_constant, values[0], total)
    if not np.isfinite(total).all() or (n > 1 and not np.isfinite(error).all()):
        raise FloatingPointError("the mean or its standard error is not finite")
    return MeanEstimate(total, error, n)


def geometric_mean(values: Array, axis: int = 0) -> Array:
    """Return v₁ · exp(mean of ln(vᵢ / v₁)) over an axis: of equal values exactly themselves.

    Args:
        values: above 0.
        axis: reduced.
    """
    first = values.take(0, axis)
    mean: Array = first * np.exp(np.log(values / np.expand_dims(first, axis)).mean(axis))
    return mean


def two_sided_p(distance: Array, standard_error: Array, n: int) -> Array:
    """Return P(|T| ≥ distance / standard error), T of Student's distribution with n − 1 df.

    With a standard error of 0, p is 1 for a distance of 0 and else 0, its limit.

    Args:
        distance: of a mean from a boundary, any sign, shape (...).
        standard_error: of that mean, at least 0, shape (...).
        n: number of values that the mean was taken over, at least 2.
    """
    size = np.abs(distance)
    limit = np.where(size > 0, np.inf, 0.0)
    with np.errstate(over="ignore"):
        t = np.divide(size, standard_error, out=limit, where=standard_error > 0)
    p: Array = 2 * stdtr(n - 1, -t)
    return p


def holm(p_values: Sequence[float]) -> list[float]:
    """Return Holm's adjusted p values, in the order given.

    Sorted ascending, p̃₍ᵢ₎ = max over j ≤ i of min(1, (k − j + 1) · p₍ⱼ₎).

    Source: Holm 1979, Scandinavian Journal of Statistics 6, 65-70.
    """
    k = len(p_values)
    adjusted = [0.0] * k
    largest = 0.0
    for rank, index in enumerate(sorted(range(k), key=lambda i: p_values[i])):
        largest = max(largest, min(1.0, (k - rank) * p_values[index]))
        adjusted[index] = largest
    return adjusted


def bca_interval(values: Array) -> tuple[float, float] | None:
    """Return the 95 % BCa bootstrap interval of the mean; its generator is fixed.

    None for fewer than ten values, and for values that leave the interval undefined (all equal).

    Args:
        values: shape (n,).

    Source: Efron 1987, Journal of the American Statistical Association 82, 171-185.
    """
    if len(values) < FEWEST_FOR_BOOTSTRAP or np.ptp(values) == 0:
        return None
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")  # degenerate resamples warn; a NaN bound shows them below
        result = bootstrap(
            (values,),
            np.mean,
            n_resamples=RESAMPLES,
            confidence_level=1 - LEVEL,
            method="BCa",
            rng=np.random.default_rng(BOOTSTRAP_SEED),
        )
    low, high = map(float, result.confidence_interval)
    return (low, high) if np.isfinite([low, high]).all() else None


def least_squares_slopes(x: Array, y: Array) -> Array:
    """Return Σ(x − mean x) · y / Σ(x − mean x)² for each row of y.

    Args:
        x: shape (G,), at least two different values.
        y: shape (n, G).

    Returns:
        Shape (n,). A row of equal values has slope 0 exactly.
    """
    centred = x - x.mean()
    # Subtracting a row's first value changes no slope, and makes a flat row exactly 0.
    slopes: Array = (y - y[:, :1]) @ centred / (centred @ centred)
    return slopes
