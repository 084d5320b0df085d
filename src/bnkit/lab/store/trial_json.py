"""From `trial.json` to a record, also where another tool wrote it by the schema."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bnkit.errors import StoreError
from bnkit.lab.store.schema import STORE_VERSION, TrialRecord

# The classes of the data sets that are named; a trial of another may say its own.
_CLASSES = {"digits": 10, "mnist": 10, "cifar-10": 10, "hindi-digits": 10}
_STATUSES = ("complete", "diverged")


def trial_record(content: Any, trial_id: str, path: str) -> TrialRecord:
    """Return the record that a `trial.json` holds.

    What the schema names is required: store_version, arm, seed, grid, status and, of a diverged
    trial, its step. The rest may be absent. A seed among the grid's keys counts as the seed.

    Args:
        content: the file as JSON.
        trial_id: name of the trial's folder, which is its id.
        path: of the file, for messages.

    Raises:
        StoreError: another version, or something is missing or of a wrong kind.
    """
    if not isinstance(content, dict):
        raise _wrong(path, "it is not an object", "a JSON object")
    check_version(content.get("store_version"), path)
    grid = _table(content, "grid", path)
    seed = content.get("seed", grid.pop("seed", None))
    grid.pop("seed", None)
    if not isinstance(seed, int) or isinstance(seed, bool):
        raise _wrong(path, f"seed = {seed!r}", "a whole number")
    if not isinstance(content.get("arm"), str):
        raise _wrong(path, f"arm = {content.get('arm')!r}", "the name of an arm")
    status, step = content.get("status"), content.get("diverged_step")
    if status not in _STATUSES:
        raise _wrong(path, f"status = {status!r}", '"complete" or "diverged"')
    if status == "diverged" and (not isinstance(step, int) or isinstance(step, bool)):
        raise _wrong(path, f"diverged_step = {step!r}", "the step at which the trial diverged")
    spec = _table(content, "spec", path)
    notes = content.get("notes") or ()
    return TrialRecord(
        id=trial_id,
        arm=content["arm"],
        seed=seed,
        grid=grid,
        spec=spec,
        classes=_classes(content, spec),
        status=status,
        diverged_step=step if status == "diverged" else None,
        versions=_table(content, "versions", path),
        machine=_table(content, "machine", path),
        notes=(notes,) if isinstance(notes, str) else tuple(map(str, notes)),
        seconds=_seconds(content.get("seconds")),
    )


def check_version(version: object, path: str) -> None:
    """Refuse a trial of another store version.

    Raises:
        StoreError: it is another one.
    """
    if version != STORE_VERSION:
        raise StoreError(
            f"{path} has store version {version}",
            required=f"this bnkit reads version {STORE_VERSION}",
            remedy="Run the study again into another folder",
        )


def _table(content: Mapping[str, Any], name: str, path: str) -> dict[str, Any]:
    found = content.get(name)
    if found is None:
        return {}
    if not isinstance(found, dict):
        raise _wrong(path, f"{name} = {found!r}", "a JSON object")
    return dict(found)


def _classes(content: Mapping[str, Any], spec: Mapping[str, Any]) -> int | None:
    stated = content.get("classes")
    if isinstance(stated, int) and not isinstance(stated, bool) and stated > 0:
        return stated
    data = spec.get("data")
    return _CLASSES.get(str(data.get("name"))) if isinstance(data, dict) else None


def _seconds(stated: object) -> float:
    is_number = isinstance(stated, int | float) and not isinstance(stated, bool)
    return float(stated) if is_number else 0.0  # type: ignore[arg-type]


def _wrong(path: str, given: str, required: str) -> StoreError:
    return StoreError(
        f"cannot read {path} ({given})", required=required, remedy="Mend it, or run the study again"
    )
