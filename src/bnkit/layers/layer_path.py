"""The path of a layer within the model that is running, for error messages."""

from __future__ import annotations

import sys
from types import FrameType

from torch import nn


def layer_path(layer: nn.Module) -> str:
    """Return the path of a layer in the outermost module whose `forward` is running.

    Walks up the Python call stack, so it costs time: only for messages. A layer that is called on
    its own, or that no running module has registered, is named by its class.
    """
    path = ""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        owner = frame.f_locals.get("self")
        if isinstance(owner, nn.Module) and owner is not layer:
            path = _path_within(owner, layer) or path
        frame = frame.f_back
    return path or type(layer).__name__


def _path_within(owner: nn.Module, layer: nn.Module) -> str | None:
    for name, module in owner.named_modules():
        if module is layer:
            # torch.compile wraps a model in a module that holds it as _orig_mod.
            return ".".join(part for part in name.split(".") if part != "_orig_mod")
    return None
