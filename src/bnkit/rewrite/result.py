"""What a rewrite returns: the changed model, the account of the changes, and the way back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from torch import nn

if TYPE_CHECKING:
    from pathlib import Path

    from bnkit.inspection.trace import Example
    from bnkit.rewrite.history import Past
    from bnkit.rewrite.steps import Step

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

    It can be copied and pickled with its model, and undone afterwards.

    Attributes:
        model: the changed model: a copy, or the given one if it was changed in place.
        changes: what was done, in order.
        skipped: what was left undone, each with its reason.
        difference: largest absolute difference between the tensors in the outputs before and after,
            in eval mode on the example; NaN if a NaN is among them; None if there are no tensors,
            or no example.
        relative_difference: the same, each tensor's in units of its largest value before.
        added_keys: keys that the model's `state_dict` has gained.
        removed_keys: keys that it has lost.
        name: the function that made it, such as "fold".
        notes: what is to be known of the whole, as sentences, such as a cost.
        steps: the changes of the model's structure, for `save`; None if they cannot be replayed.
    """

    model: nn.Module
    changes: list[Change] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)
    difference: float | None = None
    relative_difference: float | None = None
    added_keys: tuple[str, ...] = ()
    removed_keys: tuple[str, ...] = ()
    name: str = ""
    notes: list[str] = field(default_factory=list)
    steps: list[Step] | None = field(default=None, repr=False)
    _reversals: list[Callable[[], None]] = field(default_factory=list, repr=False)
    _earlier: tuple[Past, ...] = field(default=(), repr=False)
    _is_undone: bool = field(default=False, repr=False)

    def undo(self) -> nn.Module:
        """Turn `.model` back into what it was, and return it; a second call changes nothing."""
        from bnkit.rewrite.history import remember

        if self._reversals:
            changed = self.model
            self._reverse()
            self._is_undone = True
            remember(changed, ())
            remember(self.model, self._earlier)
        return self.model

    def _reverse(self) -> None:
        while self._reversals:
            self._reversals.pop()()

    def _past(self) -> tuple[Past, ...]:
        """Return the rewrites that the model has been through, this one included."""
        from bnkit.rewrite.history import Past

        if self._is_undone:
            return self._earlier
        steps = None if self.steps is None else tuple(self.steps)
        changes = tuple((change.path, change.what) for change in self.changes)
        return (*self._earlier, Past(self.name, steps, changes))

    def _finish(self) -> None:
        """Note that the model has been through this rewrite."""
        from bnkit.rewrite.history import remember

        remember(self.model, self._past())

    def save(self, file: str | Path, example_args: Example | None = None) -> None:
        """Write the changed model to a file, whole or not at all.

        Rewrites that the model had been through before are replayed too.

        Args:
            file: `.safetensors`: weights and the list of changes, which `bnkit.load` replays on a
                fresh model; or `.pt2`: a program of `torch.export`, in eval mode.
            example_args: what `.pt2` is exported with; not needed for `.safetensors`.

        Raises:
            RewriteError: another ending; changes that cannot be replayed; no example for an
                export, or the model cannot be exported.
            StoreError: the file cannot be written.
        """
        from bnkit.rewrite.saving import as_path, save

        save(self, as_path(file), example_args)

    def report(self) -> dict[str, Any]:
        """Return what this kind of rewrite says beyond the account, as values for JSON."""
        return {}

    def _repr_html_(self) -> str:
        from bnkit.rewrite.result_html import result_fragment

        return result_fragment(self)

    def __str__(self) -> str:
        lines = _lines([(change.path, change.what) for change in self.changes])
        lines += _lines([(item.path, f"skipped, {item.reason}") for item in self.skipped])
        lines += self._whole()
        return "\n".join([*(lines or ["nothing to change"]), *self._more()])

    def _whole(self) -> list[str]:
        """Return what is said of the model as a whole: notes, and the measured difference."""
        lines = [*self.notes]
        if self.difference is not None:
            line = f"largest output difference in eval mode: {self.difference:.3g}"
            if self.relative_difference is not None:
                line += f", {self.relative_difference:.3g} of the largest output"
            lines.append(line)
        return lines

    def _more(self) -> list[str]:
        """Return the lines that a kind of rewrite adds."""
        return []


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
