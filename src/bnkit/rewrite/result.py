"""What a rewrite returns: the changed model, the account of the changes, and the way back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from torch import nn

# From so many layers on, those of which the same is said are printed in one line.
_MANY = 5


@dataclass(frozen=True)
class Change:
    """One thing that a rewrite did.

    Attributes:
        path: path of the layer; empty for the model itself.
        what: what was done to it, in words.
    """

    path: str
    what: str


@dataclass(frozen=True)
class Skipped:
    """One thing that a rewrite did not do, or could not know, with the reason.

    Attributes:
        path: path of the layer that it concerns; empty for the model itself.
        reason: what was not done and why, in words.
    """

    path: str
    reason: str


@dataclass
class Rewrite:
    """A changed model with the account of how it was changed.

    Attributes:
        model: the changed model: a copy, or the given one if it was changed in place.
        changes: what was done, in order.
        skipped: what was left undone, each with its reason.
        difference: largest absolute difference between the tensors in the outputs before and after,
            in eval mode on the example; NaN if a NaN is among them; None if there are no tensors.
    """

    model: nn.Module
    changes: list[Change] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)
    difference: float | None = None
    _reversals: list[Callable[[], None]] = field(default_factory=list, repr=False)

    def undo(self) -> nn.Module:
        """Turn `.model` back into what it was, and return it; a second call changes nothing."""
        while self._reversals:
            self._reversals.pop()()
        return self.model

    def __str__(self) -> str:
        lines = _lines([(change.path, change.what) for change in self.changes])
        lines += _lines([(item.path, f"skipped, {item.reason}") for item in self.skipped])
        if self.difference is not None:
            lines.append(f"largest output difference in eval mode: {self.difference:.3g}")
        return "\n".join(lines) or "nothing to change"


def _lines(account: Sequence[tuple[str, str]]) -> list[str]:
    """Return a line for each path and what is said of it; one line for many of the same."""
    paths: dict[str, list[str]] = {}
    for path, text in account:
        paths.setdefault(text, []).append(path or "(model)")
    lines = []
    for text, named in paths.items():
        if len(named) < _MANY:
            lines += [f"{path}: {text}" for path in named]
        else:
            lines.append(f"{named[0]}, {named[1]}, … {named[-1]} ({len(named)} layers): {text}")
    return lines
