"""Which rewrites a model has been through, so that a file replays them all.

It is kept beside the model and not on it: a copy that somebody else makes has none.
"""

from __future__ import annotations

from dataclasses import dataclass
from weakref import WeakKeyDictionary

from torch import nn

from bnkit.rewrite.steps import Step


@dataclass(frozen=True)
class Past:
    """One rewrite that a model has been through.

    Attributes:
        name: of the rewrite.
        steps: its changes of structure; None if they cannot be replayed.
        changes: path and words of each change.
    """

    name: str
    steps: tuple[Step, ...] | None
    changes: tuple[tuple[str, str], ...]


_PASTS: WeakKeyDictionary[nn.Module, tuple[Past, ...]] = WeakKeyDictionary()


def past_of(model: nn.Module) -> tuple[Past, ...]:
    """Return the rewrites that a model has been through, the first one first."""
    return _PASTS.get(model, ())


def remember(model: nn.Module, past: tuple[Past, ...]) -> None:
    """Note which rewrites a model has been through."""
    if past:
        _PASTS[model] = past
    else:
        _PASTS.pop(model, None)
