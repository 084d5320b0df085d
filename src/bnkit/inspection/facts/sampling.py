"""Whether samples look drawn from one normal distribution."""

from __future__ import annotations

from collections.abc import Sequence
from math import fsum, sqrt

# Fewer samples, or shorter ones, may agree by chance.
_LEAST_SAMPLES, _LEAST_VALUES = 3, 8
# Of its standard deviation: so far may a mean or a variance lie from the common one.
_LARGEST_Z = 4.0


def are_drawn_alike(samples: Sequence[Sequence[float]]) -> bool:
    """Return whether means and variances of samples differ by no more than chance.

    Means by 4·σ/√n, and variances by 4·σ²·√(2/(n − 1)), where σ is that of all samples together.
    Samples of fewer than 8 values are left out; fewer than 3 others are not enough to say so.
    """
    samples = [sample for sample in samples if len(sample) >= _LEAST_VALUES]
    if len(samples) < _LEAST_SAMPLES:
        return False
    count = sum(map(len, samples))
    mean = fsum(map(fsum, samples)) / count
    means = [fsum(sample) / len(sample) for sample in samples]
    variances = [
        fsum((value - own) ** 2 for value in sample) / (len(sample) - 1)
        for sample, own in zip(samples, means, strict=True)
    ]
    freedom = [len(sample) - 1 for sample in samples]
    common = fsum(v * n for v, n in zip(variances, freedom, strict=True)) / sum(freedom)
    return common > 0 and all(
        abs(own - mean) <= _LARGEST_Z * sqrt(common / (n + 1))
        and abs(variance - common) <= _LARGEST_Z * common * sqrt(2 / n)
        for own, variance, n in zip(means, variances, freedom, strict=True)
    )
