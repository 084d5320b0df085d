"""Where a model holds a module, and putting another in all of those places."""

from __future__ import annotations

from collections.abc import Mapping

from torch import nn


def slots_of(model: nn.Module, module: nn.Module) -> list[tuple[nn.Module, str]]:
    """Return (parent, name) for each place at which a model has a module registered."""
    return [
        (parent, name)
        for parent in model.modules()
        for name, child in parent._modules.items()
        if child is module
    ]


def put_module(model: nn.Module, old: nn.Module, new: nn.Module) -> nn.Module:
    """Put a module in all places of another, and return the model: the new one if that was it."""
    for parent, name in slots_of(model, old):
        parent._modules[name] = new
    return new if model is old else model


def path_of(model: nn.Module, module: nn.Module) -> str:
    """Return the path that `named_modules` gives a module of the model."""
    paths: dict[int, str] = {id(known): path for path, known in model.named_modules()}
    return paths[id(module)]


def sequential(parts: Mapping[str, nn.Module], training: bool) -> nn.Sequential:
    """Return a Sequential of named modules, itself in a mode, which stay in theirs."""
    pair = nn.Sequential()
    for name, part in parts.items():
        pair.add_module(name, part)
    pair.training = training
    return pair
