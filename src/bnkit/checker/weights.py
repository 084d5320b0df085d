"""Weights from a file into a model: safetensors, or torch's format without code; nothing else."""

from __future__ import annotations

import pickle
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from bnkit.errors import CheckError

# Keys under which training scripts store the weights among other things.
_WITHIN = ("state_dict", "model_state_dict", "model", "module")
_PREFIX = "module."
_SHOWN = 5


def load_weights(model: nn.Module, file: Path) -> None:
    """Load a file's weights into a model.

    A counter of batches may be missing, as in files from before it existed.

    Raises:
        CheckError: the file cannot be read, holds code, or does not fit the model.
    """
    weights = _without_prefix(_read(file), model)
    own = model.state_dict()
    missing = [key for key in own if key not in weights and not key.endswith("batches_tracked")]
    unknown = [key for key in weights if key not in own]
    shapes = [
        f"{key} ({tuple(weights[key].shape)}, in the model {tuple(own[key].shape)})"
        for key in own
        if key in weights and weights[key].shape != own[key].shape
    ]
    problems = [
        f"{words} {_listed(keys)}"
        for words, keys in (("lacks", missing), ("adds", unknown), ("has another shape of", shapes))
        if keys
    ]
    if problems:
        raise CheckError(
            f"the weights do not fit the model: the file {'; it '.join(problems)}",
            required="the same keys with the same shapes",
            where=str(file),
        )
    model.load_state_dict(weights, strict=False)


def _read(file: Path) -> dict[str, Tensor]:
    if not file.is_file():
        raise CheckError("there is no such file", where=str(file))
    content: Any
    try:
        if file.suffix == ".safetensors":
            from safetensors.torch import load_file

            content = load_file(file)
        else:
            content = torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise CheckError(
            "holds more than tensors, and reading it would run code, or it is damaged",
            required="weights are read as safetensors or with torch.load(weights_only=True)",
            remedy="Save model.state_dict() alone",
            where=str(file),
        ) from error
    except Exception as error:
        is_empty = file.is_file() and file.stat().st_size == 0
        raise CheckError(
            "is empty" if is_empty else f"cannot be read as weights: {_first_line(error)}",
            required="a .safetensors file, or what torch.save(model.state_dict()) writes",
            where=str(file),
        ) from error
    return _tensors(content, file)


def _tensors(content: Any, file: Path) -> dict[str, Tensor]:
    for key in ("", *_WITHIN):
        found = content if not key else content.get(key)
        if isinstance(found, Mapping) and any(isinstance(v, Tensor) for v in found.values()):
            return {str(name): v for name, v in found.items() if isinstance(v, Tensor)}
        if not isinstance(content, Mapping):
            break
    raise CheckError(
        f"holds a {type(content).__name__} without weights",
        required=f"a state_dict, or one under {', '.join(_WITHIN)}",
        where=str(file),
    )


def _without_prefix(weights: dict[str, Tensor], model: nn.Module) -> dict[str, Tensor]:
    """Return weights of a wrapped model for the model alone."""
    is_wrapped = all(key.startswith(_PREFIX) for key in weights)
    if not is_wrapped or any(key.startswith(_PREFIX) for key in model.state_dict()):
        return weights
    return {key.removeprefix(_PREFIX): value for key, value in weights.items()}


def _listed(items: Sequence[str]) -> str:
    rest = len(items) - _SHOWN
    return ", ".join(items[:_SHOWN]) + (f" and {rest} more" if rest > 0 else "")


def _first_line(error: BaseException) -> str:
    return str(error).strip().split("\n", 1)[0]
