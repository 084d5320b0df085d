"""The largest eigenvalue of the loss's Hessian."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor

from bnkit.errors import ProbeError
from bnkit.lab.probes.hessian import hessian_vector_product
from bnkit.lab.probes.moment import Moment
from bnkit.lab.probes.probe import Cost, Measured, Probe
from bnkit.lab.probes.vectors import difference, inner_product, norm

Product = Callable[[Mapping[str, Tensor]], dict[str, Tensor]]


class Eigenpair(NamedTuple):
    """What power iteration found: Hv ≈ λv with ‖v‖ = 1; `residual` is ‖Hv − λv‖₂ / |λ|."""

    value: float
    residual: float


class Sharpness(Probe):
    """The largest eigenvalue λ of the Hessian of a step's loss, by power iteration.

    L is the mean loss of the step's batches in training mode with its random draws, without weight
    decay. "sharpness" is λ; "sharpness residual" is ‖Hv − λv‖₂ / |λ|, v the unit vector found: a
    small one says that there is an eigenvalue within that share of λ. Where the eigenvalue largest
    in size is below 0, a second iteration finds the largest one from there.

    Options:
        iterations: at most; default 30.
        tolerance: ends the iteration once λ changes by less than this share; default 0.001.
        seed: of the vector that the iteration begins with; default 0.

    Source: Yao et al. 2018, "Hessian-based analysis of large batch training", algorithm 2.
    """

    kind = "sharpness"
    needs = frozenset({"gradient"})

    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        if self.options["iterations"] < 1 or not 0 <= self.options["tolerance"] < 1:
            raise ProbeError(
                f"iterations = {self.options['iterations']!r}, "
                f"tolerance = {self.options['tolerance']!r}",
                required="at least 1 iteration, and a tolerance from 0 to below 1",
            )

    def cost(self) -> Cost:
        """One forward, one backward and one backward through that backward per iteration."""
        count = self.options["iterations"]
        note = "at most; a backward through a backward counts as two"
        return Cost(forwards=count, backwards=3 * count, note=note)

    def measure(self, moment: Moment) -> Iterator[Measured]:
        """Yield the eigenvalue, and how far it is from one."""
        assert moment.step is not None
        begin = random_vector(moment.step.parameters(), self.options["seed"])
        product = partial(hessian_vector_product, moment.step)
        found = largest_eigenvalue(
            product, begin, self.options["iterations"], self.options["tolerance"]
        )
        yield Measured("sharpness", found.value)
        yield Measured("sharpness residual", found.residual)


def largest_eigenvalue(
    product: Product, begin: Mapping[str, Tensor], iterations: int, tolerance: float
) -> Eigenpair:
    """Return the largest eigenvalue of a symmetric matrix H, given v ↦ Hv.

    Power iteration finds the eigenvalue λ₁ that is largest in size. If that is below 0, the one of
    H − λ₁I, all of whose eigenvalues are above 0, is the largest of H less λ₁.
    """
    found = power_iteration(product, begin, iterations, tolerance)
    if not found.value < 0:
        return found
    bottom = found.value

    def shifted(vector: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {name: each - bottom * vector[name] for name, each in product(vector).items()}

    above = power_iteration(shifted, begin, iterations, tolerance)
    value = above.value + bottom
    residual = above.residual * above.value / abs(value) if value else math.nan
    return Eigenpair(value, residual)


def power_iteration(
    product: Product, begin: Mapping[str, Tensor], iterations: int, tolerance: float
) -> Eigenpair:
    """Return the eigenvalue that is largest in size: v ← Hv/‖Hv‖, λ = v·Hv.

    Args:
        product: v ↦ Hv.
        begin: the first v, of any length above 0.
        iterations: at most so many products.
        tolerance: the relative change of λ that ends it.
    """
    vector = scaled(begin, 1 / norm(begin))
    value = math.nan
    for _ in range(iterations):
        image = product(vector)
        before, value = value, inner_product(vector, image)
        length = norm(image)
        residual = norm(difference(image, scaled(vector, value))) / abs(value) if value else 0.0
        if not 0 < length < math.inf or abs(value - before) <= tolerance * abs(value):
            break
        vector = scaled(image, 1 / length)
    return Eigenpair(value, residual if math.isfinite(value) else math.nan)


def random_vector(like: Mapping[str, Tensor], seed: int) -> dict[str, Tensor]:
    """Return a vector of independent N(0, 1), drawn on the CPU by a generator of its own."""
    generator = torch.Generator().manual_seed(seed)
    return {
        name: torch.randn(each.shape, generator=generator).to(each.device, each.dtype)
        for name, each in like.items()
    }


def scaled(vector: Mapping[str, Tensor], factor: float) -> dict[str, Tensor]:
    """Return factor · v."""
    return {name: each * factor for name, each in vector.items()}
