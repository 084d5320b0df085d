"""Layers chosen by patterns of their paths."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from difflib import get_close_matches
from fnmatch import fnmatchcase

from torch import nn

from bnkit.errors import ArgumentTypeError, RewriteError

Patterns = str | Sequence[str]
_SHOWN = 3


def chosen_layers(
    model: nn.Module,
    patterns: Patterns | None,
    is_eligible: Callable[[nn.Module], bool],
    what: str,
) -> dict[str, nn.Module]:
    """Return path → module for the eligible modules that a pattern names, each module once.

    A pattern is a path with `*`, `?` and `[…]` as in file names, where `*` crosses dots; it names a
    module, or one that holds it: "layer1" names all in `layer1`.

    Args:
        model: any module.
        patterns: one or several; None for all.
        is_eligible: whether a module can be chosen.
        what: what such modules are called, such as "batch norm".

    Raises:
        ArgumentTypeError: a pattern is no text.
        RewriteError: there is no eligible module, or none of them has a path that a pattern names.
    """
    every = {path: module for path, module in model.named_modules() if is_eligible(module)}
    if not every:
        raise RewriteError(f"the network has no {what}")
    if patterns is None:
        return every
    given = [patterns] if isinstance(patterns, str) else list(patterns)
    for pattern in given:
        if not isinstance(pattern, str):
            raise ArgumentTypeError(
                f"a pattern of layers is a {type(pattern).__name__}",
                required='the path of a layer, or a pattern such as "layer1.*"',
            )
        if not any(matches(path, pattern) for path in every):
            raise _no_match(pattern, every, what)
    return {path: m for path, m in every.items() if any(matches(path, p) for p in given)}


def matches(path: str, pattern: str) -> bool:
    """Return whether a pattern names a path, or a module that holds it."""
    parts = path.split(".")
    return any(fnmatchcase(".".join(parts[:end]), pattern) for end in range(1, len(parts) + 1))


def _no_match(pattern: str, paths: Iterable[str], what: str) -> RewriteError:
    known = list(paths)
    near = get_close_matches(pattern, known, n=_SHOWN, cutoff=0.0)
    return RewriteError(
        f"the pattern {pattern!r} names no {what}",
        required=f"the path of one of {len(known)}, or a pattern such as 'layer1.*'",
        remedy=f"The nearest are {', '.join(near)}",
    )
