"""Values of which only a bound is known: a target never reached, a rate beyond the grid.

Each counts as its bound, so that the effect is a bound as well. A verdict is drawn from it by
Student's t where the truth can only strengthen it; else the arms are compared by their order alone,
with an exact sign test; and where that does not apply either, nothing can be said.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from scipy.special import bdtrc

from bnkit.lab.study.claim_pairs import PairedValues
from bnkit.lab.study.claim_settings import ClaimSettings
from bnkit.lab.study.statistics import Array

KINDS_OF_ORDER = ("higher", "lower", "which-is-better")


class Openness(NamedTuple):
    """Whether the true effect may lie above, or below, the one that the bounds give."""

    above: bool
    below: bool

    @property
    def symbol(self) -> str:
        """What the effect is preceded by: "≥", "≤", "" if it is exact, "?" if nothing is known."""
        return {(True, False): "≥", (False, True): "≤", (True, True): "?"}.get(self, "")


class Signs(NamedTuple):
    """In how many seeds `better` surely lies above `than`, or below, and how many can tell."""

    above: int
    below: int
    compared: int

    @property
    def p(self) -> float:
        """Two-sided p of the exact sign test.

        min(1, 2 · P(B ≥ k)), B of the binomial distribution of n draws at ½, k the larger count.
        """
        k = max(self.above, self.below)
        return min(1.0, 2 * float(bdtrc(k - 1, self.compared, 0.5))) if k else 1.0


def openness(claim: ClaimSettings, paired: PairedValues) -> Openness:
    """Return in which directions the true effect may differ from the counted one."""
    better = paired.bounds[claim.better]
    than = paired.bounds[claim.than] if claim.than is not None else np.zeros_like(better)
    return Openness(
        above=bool((better > 0).any() or (than < 0).any()),
        below=bool((better < 0).any() or (than > 0).any()),
    )


def is_safe(claim: ClaimSettings, side: int, is_above: bool, open_to: Openness) -> bool:
    """Return whether the truth can only strengthen what the counted values show.

    Args:
        claim: what was claimed.
        side: on which side of the claim the counted effect lies.
        is_above: whether that is above the boundary.
        open_to: in which directions the true effect may differ.
    """
    if claim.kind == "equivalent" and side > 0:
        return not (open_to.above or open_to.below)
    return not (open_to.below if is_above else open_to.above)


def signs(claim: ClaimSettings, paired: PairedValues, better: Array, than: Array) -> Signs | None:
    """Return the order of the arms in each seed, or None for a claim of more than the order.

    Seeds in which both arms only have the same kind of bound cannot be ordered, whichever arm is
    which, and are left out as ties are. Seeds in which one arm's bound leaves the order open count
    for neither.

    Args:
        claim: what was claimed.
        paired: the bounds.
        better, than: one value per seed, shape (seeds,).
    """
    if claim.kind not in KINDS_OF_ORDER or claim.margin or claim.than is None:
        return None
    of_better, of_than = (paired.bounds[arm][..., 0] for arm in (claim.better, claim.than))
    more, less = (of_better > 0).any(axis=1), (of_better < 0).any(axis=1)
    than_more, than_less = (of_than > 0).any(axis=1), (of_than < 0).any(axis=1)
    is_equal = better == than
    above = ~less & ~than_more & ((better > than) | (is_equal & (more | than_less)))
    below = ~more & ~than_less & ((better < than) | (is_equal & (less | than_more)))
    same_kind = (more == than_more) & (less == than_less)
    tied = same_kind & (is_equal | more | less)
    return Signs(int(above.sum()), int(below.sum()), int((~tied).sum()))


def bound_words(claim: ClaimSettings, paired: PairedValues) -> dict[str, str]:
    """Return arm → how many of its values are mere bounds, for arms that have any."""
    found = {}
    for arm, bounds in paired.bounds.items():
        clauses = []
        for bound, words in _words_of(claim, paired).items():
            if count := int((bounds == bound).sum()):
                clauses.append(f"{words} in {count} of {bounds.size} {_unit(claim, paired)}")
        if clauses:
            found[arm] = ", ".join(clauses)
    return found


def mean_symbols(paired: PairedValues) -> dict[str, str]:
    """Return arm → "≥" or "≤" where its mean is a bound, "?" where it is nothing."""
    found = {}
    for arm, bounds in paired.bounds.items():
        symbol = Openness(above=bool((bounds > 0).any()), below=bool((bounds < 0).any())).symbol
        if symbol:
            found[arm] = "?" if (bounds != 0).all() else symbol
    return found


def _words_of(claim: ClaimSettings, paired: PairedValues) -> Mapping[int, str]:
    if claim.reading != "largest-usable":
        return {1: "never reached"}
    smallest, largest = paired.rates[0], paired.rates[-1]
    return {
        1: f"{largest:g}, the largest of the grid, is still usable",
        -1: f"{smallest:g}, the smallest of the grid, diverges already",
    }


def _unit(claim: ClaimSettings, paired: PairedValues) -> str:
    if claim.reading != "largest-usable":
        return "trials"
    return "seeds" if len(paired.points) == 1 else "seeds and grid points"
