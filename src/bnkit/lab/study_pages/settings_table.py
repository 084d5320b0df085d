"""A study's settings as rows: dotted key → text, and what differs between two of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from bnkit.lab.report.trial_groups import setting_text
from bnkit.lab.study_pages.private_text import without_paths

_TABLES = ("data", "network", "training", "grid")
ABSENT = "–"


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

    Arms, claims and probes count; wording does not.
    """
    theirs, ours = _all_rows(run), _all_rows(catalogue)
    return [
        Difference(key, theirs.get(key, ABSENT), ours.get(key, ABSENT))
        for key in dict.fromkeys([*theirs, *ours])
        if theirs.get(key) != ours.get(key)
    ]


def value_text(value: Any) -> str:
    """Return a value as it stands in a table; a list without brackets."""
    if isinstance(value, list | tuple):
        return ", ".join(setting_text(item) for item in value)
    return setting_text(value)


def _all_rows(settings: Mapping[str, Any]) -> dict[str, str]:
    public = without_paths(dict(settings))
    claims = {claim["id"]: _without_wording(claim) for claim in public.get("claims") or []}
    probes = {probe["kind"]: probe for probe in public.get("probes") or []}
    others = {"arms": public.get("arms"), "claims": claims, "probes": probes}
    return setting_rows(public) | {
        key: value_text(value)
        for table, content in others.items()
        for key, value in _flat(content or {}, table).items()
    }


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
