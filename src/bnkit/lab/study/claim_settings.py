"""The `[[claims]]` tables of a study file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from bnkit.lab.study.claim_keys import READINGS_OF_RATIOS, Across, Kind, Reading, keys_of, kinds_of

Direction = Literal["higher", "lower"]
ACCURACIES = frozenset({"train accuracy", "test accuracy"})


class ClaimSettings(BaseModel):
    """A statement that results can support or refute.

    Attributes:
        id: short name, unique in the study.
        text: the statement in words.
        kind: how it is judged.
        metric: what is compared, "test accuracy" …; `largest-usable` has none.
        layer, key: for metrics that probes record per layer or key: which one.
        better, than: the arm the claim speaks for, and the arm it is held against. `trend` may
            leave `than` out and speaks of `better` alone; with `than` of their difference.
            `which-is-better` uses both without taking sides.
        better_key, than_key: in place of `key`: a key for each side, where two keys of a metric are
            compared; both sides may then be the same arm.
        than_value: for `higher` and `lower`, in place of `than`: a number that the better arm is
            held against.
        reading: what one trial gives: the metric at the `last` checkpoint (or at `at_epoch`), its
            `best` value, its mean over training (`area` under its curve), its `fluctuation` (sum
            of steps for the worse), or the epochs until it reaches `target` (`epochs-to-target`).
            `largest-usable`: the largest value of the grid key `along` at which, as at all smaller
            ones, training does not diverge; arms are compared by their ratio. `at-equal-loss`: the
            metric's values where the two arms have the same `loss`, compared by their ratio.
        loss: for `at-equal-loss`: the metric that is to be equal; default "train loss".
        target: for `epochs-to-target`: the value to reach, from below, or from above for losses.
        across: what a seed's grid points give: their `mean`, or how far they lie apart: `range`
            (largest − smallest) or `deviation` (standard deviation, n − 1).
        margin: smallest difference that counts (default 0); required by `equivalent` and
            `non-inferior`, where it is the largest difference that does not count. For `trend` it
            is a slope. Ratios have none.
        factor: for `ratio-at-least`: better / than ≥ factor.
        direction: for `at-every-checkpoint`, `non-inferior` and `which-is-better`: whether `higher`
            or `lower` values are better (default: lower for losses, fluctuations, epochs and
            spreads, higher otherwise); for `trend`, which requires it: `higher` if the metric rises
            along the grid, `lower` if it falls.
        at_epoch: the epoch compared; default the last.
        from_epoch: for `at-every-checkpoint`, `best`, `area` and `fluctuation`: the first epoch
            that counts.
        where: dotted grid key → value, if the claim speaks of one grid point only; otherwise
            `across` says what becomes of a seed's grid points.
        along: for `trend` and `largest-usable`: the dotted grid key.
        scale: for `trend`: whether the grid's values are taken as they are or as natural
            logarithms.
        published: arm → published figure.
        published_outcome: what the source found; a verdict that differs says so.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]*$")]
    text: Annotated[str, Field(min_length=1)]
    kind: Kind
    metric: str = ""
    layer: str | None = None
    key: str | None = None
    better_key: str | None = None
    than_key: str | None = None
    better: str
    than: str | None = None
    than_value: Annotated[float, Field(allow_inf_nan=False)] | None = None
    reading: Reading = "last"
    loss: Annotated[str, Field(min_length=1)] = "train loss"
    target: Annotated[float, Field(allow_inf_nan=False)] | None = None
    across: Across = "mean"
    margin: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = None
    factor: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    direction: Direction | None = None
    at_epoch: Annotated[int, Field(gt=0)] | None = None
    from_epoch: Annotated[int, Field(gt=0)] | None = None
    where: Mapping[str, Any] = Field(default_factory=dict)
    along: str | None = None
    scale: Literal["linear", "log"] = "linear"
    published: Mapping[str, float] | None = None
    published_outcome: Literal["supported", "refuted"] | None = None

    @property
    def favours(self) -> Direction:
        """Whether the claim, or its better arm, wants what is compared `higher` or `lower`."""
        match self.kind:
            case "higher" | "lower":
                return self.kind
            case "ratio-at-least":
                return "higher"
        if self.direction is not None:
            return self.direction
        if self.reading == "largest-usable":
            return "higher"
        is_less_better = (
            self.reading in ("fluctuation", "epochs-to-target") or self.across != "mean"
        )
        return "lower" if is_less_better or self.wants_low_metric else "higher"

    @property
    def wants_low_metric(self) -> bool:
        """Whether low values of the metric itself are better: it is a loss."""
        return "loss" in self.metric

    @property
    def is_ratio(self) -> bool:
        """Whether arms are compared by their ratio, judged by its logarithm."""
        return self.kind == "ratio-at-least" or self.is_read_as_ratio

    @property
    def is_read_as_ratio(self) -> bool:
        """Whether the reading itself makes ratios of the arms, so that means are geometric."""
        return self.reading in READINGS_OF_RATIOS

    @property
    def effect_name(self) -> str:
        """What the effect is called: difference, ratio or slope."""
        return "ratio" if self.is_ratio else ("slope" if self.kind == "trend" else "difference")

    @model_validator(mode="after")
    def _reading_fits(self) -> Self:
        """Refuse what kind and reading cannot do together, before speaking of single keys."""
        kinds = kinds_of(self.reading)
        if self.kind not in kinds:
            raise ValueError(
                f'reading "{self.reading}" cannot be judged by kind "{self.kind}"; '
                f"the kinds for it are {', '.join(kinds)}"
            )
        if self.reading == "largest-usable":
            if self.along is None:
                raise ValueError('reading "largest-usable" needs along, a key of [grid]')
        elif not self.metric:
            raise ValueError("a claim needs metric: what is compared")
        if self.reading == "epochs-to-target":
            self._check_target()
        return self

    def _check_target(self) -> None:
        if self.target is None:
            raise ValueError('reading "epochs-to-target" needs target, the value to be reached')
        if self.metric in ACCURACIES and not 0 < self.target <= 1:
            raise ValueError(
                f"target = {self.target:g} is no accuracy: {self.metric} is a share of 1, so 95 % "
                "is 0.95"
            )

    @model_validator(mode="after")
    def _needed_keys_are_there(self) -> Self:
        if self.kind in ("equivalent", "non-inferior") and not self.margin:
            raise ValueError(f'a claim of kind "{self.kind}" needs margin > 0')
        if self.kind == "ratio-at-least" and self.factor is None:
            raise ValueError('a claim of kind "ratio-at-least" needs factor')
        if self.kind == "trend" and self.along is None:
            raise ValueError('a claim of kind "trend" needs along, a key of [grid]')
        if self.kind == "trend" and self.direction is None:
            raise ValueError(
                'a claim of kind "trend" needs direction: "higher" if the metric rises along the'
                ' grid, "lower" if it falls'
            )
        if self.than is not None and self.than_value is not None:
            raise ValueError("give than, the other arm, or than_value, a number, and not both")
        if self.kind != "trend" and self.than is None and self.than_value is None:
            number = ", or than_value, a number" if self.kind in ("higher", "lower") else ""
            raise ValueError(f'a claim of kind "{self.kind}" needs than, the other arm{number}')
        self._check_sides()
        return self

    def _check_sides(self) -> None:
        keys = (self.better_key, self.than_key)
        if (keys[0] is None) != (keys[1] is None):
            raise ValueError("better_key and than_key go together: give both, or key for both arms")
        if keys[0] is not None and self.key is not None:
            raise ValueError(
                "give key for both sides, or better_key and than_key, and not all three"
            )
        if keys[0] is not None and self.than is None:
            raise ValueError("than_key needs than, the arm of that side; it may be the same arm")
        if self.than == self.better and keys[0] == keys[1]:
            raise ValueError(
                "better and than name the same arm"
                + (" and the same key" if keys[0] is not None else "")
            )
        if self.than == self.better and self.published is not None:
            raise ValueError("published is by arm, and better and than are the same arm")

    @model_validator(mode="after")
    def _other_keys_are_not(self) -> Self:
        used = keys_of(self.kind, self.reading)
        for name in type(self).model_fields:
            is_stated = name in self.model_fields_set and getattr(self, name) not in (None, "")
            if is_stated and name not in used:
                what = f'a claim of kind "{self.kind}"'
                if self.reading != "last":
                    what += f' and reading "{self.reading}"'
                raise ValueError(
                    f"{what} does not use {name}; leave it out. It uses {', '.join(used)}"
                )
        if "seed" in self.where or self.along == "seed":
            raise ValueError("claims are judged over all seeds; where and along cannot name seed")
        if self.along in self.where:
            raise ValueError(f"where fixes {self.along}, which along runs over")
        return self
