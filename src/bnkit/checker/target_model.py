"""TARGET → a model, and --shape or --example → what its forward takes."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from bnkit.errors import BnkitError, CheckError, TargetError
from bnkit.inspection.private_package import own_words
from bnkit.inspection.target import load_target

_SHAPE = re.compile(r"(\d+(?:x\d+)*)(?::(\w+))?")


def load_model(target: str, folder: Path) -> nn.Module:
    """Return the model that a target names: a module, or what a function or class returns.

    Raises:
        TargetError: it cannot be imported, needs arguments, raises, or gives no module.
    """
    value = _called(target, load_target(target, folder), nn.Module)
    if not isinstance(value, nn.Module):
        raise TargetError(
            f"{target} gives an object of type {type(value).__name__}",
            required="a torch.nn.Module, or a function without arguments that returns one",
        )
    return value


def load_example(target: str, folder: Path) -> Any:
    """Return the example that a target names: a value, or what a function returns.

    Raises:
        TargetError: it cannot be imported, needs arguments, or raises.
    """
    return _called(target, load_target(target, folder), Tensor)


def random_example(model: nn.Module, shapes: Sequence[str]) -> tuple[Tensor, ...]:
    """Return a tensor per shape, such as "8x3x224x224" or "8x16:int64", on the model's device.

    Floating-point tensors are standard normal and of the model's dtype unless one is named; others
    are zero. The random state is not touched.

    Raises:
        CheckError: a shape or dtype cannot be read.
    """
    like = next((p for p in model.parameters() if p.dtype.is_floating_point), torch.zeros(()))
    generator = torch.Generator().manual_seed(0)
    found = []
    for text in shapes:
        match = _SHAPE.fullmatch(text.strip())
        dtype = getattr(torch, match[2], None) if match and match[2] else like.dtype
        if match is None or not isinstance(dtype, torch.dtype):
            raise CheckError(
                f"--shape {text}",
                required="sizes with x between them, such as 8x3x224x224, and a dtype if it is "
                "not the model's, such as 8x16:int64",
            )
        shape = [int(size) for size in match[1].split("x")]
        if dtype.is_floating_point:
            tensor = torch.randn(shape, generator=generator).to(dtype)
        else:
            tensor = torch.zeros(shape, dtype=dtype)
        found.append(tensor.to(like.device))
    return tuple(found)


def _called(target: str, value: Any, kind: type) -> Any:
    """Return a value as it is if it is of a kind, else what it returns if it can be called."""
    if isinstance(value, kind) or not callable(value):
        return value
    try:
        return value()
    except BnkitError:
        raise
    except (Exception, SystemExit) as error:
        raise TargetError(
            f"{target} raised {type(error).__name__}: {own_words(error)}",
            required="it is called without arguments",
            remedy="Name a function that calls it with what it needs, such as "
            f"`def build(): return {target.rpartition(':')[2]}(…)`",
        ) from error
