"""One real forward, watched: which module or function made the tensors that another one took.

It works on any model whatever its control flow, because it watches a run instead of reading code.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode, resolve_name
from torch.utils.hooks import RemovableHandle

from bnkit.inspection.preserve import preserve


@dataclass(frozen=True)
class Call:
    """One call of a module or function during the traced forward.

    Attributes:
        name: path of the module, or the function's name, such as `torch.nn.functional.relu`.
        module: the module, or None for a function.
        inside: path of the innermost module whose `forward` was running.
        sources: for each tensor that went in, the number of the call that made it, or None if it
            came from outside: the example, a parameter, a constant.
    """

    name: str
    module: nn.Module | None
    inside: str
    sources: tuple[int | None, ...]


@dataclass
class Trace:
    """The calls of one forward, in the order in which they ended, and what the model returned."""

    calls: list[Call] = field(default_factory=list)
    output: Any = None


def trace(model: nn.Module, example_args: Sequence[Any]) -> Trace:
    """Run the model once on an example in eval mode, without gradients, and record who feeds whom.

    Functions that a module of `torch.nn` calls inside its own forward are not recorded; the module
    is. The model is left as it was.

    Args:
        model: any module.
        example_args: positional arguments of its forward.

    Cost: one forward; every tensor it made is kept until it ends.
    """
    recorder = _Recorder()
    with preserve(model), torch.no_grad():
        model.eval()
        with _watched(model, recorder), _FunctionWatch(recorder):
            recorder.result.output = model(*example_args)
    return recorder.result


class _Recorder:
    def __init__(self) -> None:
        self.result = Trace()
        self.stack: list[tuple[str, nn.Module, list[Tensor]]] = []
        self.maker: dict[int, int] = {}
        # Kept alive so that no two tensors of the run share an id.
        self.kept: list[Tensor] = []

    def sources(self, inputs: Any) -> tuple[int | None, ...]:
        return tuple(self.maker.get(id(tensor)) for tensor in tensors_in(inputs))

    def add(
        self,
        name: str,
        module: nn.Module | None,
        sources: tuple[int | None, ...],
        outputs: Any,
    ) -> None:
        inside = self.stack[-1][0] if self.stack else ""
        number = len(self.result.calls)
        self.result.calls.append(Call(name, module, inside, sources))
        for tensor in tensors_in(outputs):
            self.maker[id(tensor)] = number
            self.kept.append(tensor)

    @property
    def in_torch_module(self) -> bool:
        return bool(self.stack) and is_primitive(self.stack[-1][1])


class _FunctionWatch(TorchFunctionMode):
    def __init__(self, recorder: _Recorder) -> None:
        super().__init__()
        self.recorder = recorder

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        if self.recorder.in_torch_module:
            return func(*args, **kwargs)
        sources = self.recorder.sources((args, kwargs))
        result = func(*args, **kwargs)
        if tensors_in(result):
            name = resolve_name(func) or getattr(func, "__name__", repr(func))
            self.recorder.add(name, None, sources, result)
        return result


@contextmanager
def _watched(model: nn.Module, recorder: _Recorder) -> Iterator[None]:
    handles: list[RemovableHandle] = []
    for path, module in model.named_modules():
        handles += [_watch_entry(path, module, recorder), _watch_exit(path, module, recorder)]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _watch_entry(path: str, module: nn.Module, recorder: _Recorder) -> RemovableHandle:
    def enter(_: nn.Module, args: Any, kwargs: Any) -> None:
        recorder.stack.append((path, module, tensors_in((args, kwargs))))

    return module.register_forward_pre_hook(enter, with_kwargs=True)


def _watch_exit(path: str, module: nn.Module, recorder: _Recorder) -> RemovableHandle:
    def leave(_: nn.Module, __: Any, output: Any) -> None:
        inputs = recorder.stack.pop()[2]
        if is_primitive(module):
            recorder.add(path, module, recorder.sources(inputs), output)

    return module.register_forward_hook(leave)


def is_primitive(module: nn.Module) -> bool:
    """Return whether a module is recorded as one call: a module of torch or bnkit without children,
    or a batch norm of anybody's."""
    if isinstance(module, nn.modules.batchnorm._BatchNorm):
        return True
    home = type(module).__module__
    return not any(module.children()) and home.startswith(("torch.nn.", "torch.ao.", "bnkit."))


def tensors_in(value: Any) -> list[Tensor]:
    """Return the tensors in nested tuples, lists, mappings and dataclass-like objects, in order."""
    if isinstance(value, Tensor):
        return [value]
    if isinstance(value, Mapping):
        return [tensor for item in value.values() for tensor in tensors_in(item)]
    if isinstance(value, tuple | list):
        return [tensor for item in value for tensor in tensors_in(item)]
    return []
