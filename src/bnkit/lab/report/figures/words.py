"""What figures say: in their titles, and to those who do not see them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from bnkit.lab.report.curves import Curve
from bnkit.lab.report.trial_groups import seeds_text
from bnkit.lab.store.schema import TrialRecord
from bnkit.page.number_format import number

Option = TypeVar("Option")

DIVERGED_COUNT_AS = "chance accuracy and the untrained network's loss"


def band_texts(seeds: Sequence[int]) -> dict[str, str]:
    """Return what a figure's lines and bands are, for each band that can be shown."""
    over = seeds_text(seeds)
    interval = f"mean and 95 % t interval, {over}"
    return {
        "interval": interval if max(seeds, default=0) > 1 else "one seed: no interval",
        "range": f"mean and range, {over}",
        "trials": f"single trials, {over}",
    }


def panel_label(curves: Sequence[Curve], what: str, place: str) -> str:
    """Return what a panel of curves shows, in a sentence."""
    ends = []
    for curve in curves:
        last = next(
            (
                (step, value, seeds)
                for step, value, seeds in zip(
                    reversed(curve.steps), reversed(curve.mean), reversed(curve.seeds), strict=True
                )
                if value is not None
            ),
            None,
        )
        if last is not None:
            ends.append(
                f"{curve.arm} ends at {number(last[1]).text} after {last[0]} steps, "
                f"{seeds_text([last[2]])}"
            )
        if curve.divergences:
            ends.append(f"{trials_text(len(curve.divergences))} of {curve.arm} diverged")
    at = f" at {place}" if place else ""
    return f"{what} against training time{at}: {'; '.join(ends)}."


def trials_text(count: int) -> str:
    """Return "1 trial" or "3 trials"."""
    return f"{count} trial{'' if count == 1 else 's'}"


def diverged_text(count: int) -> str:
    """Return how many trials diverged, in a sentence; empty for none."""
    return f"{trials_text(count)} diverged." if count else ""


def diverged_count_as(trials: Sequence[TrialRecord]) -> str:
    """Return as what diverged trials count in means and verdicts."""
    if all(trial.classes for trial in trials if trial.status == "diverged"):
        return DIVERGED_COUNT_AS
    return (
        "the untrained network's loss, and as chance accuracy where the number of classes is "
        "stored, else their accuracy is left out"
    )


def place_text(layer: str | None, key: str | None, grid: str) -> str:
    """Return where a series belongs, in words."""
    parts = [
        f"layer {layer}" if layer is not None else "",
        f"{key}" if key is not None else "",
        grid,
    ]
    return ", ".join(part for part in parts if part)


def shown_options(options: Sequence[Option], most: int) -> list[Option]:
    """Return at most `most` options, evenly spaced, the first and the last among them."""
    if len(options) <= most or most < 2:
        return list(options[:most])
    return [options[round(k * (len(options) - 1) / (most - 1))] for k in range(most)]


def left_out_text(what: str, shown: int, all_: int) -> str:
    """Return that only some layers or keys are drawn; empty if all are."""
    if shown == all_:
        return ""
    return f"{shown} of {all_} {what}s can be chosen, evenly spaced; the store holds all."
