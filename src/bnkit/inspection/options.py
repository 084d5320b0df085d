"""The settings of modules and the arguments of functions, as plain data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from bnkit.inspection.facts.model import Scalar

# What rules ask modules for.
_SETTINGS = (
    "p", "inplace", "kernel_size", "stride", "padding", "padding_mode", "output_padding",
    "dilation", "groups", "in_channels", "out_channels", "in_features", "out_features",
    "batch_first", "bidirectional", "hidden_size", "num_layers", "dropout", "dim", "start_dim",
    "end_dim", "num_groups", "normalized_shape", "output_size", "embedding_dim",
)  # fmt: skip


def module_options(module: nn.Module) -> dict[str, Scalar]:
    """Return the settings of a module that rules ask for, those that it has."""
    held = {name: vars(module)[name] for name in _SETTINGS if name in vars(module)}
    return {name: as_scalar(value) for name, value in held.items() if is_scalar(value)}


def call_options(args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Scalar]:
    """Return a function's arguments that are plain values: by name, else by position."""
    found: dict[str, Scalar] = {}
    for position, value in enumerate(args):
        if is_scalar(value):
            found[str(position)] = as_scalar(value)
    for name, value in kwargs.items():
        if is_scalar(value):
            found[name] = as_scalar(value)
    return found


def is_scalar(value: Any) -> bool:
    """Return whether a value is plain: a number, a string, None, a dtype, or a tuple of numbers."""
    if isinstance(value, tuple | list):
        return all(isinstance(item, bool | int | float | str) for item in value)
    return value is None or isinstance(value, bool | int | float | str | torch.dtype)


def as_scalar(value: Any) -> Scalar:
    """Return a plain value as JSON has it, lists and sizes as tuples."""
    if isinstance(value, tuple | list):
        return tuple(value)
    if isinstance(value, torch.dtype):
        return dtype_name(value)
    plain: Scalar = value
    return plain


def dtype_name(dtype: torch.dtype) -> str:
    """Return "float32" for `torch.float32`."""
    return str(dtype).removeprefix("torch.")
