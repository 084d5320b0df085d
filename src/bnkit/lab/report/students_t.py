"""The 95 % interval of a mean over seeds."""

from __future__ import annotations

import math
from functools import cache

from scipy.special import stdtrit


@cache
def half_width_factor(seeds: int) -> float:
    """Return t₀.₉₇₅(n − 1) / √n: times the standard deviation, half the 95 % interval of a mean."""
    return float(stdtrit(seeds - 1, 0.975)) / math.sqrt(seeds)
