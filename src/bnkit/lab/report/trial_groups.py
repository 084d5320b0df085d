"""Trials in the order of the study: arms, grid points, seeds; and what they are called."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from bnkit.lab.store.schema import TrialRecord

KNOWN_METRICS = ("test accuracy", "test loss", "train accuracy", "train loss")


def arm_names(settings: Mapping[str, Any], trials: Iterable[TrialRecord]) -> list[str]:
    """Return the arms in the study file's order, then any that only the trials name."""
    return list(dict.fromkeys([*settings.get("arms", {}), *(trial.arm for trial in trials)]))


def grid_points(trials: Iterable[TrialRecord]) -> list[Mapping[str, Any]]:
    """Return the different grid points (without the seed) in order of appearance."""
    return list({grid_key(trial.grid): trial.grid for trial in trials}.values())


def grid_key(grid: Mapping[str, Any]) -> str:
    """Return a text that equal grid points share."""
    return json.dumps(grid, sort_keys=True, default=str)


def grid_label(grid: Mapping[str, Any]) -> str:
    """Return "lr = 0.1, batch_size = 32"; empty for a study without a grid.

    A dotted key is cut to its last part where that part is unambiguous.
    """
    last_parts = [key.rsplit(".", 1)[-1] for key in grid]
    return ", ".join(
        f"{last if last_parts.count(last) == 1 else key} = {setting_text(value)}"
        for (key, value), last in zip(grid.items(), last_parts, strict=True)
    )


def setting_text(value: Any) -> str:
    """Return a setting's value as it is read in a sentence."""
    return value if isinstance(value, str) else json.dumps(value, default=str, ensure_ascii=False)


def ordered_metrics(metrics: Iterable[str]) -> list[str]:
    """Return the metrics recorded in every study first, the others in alphabetical order."""
    present = set(metrics)
    known = [metric for metric in KNOWN_METRICS if metric in present]
    return known + sorted(present.difference(KNOWN_METRICS))


def seeds_text(seeds: Sequence[int]) -> str:
    """Return "5 seeds", "1 seed", or "3 to 5 seeds" where counts differ."""
    if not seeds:
        return "no seeds"
    fewest, most = min(seeds), max(seeds)
    if fewest == most:
        return f"{most} seed{'' if most == 1 else 's'}"
    return f"{fewest} to {most} seeds"
