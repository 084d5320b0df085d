"""A network's name and arguments → a new module, built for the shape of the data."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from typing import Any

from torch import nn

from bnkit.errors import BnkitError, NetworkError
from bnkit.lab.networks.names import NETWORKS, unknown_network

Builder = Callable[..., nn.Module]


def named_builder(name: str) -> Builder:
    """Return the function that builds a network of bnkit.

    Raises:
        NetworkError: there is none of this name.
    """
    if name not in NETWORKS:
        raise unknown_network(name)
    module, _, attribute = NETWORKS[name].rpartition(":")
    builder: Builder = getattr(import_module(module), attribute)
    return builder


def build_network(
    builder: Builder,
    name: str,
    input_shape: Sequence[int],
    classes: int,
    args: Mapping[str, Any],
) -> nn.Module:
    """Call a builder and return the new module.

    The builder gets `input_shape=` (without the batch axis) and `classes=` if it takes them, and
    `args` in any case.

    Raises:
        NetworkError: the builder is a module and not a function, takes no such arguments, raises,
            or returns something that is not a module.
    """
    if isinstance(builder, nn.Module) or not callable(builder):
        raise NetworkError(
            f"is a {type(builder).__name__}, not a function",
            required="a study builds a new network for every trial, so it needs a function or "
            "class that returns one",
            remedy="Name the class, or a function such as `def build(input_shape, classes): …`",
            where=f"network {name}",
        )
    arguments = {**_offered(builder, input_shape, classes), **args}
    try:
        network = builder(**arguments)
    except BnkitError:
        raise
    except (Exception, SystemExit) as error:
        raise NetworkError(
            f"raised {type(error).__name__}: {error}",
            required=f"called with {_call_text(arguments)} it must return a module",
            remedy="Mend the function or network.args",
            where=f"network {name}",
        ) from error
    if not isinstance(network, nn.Module):
        raise NetworkError(
            f"returned a {type(network).__name__}",
            required="it must return a torch.nn.Module",
            where=f"network {name}",
        )
    return network


def _offered(builder: Builder, input_shape: Sequence[int], classes: int) -> dict[str, Any]:
    offered = {"input_shape": tuple(input_shape), "classes": classes}
    try:
        parameters = inspect.signature(builder).parameters
    except (TypeError, ValueError):
        return {}
    return {key: value for key, value in offered.items() if key in parameters}


def _call_text(arguments: Mapping[str, Any]) -> str:
    return ", ".join(f"{key}={value!r}" for key, value in arguments.items()) or "no arguments"
