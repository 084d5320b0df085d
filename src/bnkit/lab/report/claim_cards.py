"""What the page says about each claim: one card per verdict."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bnkit.lab.report.claimed_region import claimed_region
from bnkit.lab.report.interval_picture import Picture, interval_picture
from bnkit.lab.report.trial_groups import seeds_text
from bnkit.lab.store.schema import Outcome, Verdict
from bnkit.page.number_format import Estimate, Number, estimate, number, p_value

WIDE_RATIO = 10.0
SYMBOLS: dict[Outcome, str] = {"supported": "✓", "refuted": "✗", "inconclusive": "?"}


@dataclass(frozen=True)
class ArmFigures:
    """One arm of a claim: our mean, the published figure, and how many trials diverged.

    Attributes:
        bound: "≥ " or "≤ " where the mean is only a bound.
    """

    arm: str
    mean: Number
    bound: str
    published: Number
    diverged: int


@dataclass(frozen=True)
class ClaimCard:
    """A verdict, ready to be read.

    Attributes:
        effect_label: what the effect is, as "Difference in test accuracy, with − without".
        quantity: what is compared, in words.
        effect_bound: "≥ " or "≤ " where the effect is only a bound.
        bootstrap: the effect with its bootstrap interval, None if there is no such interval.
        picture: the interval drawn, None where there is nothing to draw.
        picture_label: the picture in words.
    """

    verdict: Verdict
    symbol: str
    quantity: str
    effect_bound: str
    effect_label: str
    effect: Estimate
    bootstrap: Estimate | None
    p: Number
    p_adjusted: Number
    seeds: str
    arms: list[ArmFigures]
    has_published: bool
    picture: Picture | None
    picture_label: str


def claim_cards(settings: Mapping[str, Any], verdicts: Sequence[Verdict]) -> list[ClaimCard]:
    """Return one card per verdict, in the order of the claims."""
    claims = {claim["id"]: claim for claim in settings.get("claims", [])}
    return [_card(verdict, claims.get(verdict.id)) for verdict in verdicts]


def _card(verdict: Verdict, claim: Mapping[str, Any] | None) -> ClaimCard:
    is_ratio = verdict.effect_name == "ratio"
    effect = effect_estimate(verdict, verdict.low, verdict.high)
    bootstrap = effect_estimate(verdict, verdict.bootstrap_low, verdict.bootstrap_high)
    picture = None
    if claim is not None:
        picture = interval_picture(
            verdict.effect, verdict.low, verdict.high, claimed_region(claim), is_ratio=is_ratio
        )
    label = _effect_label(verdict, claim or {})
    return ClaimCard(
        verdict=verdict,
        symbol=SYMBOLS[verdict.outcome],
        quantity=_quantity(verdict),
        effect_bound=_spaced(verdict.effect_bound),
        effect_label=label,
        effect=effect,
        bootstrap=bootstrap if bootstrap.has_interval else None,
        p=p_value(verdict.p),
        p_adjusted=p_value(verdict.p_adjusted),
        seeds=seeds_text([verdict.seeds]),
        arms=_arm_figures(verdict),
        has_published=bool(verdict.published),
        picture=picture,
        picture_label=_picture_label(label, _spaced(verdict.effect_bound), effect),
    )


def effect_estimate(verdict: Verdict, low: float | None, high: float | None) -> Estimate:
    """Return the effect with an interval; differences and slopes are signed.

    A ratio's interval can span powers of ten, of which one number of decimals suits only one end.
    """
    is_ratio = verdict.effect_name == "ratio"
    if is_ratio and low and high and high > WIDE_RATIO * low:
        return Estimate(number(verdict.effect), number(low), number(high))
    return estimate(verdict.effect, low, high, signed=not is_ratio)


def _arm_figures(verdict: Verdict) -> list[ArmFigures]:
    published = verdict.published or {}
    names = dict.fromkeys([*verdict.arms, *verdict.means, *published])
    return [
        ArmFigures(
            arm=arm,
            mean=_mean(verdict, arm),
            bound=_spaced(verdict.bounds.get(arm, "")),
            published=number(published.get(arm)),
            diverged=verdict.diverged.get(arm, 0),
        )
        for arm in names
    ]


def _mean(verdict: Verdict, arm: str) -> Number:
    if arm in verdict.not_known and arm not in verdict.means:
        return Number("not known", None)
    return number(verdict.means.get(arm))


def _effect_label(verdict: Verdict, claim: Mapping[str, Any]) -> str:
    sign = {"ratio": " / "}.get(verdict.effect_name, " − ")
    value = claim.get("than_value")
    sides = [*verdict.arms, *([] if value is None else [f"{value:g}"])]
    return f"{verdict.effect_name.capitalize()} of {_quantity(verdict)}, {sign.join(sides)}"


def _quantity(verdict: Verdict) -> str:
    return verdict.quantity or verdict.metric


def _spaced(symbol: str) -> str:
    return f"{symbol} " if symbol else ""


def _picture_label(label: str, bound: str, effect: Estimate) -> str:
    words = f"{label}: {bound}{effect.value.text}"
    if effect.has_interval:
        words += f", 95 % interval {effect.low.text} to {effect.high.text}"
    return words
