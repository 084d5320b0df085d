"""The norms an arm can have, by name; imports no torch."""

from __future__ import annotations

from difflib import get_close_matches

from bnkit.errors import StudyError

NORMS = {
    "batch": "the network as given",
    "none": "its batch norms removed, a zero bias given to feeding layers that have none",
}


def check_norm(name: str, where: str) -> None:
    """Raise `StudyError` unless an arm can have this norm."""
    if name not in NORMS:
        near = get_close_matches(name, NORMS, n=1)
        raise StudyError(
            f"norm = {name!r}",
            required=f"one of {', '.join(NORMS)}",
            remedy=f"Did you mean {near[0]!r}?" if near else "",
            where=where,
        )
