"""Verdicts in words: the reason, and which checkpoints were compared."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from bnkit.lab.study.claim_evaluation import EFFECT_NAMES, Evaluation
from bnkit.lab.study.claim_pairs import PairedValues
from bnkit.lab.study.claim_settings import ClaimSettings
from bnkit.lab.study.claim_values import Checkpoint
from bnkit.lab.study.statistics import LEVEL

MINUS = "\N{MINUS SIGN}"
MOST_SEEDS_NAMED = 2


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
        return "too few seeds" + left_out(paired.left_out)
    text = _place(claim, evaluation, paired) + _interval_lies(claim, evaluation)
    checkpoints = len(paired.checkpoints)
    if evaluation.p < LEVEL <= p_adjusted:
        text += f", but p adjusted for {tested} claims is {number(p_adjusted)}"
    elif evaluation.p >= LEVEL and checkpoints > 1 and not _includes_boundary(claim, evaluation):
        text += f", but p is {number(evaluation.p)} after Bonferroni over {checkpoints} checkpoints"
    return text + left_out(paired.left_out)


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


def at_words(claim: ClaimSettings, paired: PairedValues, evaluation: Evaluation) -> str:
    """Return which checkpoints were compared, in words."""
    checkpoints = paired.checkpoints
    if claim.kind == "at-every-checkpoint":
        text = f"every checkpoint from epoch {checkpoints[0].epoch} to {checkpoints[-1].epoch}"
        text += f"; shown: {checkpoint_words(checkpoints[evaluation.checkpoint], checkpoints)}"
    elif claim.at_epoch is not None:
        text = f"epoch {claim.at_epoch}"
    elif len(paired.epochs) == 1:
        text = f"the last epoch ({paired.epochs[0]})"
    elif paired.epochs:
        text = f"the last epoch of each trial ({paired.epochs[0]} to {paired.epochs[-1]})"
    else:
        text = "the last epoch"
    if claim.where:
        text += ", at " + ", ".join(f"{key} = {value}" for key, value in claim.where.items())
    if claim.kind == "trend":
        scale = "the natural logarithm of " if claim.scale == "log" else ""
        return f"{text}, along {scale}{claim.along}"
    points = len(paired.points)
    return text + (f", averaged over {points} grid points" if points > 1 else "")


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
    return claim.better if (evaluation.effect > 0) == (claim.favours == "higher") else claim.than


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
    name = EFFECT_NAMES.get(claim.kind, "difference")
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
    text = f"lies {'above' if evaluation.effect > boundary else 'below'} {number(boundary)}"
    is_named = claim.kind == "which-is-better"
    return f"{text}, so {winner(claim, evaluation)!r} is better" if is_named else text


def _boundary(claim: ClaimSettings, evaluation: Evaluation) -> float:
    margin = claim.margin or 0.0
    if claim.kind == "ratio-at-least":
        assert claim.factor is not None
        return claim.factor
    if claim.kind == "non-inferior":
        return -margin if claim.favours == "higher" else margin
    return math.copysign(margin, evaluation.effect) if margin else 0.0


def _includes_boundary(claim: ClaimSettings, evaluation: Evaluation) -> bool:
    """Whether the effect's interval reaches the boundary that decides."""
    assert evaluation.interval is not None
    low, high = evaluation.interval
    return evaluation.side == 0 or low <= _boundary(claim, evaluation) <= high
