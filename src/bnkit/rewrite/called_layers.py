"""Which modules that should no longer run are called all the same."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from torch import nn


@contextmanager
def calls_noted(layers: Mapping[nn.Module, str]) -> Iterator[set[str]]:
    """Give the set of names of those of some modules that are called while the context is open.

    A module that was replaced may still run where something that is no module holds it too: a
    list, an attribute of another object, a closure. The outputs need not show it. The modules run
    as before; hooks would not do, since they may be those of the module in their place.

    Args:
        layers: module → what its call is noted as.
    """
    ran: set[str] = set()
    former = {module: vars(module).get("forward") for module in layers}
    for module, name in layers.items():
        vars(module)["forward"] = _noting(ran, name, module.forward)
    try:
        yield ran
    finally:
        for module, forward in former.items():
            del vars(module)["forward"]
            if forward is not None:
                vars(module)["forward"] = forward


def _noting(ran: set[str], name: str, forward: Callable[..., Any]) -> Callable[..., Any]:
    def noting(*args: Any, **kwargs: Any) -> Any:
        ran.add(name)
        return forward(*args, **kwargs)

    return noting
