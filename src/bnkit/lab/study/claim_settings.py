"""The `[[claims]]` tables of a study file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

Kind = Literal[
    "higher",
    "lower",
    "at-every-checkpoint",
    "ratio-at-least",
    "equivalent",
    "non-inferior",
    "which-is-better",
    "trend",
]
Direction = Literal["higher", "lower"]

# Keys that only some kinds read. Where a kind does not read a key, stating it is a mistake.
_READ_BY: dict[str, tuple[Kind, ...]] = {
    "margin": (
        "higher",
        "lower",
        "at-every-checkpoint",
        "equivalent",
        "non-inferior",
        "which-is-better",
        "trend",
    ),
    "factor": ("ratio-at-least",),
    "direction": ("at-every-checkpoint", "non-inferior", "which-is-better", "trend"),
    "at_epoch": (
        "higher",
        "lower",
        "ratio-at-least",
        "equivalent",
        "non-inferior",
        "which-is-better",
        "trend",
    ),
    "from_epoch": ("at-every-checkpoint",),
    "along": ("trend",),
    "scale": ("trend",),
}


class ClaimSettings(BaseModel):
    """A statement that results can support or refute.

    Attributes:
        id: short name, unique in the study.
        text: the statement in words.
        kind: how it is judged.
        metric: what is compared, "test accuracy" …
        better, than: the arm the claim speaks for, and the arm it is held against. `trend` may
            leave `than` out and speaks of `better` alone; with `than` of their difference.
            `which-is-better` uses both without taking sides.
        margin: smallest difference that counts (default 0); required by `equivalent` and
            `non-inferior`, where it is the largest difference that does not count. For `trend` it
            is a slope. `ratio-at-least` has none.
        factor: for `ratio-at-least`: metric(better) / metric(than) ≥ factor.
        direction: for `at-every-checkpoint`, `non-inferior` and `which-is-better`: whether `higher`
            or `lower` values are better (default: lower for losses, higher otherwise);
            for `trend`, which requires it: `higher` if the metric rises along the grid, `lower` if
            it falls.
        at_epoch: the epoch compared; default the last.
        from_epoch: for `at-every-checkpoint`: the first epoch compared.
        where: dotted grid key → value, if the claim speaks of one grid point only; otherwise a
            seed's values are averaged over grid points.
        along: for `trend`: the dotted grid key.
        scale: for `trend`: whether the grid's values are taken as they are or as natural
            logarithms.
        published: arm → published figure.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]*$")]
    text: Annotated[str, Field(min_length=1)]
    kind: Kind
    metric: str
    better: str
    than: str | None = None
    margin: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = None
    factor: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    direction: Direction | None = None
    at_epoch: Annotated[int, Field(gt=0)] | None = None
    from_epoch: Annotated[int, Field(gt=0)] | None = None
    where: Mapping[str, Any] = Field(default_factory=dict)
    along: str | None = None
    scale: Literal["linear", "log"] = "linear"
    published: Mapping[str, float] | None = None

    @property
    def favours(self) -> Direction:
        """Whether the claim, or its better arm, wants the metric `higher` or `lower`."""
        match self.kind:
            case "higher" | "lower":
                return self.kind
            case "ratio-at-least":
                return "higher"
        if self.direction is not None:
            return self.direction
        return "lower" if "loss" in self.metric else "higher"

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
        if self.kind != "trend" and self.than is None:
            raise ValueError(f'a claim of kind "{self.kind}" needs than, the other arm')
        if self.than == self.better:
            raise ValueError("better and than name the same arm")
        return self

    @model_validator(mode="after")
    def _other_keys_are_not(self) -> Self:
        for key, kinds in _READ_BY.items():
            is_stated = key in self.model_fields_set and getattr(self, key) is not None
            if is_stated and self.kind not in kinds:
                raise ValueError(f'a claim of kind "{self.kind}" does not use {key}; leave it out')
        if "seed" in self.where or self.along == "seed":
            raise ValueError("claims are judged over all seeds; where and along cannot name seed")
        return self
