"""Judging a store that no run of bnkit wrote: its trials as they lie, and its claims."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from bnkit.errors import StudyError
from bnkit.lab.store import TrialRecord, TrialStore, write_results
from bnkit.lab.study.claim_settings import ClaimSettings
from bnkit.lab.study.claims import judge, summarize
from bnkit.lab.study.spec_errors import validation_message

AS_STORED = (
    "The trials are shown as they are stored; that they are those of this study file was not "
    "checked."
)


def judge_as_stored(root: Path, settings: Mapping[str, Any], command: str) -> None:
    """Judge the study file's claims over every trial in the folder, and write the results.

    Args:
        root: the study's folder, with at least one trial.
        settings: the study file; only its claims and names are used.
        command: what repeats the run; may be empty.

    Raises:
        StoreError: a trial is damaged or of another version.
        StudyError: a claim cannot be read.
    """
    store = TrialStore(root)
    arms = {arm: place for place, arm in enumerate(settings.get("arms", {}))}
    records = [store.load(trial_id) for trial_id in store.ids()]
    records.sort(key=lambda trial: _place(trial, arms))
    metrics = store.metrics(record.id for record in records)
    claims = _claims(settings, str(root / "study.toml"))
    notes = [AS_STORED, *(note for record in records for note in record.notes)]
    if left_out := store.halves():
        names = ", ".join(left_out[:5])
        notes.append(
            f"{len(left_out)} folder{'' if len(left_out) == 1 else 's'} without a whole trial "
            f"left out: {names}{' …' if len(left_out) > 5 else ''}."
        )
    write_results(
        root,
        settings={"claims": [], **settings},
        trials=records,
        verdicts=judge(claims, records, metrics),
        summaries=summarize(records, metrics),
        notes=list(dict.fromkeys(notes)),
        command=command,
    )


def _place(trial: TrialRecord, arms: Mapping[str, int]) -> tuple[Any, ...]:
    point = [
        (key, isinstance(value, str), value if isinstance(value, int | float) else 0, str(value))
        for key, value in sorted(trial.grid.items())
    ]
    return arms.get(trial.arm, len(arms)), trial.arm, point, trial.seed, trial.id


def _claims(settings: Mapping[str, Any], where: str) -> list[ClaimSettings]:
    found = []
    for place, claim in enumerate(settings.get("claims", [])):
        try:
            found.append(ClaimSettings.model_validate(claim))
        except ValidationError as error:
            raise StudyError(
                **validation_message(error), where=f"{where}: claim {place + 1}"
            ) from error
    return found
