"""What rewrites refuse before anything runs: unusable arguments, and TorchScript."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from bnkit.errors import ArgumentError, RewriteError
from bnkit.inspection.nested_tensors import tensors_in


def refuse_unusable(name: str, model: Any, example: Any, layers: Any, seen: str) -> None:
    """Raise if one of the arguments of a rewrite cannot be used whatever the network is.

    Args:
        name: of the rewrite, such as "fold".
        model: what must be a network.
        example: what must hold samples.
        layers: patterns; None for all.
        seen: what a run on the example shows, as a sentence.

    Raises:
        ArgumentError: the model is none; there is no example, or it holds no values; a sequence of
            patterns is empty.
    """
    if example is None:
        raise ArgumentError(
            f"{name} got no example",
            required=seen,
            remedy="Give example_args, an input of the shape and dtype it takes",
        )
    if not isinstance(model, nn.Module):
        what = (
            f"the class {model.__name__}"
            if isinstance(model, type)
            else f"a {type(model).__name__}"
        )
        is_class = isinstance(model, type) and issubclass(model, nn.Module)
        raise ArgumentError(
            f"model is {what}",
            required="a torch.nn.Module",
            remedy=f"Give a network, such as {model.__name__}()" if is_class else "",
        )
    tensors = tensors_in(example)
    if tensors and not any(tensor.numel() for tensor in tensors):
        shapes = ", ".join(str(tuple(tensor.shape)) for tensor in tensors)
        raise ArgumentError(
            f"{name} got an example without samples, of shape {shapes}",
            required="at least one sample: what the rewrite did is proved on its outputs",
            remedy="Give an input with values, such as those of one batch",
        )
    if layers is not None and not isinstance(layers, str) and _is_empty(layers):
        raise ArgumentError(
            f"layers={layers!r} holds no pattern",
            required='at least one path or pattern, such as "layer1.*"',
            remedy="Leave layers out to choose all",
        )


def refuse_scripted(
    model: nn.Module,
    required: str,
    remedy: str = "Give the network as it was before torch.jit.script or torch.jit.trace",
) -> None:
    """Raise if a part of a network is TorchScript.

    Args:
        model: any module.
        required: what cannot be done with it, as a clause.
        remedy: what to do, as a sentence.

    Raises:
        RewriteError: it is; the message names the part.
    """
    for path, module in model.named_modules():
        if isinstance(module, torch.jit.ScriptModule):
            raise RewriteError(
                "is TorchScript", required=required, remedy=remedy, where=path or "(model)"
            )


def _is_empty(layers: Any) -> bool:
    try:
        return len(layers) == 0
    except TypeError:
        return False
