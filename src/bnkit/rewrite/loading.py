"""`load`: a rewrite from a file, replayed on a fresh model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from bnkit.errors import ArgumentTypeError, RewriteError
from bnkit.rewrite.model_copy import copied
from bnkit.rewrite.result import Change, Rewrite
from bnkit.rewrite.saving import (
    CHANGES,
    FORMAT,
    FORMAT_VERSION,
    KINDS,
    NAME,
    STEPS,
    TIED,
    as_path,
    kinds_of,
)
from bnkit.rewrite.steps import from_json, replay

_SHOWN = 5


def load(model: nn.Module, file: str | Path) -> Rewrite:
    """Replay the changes that a file holds on a fresh model, and load its weights.

    Reading runs no code of the file's author: changes are plain data, and only types of bnkit's
    list are built. The model is changed in place, as by `load_state_dict`; if the file does not fit
    it, it is left as it was.

    Args:
        model: as its builder returns it; its weights do not matter.
        file: what `Rewrite.save` wrote, `.safetensors`.

    Returns:
        A rewrite whose `.model` is the model, and whose `.changes` are those of the one saved. It
        cannot be undone.

    Raises:
        ArgumentTypeError: `model` is no module.
        RewriteError: the file is missing, is none of `Rewrite.save`, or fits another model.

    Cost: reads the file, and copies the model.
    """
    if not isinstance(model, nn.Module):
        raise ArgumentTypeError(
            f"model is a {type(model).__name__}", required="a torch.nn.Module, freshly built"
        )
    path = as_path(file)
    metadata, tensors = _read(path)
    # On a copy first: a file that does not fit leaves the model as it was.
    _replay_all(copied(model), metadata, tensors, path)
    return _replay_all(model, metadata, tensors, path)


def _read(path: Path) -> tuple[dict[str, str], dict[str, Tensor]]:
    from safetensors import safe_open

    if not path.is_file():
        raise RewriteError("there is no such file", where=str(path))
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    except Exception as error:
        raise RewriteError(
            f"cannot be read: {str(error).splitlines()[0]}",
            required="a .safetensors file that Rewrite.save wrote",
            where=str(path),
        ) from error
    if metadata.get(FORMAT) != FORMAT_VERSION:
        version = metadata.get(FORMAT)
        raise RewriteError(
            "holds no list of changes" if version is None else f"is of version {version}",
            required=f"a file that Rewrite.save wrote, of version {FORMAT_VERSION}",
            remedy="Weights alone are loaded with load_state_dict" if version is None else "",
            where=str(path),
        )
    try:
        for key, first in json.loads(metadata[TIED]).items():
            tensors[key] = tensors[first]
        from_json(metadata[STEPS])
        [Change(*item) for item in json.loads(metadata[CHANGES])]
        dict(json.loads(metadata[KINDS]))
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise RewriteError(
            f"its metadata are damaged: {type(error).__name__} {error}",
            required="a file that Rewrite.save wrote",
            where=str(path),
        ) from error
    return metadata, tensors


def _replay_all(
    model: nn.Module, metadata: dict[str, str], tensors: dict[str, Tensor], path: Path
) -> Rewrite:
    steps = from_json(metadata[STEPS])
    for step in steps:
        model = replay(model, step)
    _refuse_misfit(model, tensors, path)
    _refuse_other_kinds(model, json.loads(metadata[KINDS]), path)
    model.load_state_dict(tensors)
    changes = [Change(*item) for item in json.loads(metadata[CHANGES])]
    rewrite = Rewrite(model, changes, name=metadata.get(NAME, ""), steps=steps)
    rewrite._finish()
    return rewrite


def _refuse_misfit(model: nn.Module, tensors: dict[str, Tensor], path: Path) -> None:
    own: dict[str, Any] = model.state_dict()
    problems = {
        "lacks": [key for key in own if key not in tensors],
        "adds": [key for key in tensors if key not in own],
        "has another shape of": [
            f"{key} ({tuple(tensors[key].shape)}, in the model {tuple(own[key].shape)})"
            for key in own
            if key in tensors and tensors[key].shape != own[key].shape
        ],
        "has another dtype of": [
            f"{key} ({tensors[key].dtype}, in the model {own[key].dtype})"
            for key in own
            if key in tensors and tensors[key].dtype != own[key].dtype
        ],
    }
    found = [f"{words} {_listed(keys)}" for words, keys in problems.items() if keys]
    if found:
        raise RewriteError(
            f"the file does not fit the model: it {'; it '.join(found)}",
            required="the model that the rewrite was given, as its builder returns it",
            remedy="Build the model with the same arguments, in the same dtype; if it had been "
            "changed before in another way than by a rewrite, change it so first",
            where=str(path),
        )


def _refuse_other_kinds(model: nn.Module, kinds: dict[str, str], path: Path) -> None:
    own = kinds_of(model)
    found = [
        f"{place} ({kind}, in the model {own.get(place, 'none of those')})"
        for place, kind in kinds.items()
        if own.get(place) != kind
    ]
    if found:
        raise RewriteError(
            f"the file does not fit the model: it has another kind of layer at {_listed(found)}",
            required="the model that the rewrite was given",
            remedy="If it had been changed before, by a rewrite in another process or on a copy "
            "made since, load that file first, or change it so",
            where=str(path),
        )


def _listed(keys: list[str]) -> str:
    rest = len(keys) - _SHOWN
    return ", ".join(keys[:_SHOWN]) + (f" and {rest} more" if rest > 0 else "")
