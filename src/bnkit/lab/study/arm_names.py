"""The norms an arm can have, by name; imports no torch."""

from __future__ import annotations

from bnkit.errors import StudyError, did_you_mean

NORMS = {
    "batch": "the network as given",
    "none": "its batch norms removed, a zero bias given to feeding layers that have none",
}


def check_norm(name: str, where: str) -> None:
    """Raise `StudyError` unless an arm can have this norm."""
    if name not in NORMS:
        raise StudyError(
            f"norm = {name!r}",
            required=f"one of {', '.join(NORMS)}",
            remedy=did_you_mean(name, NORMS),
            where=where,
        )
