"""How far two sets of statistics of one layer are apart, channel by channel."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf, isfinite, log, sqrt
from statistics import median


@dataclass(frozen=True)
class Distance:
    """|Δmean|/σ and |ln variance ratio| of each channel, of those whose statistics are finite.

    Attributes:
        channels: their numbers.
        z: |mean − other mean| / σ.
        log_ratio: |ln(var + eps) − ln(other var + eps)|: as the layer divides.
    """

    channels: tuple[int, ...]
    z: tuple[float, ...]
    log_ratio: tuple[float, ...]

    @property
    def median_z(self) -> float:
        """Median over the channels; 0 without any."""
        return median(self.z or (0.0,))

    @property
    def median_log_ratio(self) -> float:
        """Median over the channels; 0 without any."""
        return median(self.log_ratio or (0.0,))


def distance(
    mean: Sequence[float],
    var: Sequence[float],
    other_mean: Sequence[float],
    other_var: Sequence[float],
    *,
    sigma_var: Sequence[float],
    eps: float,
) -> Distance:
    """Return how far statistics are apart.

    Args:
        mean, var, other_mean, other_var: per channel.
        sigma_var: per channel the variance that σ is the root of.
        eps: of the layer; it is added to each variance.
    """
    channels, z, log_ratio = [], [], []
    rows = zip(mean, var, other_mean, other_var, sigma_var, strict=True)
    for channel, (m, v, n, w, s) in enumerate(rows):
        if not all(map(isfinite, (m, v, n, w, s))):
            continue
        channels.append(channel)
        z.append(_ratio(abs(m - n), sqrt(max(s, 0.0) + eps)))
        log_ratio.append(abs(_log(max(v, 0.0) + eps) - _log(max(w, 0.0) + eps)))
    return Distance(tuple(channels), tuple(z), tuple(log_ratio))


def _ratio(value: float, by: float) -> float:
    return value / by if by else (inf if value else 0.0)


def _log(value: float) -> float:
    return log(max(value, 1e-300))
