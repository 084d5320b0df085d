"""Keyword arguments of a module's call in the order in which its forward names them."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any


def in_call_order(forward: Callable[..., Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """Return keyword arguments as a module's forward names them, others behind them.

    `norm(residual=r, input=x)` then gives what `norm(x, r)` gives: the input first.
    """
    if len(kwargs) < 2:
        return dict(kwargs)
    names = _parameters_of(getattr(forward, "__func__", forward))
    known = [name for name in names if name in kwargs]
    return {name: kwargs[name] for name in [*known, *(key for key in kwargs if key not in names)]}


@lru_cache(maxsize=1024)
def _parameters_of(forward: Callable[..., Any]) -> tuple[str, ...]:
    try:
        return tuple(inspect.signature(forward).parameters)
    except (TypeError, ValueError):  # compiled code has no signature
        return ()
