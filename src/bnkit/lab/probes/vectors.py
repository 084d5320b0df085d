"""Gradients by parameter name, taken as one vector; what one of two lacks counts as 0."""

from __future__ import annotations

import math
from collections.abc import Mapping

from torch import Tensor

Vector = Mapping[str, Tensor]


def norm(vector: Vector) -> float:
    """Return √Σ vᵢ², added up in float64."""
    return math.hypot(*(each.double().norm().item() for each in vector.values()))


def inner_product(a: Vector, b: Vector) -> float:
    """Return Σ aᵢbᵢ, added up in float64."""
    # Not by the memory order of either: layouts may differ.
    return sum((a[name].double() * b[name].double()).sum().item() for name in a if name in b)


def difference(a: Vector, b: Vector) -> dict[str, Tensor]:
    """Return a − b."""
    only_b = {name: -each for name, each in b.items() if name not in a}
    return {name: each - b[name] if name in b else each for name, each in a.items()} | only_b


def cosine(a: Vector, b: Vector) -> float:
    """Return Σ aᵢbᵢ / (‖a‖₂‖b‖₂); NaN if one of them is 0."""
    lengths = norm(a) * norm(b)
    return inner_product(a, b) / lengths if lengths else math.nan
