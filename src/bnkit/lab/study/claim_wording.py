"""Verdicts in words: the reason, and which checkpoints were compared."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from bnkit.lab.study.claim_bounds import bound_words
from bnkit.lab.study.claim_evaluation import Evaluation
from bnkit.lab.study.claim_pairs import PairedValues
from bnkit.lab.study.claim_settings import ClaimSettings
from bnkit.lab.study.claim_values import Checkpoint
from bnkit.lab.study.statistics import LEVEL

MINUS = "\N{MINUS SIGN}"
MOST_SEEDS_NAMED = 2
FEWEST_FOR_SIGNS = 6  # with five, even five equal signs have p = 2/32


def reason(
    claim: ClaimSettings,
    evaluation: Evaluation,
    paired: PairedValues,
    p_adjusted: float | None,
    tested: int,
) -> str:
    """Return why the outcome is what it is, in one sentence.

    Args:
        claim: what was claimed.
        evaluation: what the values say.
        paired: the values.
        p_adjusted: Holm-adjusted p value; None for too few seeds.
        tested: number of claims that Holm's adjustment spans.
    """
    if p_adjusted is None or evaluation.p is None:
        return "too few seeds" + _bounds(claim, paired) + left_out(paired.left_out)
    if evaluation.interval is None:
        text = _order(claim, evaluation)
    else:
        text = _place(claim, evaluation, paired) + _interval_lies(claim, evaluation)
    checkpoints = len(paired.checkpoints)
    if evaluation.p < LEVEL <= p_adjusted:
        text += f", but p adjusted for {tested} claims is {number(p_adjusted)}"
    elif evaluation.p >= LEVEL and checkpoints > 1 and not _includes_boundary(claim, evaluation):
        text += f", but p is {number(evaluation.p)} after Bonferroni over {checkpoints} checkpoints"
    return text + _bounds(claim, paired) + left_out(paired.left_out)


def left_out(clauses: Sequence[str]) -> str:
    """Return "; left out: seed 3, where ..." or nothing."""
    if not clauses:
        return ""
    named = "; ".join(clauses[:MOST_SEEDS_NAMED])
    others = len(clauses) - MOST_SEEDS_NAMED
    return f"; left out: {named}" + (f"; and {others} more" if others > 0 else "")


def divergence(diverged: Mapping[str, int]) -> str:
    """Return "; diverged: 2 trials of 'without'" or nothing."""
    parts = [
        f"{count} trial{'' if count == 1 else 's'} of {arm!r}"
        for arm, count in diverged.items()
        if count
    ]
    return f"; diverged: {', '.join(parts)}" if parts else ""


def difference_from_source(claim: ClaimSettings, outcome: str) -> str:
    """Return "; the source found this supported, and this study the opposite" or nothing."""
    if claim.published_outcome in (None, outcome):
        return ""
    here = "does not decide it" if outcome == "inconclusive" else "finds the opposite"
    return f"; the source found this {claim.published_outcome}: this study {here}"


def at_words(claim: ClaimSettings, paired: PairedValues, evaluation: Evaluation) -> str:
    """Return which checkpoints and grid points were compared, in words."""
    text = _when(claim, paired, evaluation)
    if claim.where:
        text += ", at " + ", ".join(f"{key} = {value}" for key, value in claim.where.items())
    if claim.kind == "trend":
        scale = "the natural logarithm of " if claim.scale == "log" else ""
        return f"{text}, along {scale}{claim.along}"
    points = len(paired.points)
    if points > 1:
        text += f", {'averaged ' if claim.across == 'mean' else ''}over {points} grid points"
    return text


def _when(claim: ClaimSettings, paired: PairedValues, evaluation: Evaluation) -> str:
    checkpoints = paired.checkpoints
    if claim.kind == "at-every-checkpoint":
        text = f"every checkpoint from epoch {checkpoints[0].epoch} to {checkpoints[-1].epoch}"
        return f"{text}; shown: {checkpoint_words(checkpoints[evaluation.checkpoint], checkpoints)}"
    if claim.at_epoch is not None:
        return f"epoch {claim.at_epoch}"
    if claim.is_read_as_ratio:
        return _where(claim, paired)
    each = "" if len(paired.epochs) == 1 else " of each trial"
    ends = " to ".join(str(epoch) for epoch in sorted({*paired.epochs[:1], *paired.epochs[-1:]}))
    if claim.reading == "last":
        return f"the last epoch{each} ({ends})" if ends else "the last epoch"
    if claim.reading == "epochs-to-target":
        return f"within {ends} epochs" if ends else "within all epochs"
    first = "all epochs" if claim.from_epoch is None else f"epoch {claim.from_epoch} to the last"
    return f"{first}{each} ({ends})" if ends else first


def _where(claim: ClaimSettings, paired: PairedValues) -> str:
    if claim.reading == "at-equal-loss":
        return f"where both arms have the same {claim.loss}, below 0.95 of the initial one"
    return f"on the grid from {paired.rates[0]:g} to {paired.rates[-1]:g}"


def checkpoint_words(checkpoint: Checkpoint, checkpoints: Sequence[Checkpoint]) -> str:
    """Return "epoch 7", or "step 350 (epoch 7)" where an epoch has several checkpoints."""
    same = [other for other in checkpoints if other.epoch == checkpoint.epoch]
    if len(same) == 1:
        return f"epoch {checkpoint.epoch}"
    return f"step {checkpoint.step} (epoch {checkpoint.epoch})"


def number(value: float) -> str:
    """Return a number with three significant digits."""
    return f"{value:.3g}".replace("-", MINUS)


def interval_text(low: float, high: float) -> str:
    """Return "[0.012, 0.034]", both bounds to two digits of half their distance."""
    place = 1 - math.floor(math.log10((high - low) / 2))
    if not 0 <= place <= 6 or max(abs(low), abs(high)) >= 1e6:
        return f"[{number(low)}, {number(high)}]"
    bounds = (f"{bound:.{place}f}".replace("-", MINUS) for bound in (low, high))
    return f"[{', '.join(bounds)}]"


def winner(claim: ClaimSettings, evaluation: Evaluation) -> str | None:
    """Return the arm that the effect favours."""
    return claim.better if evaluation.is_above == (claim.favours == "higher") else claim.than


def _bounds(claim: ClaimSettings, paired: PairedValues) -> str:
    """Return "; 'without': never reached in 3 of 5 trials" or nothing."""
    return "".join(f"; {arm!r}: {words}" for arm, words in bound_words(claim, paired).items())


def _order(claim: ClaimSettings, evaluation: Evaluation) -> str:
    """Return what the order of the arms alone shows, where values are mere bounds."""
    order = evaluation.signs
    if order is None:
        return "the values not known leave the effect open"
    if not order.compared:
        return "in no seed is it known which arm is ahead"
    k, relation = max((order.above, "higher"), (order.below, "lower"))
    text = (
        f"by order alone {claim.better!r} is {relation} in {k} of {order.compared} seeds that "
        f"differ, which by the exact sign test has p = {number(order.p)}"
    )
    if order.compared < FEWEST_FOR_SIGNS:
        text += f"; it needs at least {FEWEST_FOR_SIGNS}"
    return text


def _place(claim: ClaimSettings, evaluation: Evaluation, paired: PairedValues) -> str:
    if claim.kind != "at-every-checkpoint":
        return ""
    where = checkpoint_words(paired.checkpoints[evaluation.checkpoint], paired.checkpoints)
    which = "one" if evaluation.side < 0 else "the weakest"
    return f"at {where}, {which} of {len(paired.checkpoints)} checkpoints, "


def _interval_lies(claim: ClaimSettings, evaluation: Evaluation) -> str:
    assert evaluation.interval is not None
    low, high = evaluation.interval
    location = _location(claim, evaluation)
    name = claim.effect_name
    if not low < high:
        return f"the {name}, {number(low)} in every seed, {location}"
    interval = f"the 95 % interval {interval_text(low, high)}"
    if evaluation.is_constant:
        return f"all seeds agree; {interval}, from the metric's resolution, {location}"
    return f"{interval} {location}"


def _location(claim: ClaimSettings, evaluation: Evaluation) -> str:
    """Return where the interval lies against the boundary that decides."""
    margin = claim.margin or 0.0
    boundary = _boundary(claim, evaluation)
    if _includes_boundary(claim, evaluation):
        if evaluation.side == 0 and margin and claim.kind not in ("equivalent", "non-inferior"):
            return f"does not lie beyond ±{number(margin)}"
        is_point = (
            evaluation.interval is not None and evaluation.interval[0] == evaluation.interval[1]
        )
        return f"{'is on the boundary' if is_point else 'includes'} {number(boundary)}"
    if claim.kind == "equivalent":
        return f"lies {'within' if evaluation.side > 0 else 'outside'} ±{number(margin)}"
    assert evaluation.effect is not None
    text = f"lies {'above' if evaluation.effect > boundary else 'below'} {number(boundary)}"
    is_named = claim.kind == "which-is-better"
    return f"{text}, so {winner(claim, evaluation)!r} is better" if is_named else text


def _boundary(claim: ClaimSettings, evaluation: Evaluation) -> float:
    margin = claim.margin or 0.0
    if claim.is_ratio:
        return 1.0 if claim.factor is None else claim.factor
    if claim.kind == "non-inferior":
        return -margin if claim.favours == "higher" else margin
    return (margin if evaluation.is_above else -margin) if margin else 0.0


def _includes_boundary(claim: ClaimSettings, evaluation: Evaluation) -> bool:
    """Whether the effect's interval reaches the boundary that decides."""
    assert evaluation.interval is not None
    low, high = evaluation.interval
    return evaluation.side == 0 or low <= _boundary(claim, evaluation) <= high
