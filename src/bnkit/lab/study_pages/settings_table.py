"""A study's settings as rows: dotted key → text, and what differs between two of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from bnkit.lab.report.trial_groups import setting_text
from bnkit.lab.study_pages.private_text import without_paths

_TABLES = ("data", "network", "training", "grid")
ABSENT = "–"
PRESENT = "has it"


class Difference(NamedTuple):
    """A setting that a result was run with, and what the catalogue says of it."""

    key: str
    run: str
    catalogue: str


def setting_rows(settings: Mapping[str, Any]) -> dict[str, str]:
    """Return dotted key → value as text, of the tables that every arm shares."""
    return {
        key: value_text(value)
        for table in _TABLES
        for key, value in _flat(settings.get(table) or {}, table).items()
    }


def table_of(key: str) -> int:
    """Return the place of a dotted key's table among the tables."""
    return _TABLES.index(key.partition(".")[0])


def arm_rows(arm: Mapping[str, Any]) -> dict[str, str]:
    """Return what an arm sets beside its norm, dotted key → value as text."""
    return {key: value_text(value) for key, value in _flat(arm).items() if key != "norm"}


def differences(run: Mapping[str, Any], catalogue: Mapping[str, Any]) -> list[Difference]:
    """Return the settings that a result was run with and that the catalogue's file has otherwise.

    Arms, claims and probes count; wording does not. One that only one side has is one difference.
    """
    theirs, ours = _named_parts(run), _named_parts(catalogue)
    found: list[Difference] = []
    for name in dict.fromkeys([*theirs, *ours]):
        if name and (name not in theirs or name not in ours):
            said = (PRESENT if name in theirs else ABSENT, PRESENT if name in ours else ABSENT)
            found.append(Difference(name, *said))
            continue
        left, right = theirs.get(name, {}), ours.get(name, {})
        found += [
            Difference(
                f"{name}.{key}" if name else key, left.get(key, ABSENT), right.get(key, ABSENT)
            )
            for key in dict.fromkeys([*left, *right])
            if left.get(key) != right.get(key)
        ]
    return found


def value_text(value: Any) -> str:
    """Return a value as it stands in a table; a list without brackets."""
    if isinstance(value, list | tuple):
        return ", ".join(setting_text(item) for item in value)
    return setting_text(value)


def _named_parts(settings: Mapping[str, Any]) -> dict[str, dict[str, str]]:
    """Return "arms.NAME", "claims.ID", "probes.KIND" → its rows; "" → those that arms share."""
    public = without_paths(dict(settings))
    parts = {"": setting_rows(public)}
    named = {
        "arms": dict(public.get("arms") or {}),
        "claims": {claim["id"]: _without_wording(claim) for claim in public.get("claims") or []},
        "probes": {probe["kind"]: probe for probe in public.get("probes") or []},
    }
    for table, content in named.items():
        for name, own in content.items():
            rows = {key: value_text(value) for key, value in _flat(own).items()}
            parts[f"{table}.{name}"] = rows
    return parts


def _without_wording(claim: Mapping[str, Any]) -> dict[str, Any]:
    return {
        key: value
        for key, value in claim.items()
        if key not in ("id", "text", "published", "published_outcome")
    }


def _flat(table: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return leaves by dotted key; a table without keys is a leaf of no value and is left out."""
    found: dict[str, Any] = {}
    for key, value in table.items():
        name = f"{prefix}.{key}" if prefix else str(key)
        if isinstance(value, Mapping):
            found |= _flat(value, name)
        elif value is not None:
            found[name] = value
    return found
