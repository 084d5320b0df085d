"""Who sees the output of a layer beside the calls of a trace: hooks, and whoever keeps it."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from bnkit.inspection.nested_tensors import tensors_in
from bnkit.inspection.preserve import preserve
from bnkit.inspection.trace import Example, as_call, uncompiled
from bnkit.rewrite.fold_obstacles import has_hooks


def outputs_seen_elsewhere(
    model: nn.Module, example: Example, layers: Mapping[str, nn.Module]
) -> dict[str, str]:
    """Return path → who sees a layer's output, as a clause, for the layers where somebody does.

    A hook on another module, such as one that holds the layer, sees it where that module takes or
    returns it. Somebody keeps it where it is still there after the forward: an attribute, a list,
    a closure.

    Args:
        model: the network, which is left as it was.
        example: what its forward takes.
        layers: path → layers whose output is a tensor.

    Cost: a forward in eval mode.
    """
    alive: dict[str, weakref.ref[Tensor]] = {}
    found: dict[str, str] = {}
    handles: list[RemovableHandle] = []

    def note(path: str) -> Callable[..., None]:
        def hook(_: nn.Module, __: Any, output: Any) -> None:
            if isinstance(output, Tensor):
                alive[path] = weakref.ref(output)

        return hook

    def look(hooked: str) -> Callable[..., None]:
        def hook(_: nn.Module, *values: Any) -> None:
            seen = {id(tensor) for tensor in tensors_in(values)}
            for path, reference in alive.items():
                tensor = reference()
                if tensor is not None and id(tensor) in seen:
                    found[path] = f"a hook on {hooked or 'the model'} sees the output of {path}"

        return hook

    with preserve(model, example), torch.no_grad(), uncompiled():
        model.eval()
        hooked = {path: module for path, module in model.named_modules() if has_hooks(module)}
        try:
            # In front of the user's hooks, which may put something else in the output's place.
            for path, layer in layers.items():
                handles.append(layer.register_forward_hook(note(path), prepend=True))
            for path, module in hooked.items():
                taking = module.register_forward_pre_hook(
                    look(path), prepend=True, with_kwargs=True
                )
                handles += [taking, module.register_forward_hook(look(path), prepend=True)]
            args, kwargs = as_call(example)
            model(*args, **kwargs)
            if any(reference() is not None for reference in alive.values()):
                gc.collect()  # what only a cycle holds, nobody sees
            for path, reference in alive.items():
                if reference() is not None:
                    found.setdefault(path, f"the output of {path} is kept after the forward")
        finally:
            for handle in handles:
                handle.remove()
    return found
