"""What the ranks of a process group found, brought together on all of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from torch import distributed

from bnkit.errors import RewriteError

T = TypeVar("T")


def is_grouped() -> bool:
    """Return whether there is a process group of more than one rank."""
    return (
        distributed.is_available()
        and distributed.is_initialized()
        and distributed.get_world_size() > 1
    )


def on_all_ranks(find: Callable[[], T]) -> list[T]:
    """Call a function and return what it returned on each rank; without a group, here alone.

    If it raises on one rank, it raises there, and a RewriteError on the others: none waits for one
    that has given up.

    Raises:
        RewriteError: it raised on another rank.
    """
    if not is_grouped():
        return [find()]
    found: T | None = None
    failure: Exception | None = None
    try:
        found = find()
    except Exception as error:
        failure = error
    text = None if failure is None else f"{type(failure).__name__}: {failure}"
    shared: list[Any] = [None] * distributed.get_world_size()
    distributed.all_gather_object(shared, (text, found))
    if failure is not None:
        raise failure
    for rank, (reason, _) in enumerate(shared):
        if reason is not None:
            raise RewriteError(f"rank {rank} failed: {reason}")
    return [value for _, value in shared]
