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

    A shared module has several paths; it is returned under the first, by whichever it is named.

    A pattern is a path with `*`, `?` and `[…]` as in file names, where `*` crosses dots; it names a
    module, or one that holds it: "layer1" names all in `layer1`.

    Args:
        model: any module.
        patterns: one or several; None for all.
        is_eligible: whether a module can be chosen.
        what: what such modules are called, such as "batch norm".

    Raises:
        ArgumentTypeError: a pattern is no text, or there is none.
        RewriteError: there is no eligible module, or none of them has a path that a pattern names.
    """
    paths = _paths_by_module(model, is_eligible)
    if not paths:
        raise RewriteError(f"the network has no {what}")
    modules = {named[0]: module for module, named in paths.items()}
    if patterns is None:
        return modules
    given = _as_list(patterns)
    known = [path for named in paths.values() for path in named]
    for pattern in given:
        if not any(matches(path, pattern) for path in known):
            raise _no_match(pattern, known, what)
    return {
        named[0]: module
        for module, named in paths.items()
        if any(matches(path, pattern) for path in named for pattern in given)
    }


def _paths_by_module(
    model: nn.Module, is_eligible: Callable[[nn.Module], bool]
) -> dict[nn.Module, list[str]]:
    found: dict[nn.Module, list[str]] = {}
    for path, module in model.named_modules(remove_duplicate=False):
        if is_eligible(module):
            found.setdefault(module, []).append(path)
    return found


def _as_list(patterns: Patterns) -> list[str]:
    given = [patterns] if isinstance(patterns, str) else patterns
    if not isinstance(given, Sequence) or not given or not all(isinstance(p, str) for p in given):
        raise ArgumentTypeError(
            f"layers is {patterns!r}",
            required='the path of a layer, a pattern such as "layer1.*", or a list of them',
        )
    return list(given)


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
