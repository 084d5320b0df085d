"""Who sees the output of a layer beside the calls of a trace: hooks, Python, whoever keeps it."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils.hooks import RemovableHandle

from bnkit.inspection.nested_tensors import tensors_in
from bnkit.inspection.preserve import preserve
from bnkit.inspection.trace import Example, as_call, uncompiled
from bnkit.rewrite.folding.fold_obstacles import has_hooks

# Functions that give values of a tensor away as something else than a tensor.
# fmt: off
_READING = {
    "numpy", "__array__", "tolist", "item", "__bool__", "__float__", "__int__", "__index__",
    "__complex__", "is_nonzero", "equal", "allclose", "__dlpack__", "data_ptr", "untyped_storage",
    "storage", "__contains__",
}
# fmt: on


def outputs_seen_elsewhere(
    model: nn.Module, example: Example, layers: Mapping[str, nn.Module]
) -> dict[str, str]:
    """Return path → who sees a layer's output, as a clause, for the layers where somebody does.

    A hook on another module, such as one that holds the layer, sees it where that module takes or
    returns it. Python sees it where it is turned into numbers or an array, which no later function
    of torch takes. Somebody keeps it where it is still there after the forward: an attribute, a
    list, a closure.

    Args:
        model: the network, which is left as it was.
        example: what its forward takes.
        layers: path → layers whose output is a tensor.

    Cost: a forward in eval mode.
    """
    outputs = _Outputs()
    with preserve(model, example), torch.no_grad(), uncompiled():
        model.eval()
        try:
            outputs.watch(model, layers)
            args, kwargs = as_call(example)
            with _Reading(outputs):
                model(*args, **kwargs)
            outputs.note_kept()
        finally:
            for handle in outputs.handles:
                handle.remove()
    return outputs.seen_by


class _Outputs:
    """The outputs of some layers while a network runs, and who sees them."""

    def __init__(self) -> None:
        self.seen_by: dict[str, str] = {}
        self.handles: list[RemovableHandle] = []
        self._alive: dict[str, weakref.ref[Tensor]] = {}

    def watch(self, model: nn.Module, layers: Mapping[str, nn.Module]) -> None:
        """Note what the layers return, and what modules with hooks take and return."""
        hooked = {path: module for path, module in model.named_modules() if has_hooks(module)}
        # In front of the user's hooks, which may put something else in the output's place.
        for path, layer in layers.items():
            self.handles.append(layer.register_forward_hook(self._noting(path), prepend=True))
        for path, module in hooked.items():
            look = self._looking(f"seen by a hook on {path or 'the model'}")
            taking = module.register_forward_pre_hook(look, prepend=True, with_kwargs=True)
            self.handles += [taking, module.register_forward_hook(look, prepend=True)]

    def look(self, values: Any, what: str) -> None:
        """Note what is done with those of the outputs that are among some values."""
        given = {id(tensor) for tensor in tensors_in(values)}
        for path, reference in self._alive.items():
            if id(reference()) in given:
                self.seen_by[path] = f"the output of {path} is {what}"

    def note_kept(self) -> None:
        """Note which outputs are still there."""
        if any(reference() is not None for reference in self._alive.values()):
            gc.collect()  # what only a cycle holds, nobody sees
        for path, reference in self._alive.items():
            if reference() is not None:
                self.seen_by.setdefault(path, f"the output of {path} is kept after the forward")

    def _noting(self, path: str) -> Callable[..., None]:
        def hook(_: nn.Module, __: Any, output: Any) -> None:
            if isinstance(output, Tensor):
                self._alive[path] = weakref.ref(output)

        return hook

    def _looking(self, what: str) -> Callable[..., None]:
        def hook(_: nn.Module, *values: Any) -> None:
            self.look(values, what)

        return hook


class _Reading(TorchFunctionMode):
    """Has outputs looked for among the arguments of each function that reads values."""

    def __init__(self, outputs: _Outputs) -> None:
        super().__init__()
        self._outputs = outputs

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Run the function."""
        name = getattr(func, "__name__", "")
        if name in _READING:
            self._outputs.look((args, kwargs), f"read by {name}")
        return func(*args, **(kwargs or {}))
