"""What keeps a layer from being folded, whatever the network around it: reasons as clauses."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from bnkit.inspection.preserve import modules_within, tensors_of
from bnkit.inspection.trace import Trace
from bnkit.layers import BatchNorm2d, BatchNormAct1d, BatchNormAct2d, BatchNormAct3d

LINEAR_KINDS: tuple[type[nn.Module], ...] = (
    nn.Linear,
    nn.Conv1d,
    nn.Conv2d,
    nn.Conv3d,
    nn.ConvTranspose1d,
    nn.ConvTranspose2d,
    nn.ConvTranspose3d,
)
ACT_KINDS = (BatchNormAct1d, BatchNormAct2d, BatchNormAct3d)
DTYPES = (torch.float64, torch.float32, torch.bfloat16, torch.float16)

_PLAIN_FORWARDS = {_BatchNorm.forward, nn.SyncBatchNorm.forward, BatchNorm2d.forward}
_ACT_FORWARD = BatchNormAct2d.forward
# What decides what a call of a layer computes.
_METHODS = ("forward", "_conv_forward", "_output_padding", "__call__", "__getattr__")
_HOOK_TABLES = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


def has_hooks(module: nn.Module) -> bool:
    """Return whether anything is called when a module runs."""
    return any(getattr(module, table) for table in _HOOK_TABLES)


def is_act(norm: _BatchNorm) -> bool:
    """Return whether it is a layer of bnkit's that adds and activates too."""
    return isinstance(norm, ACT_KINDS)


def kind_of(module: nn.Module) -> type[nn.Module] | None:
    """Return which of the foldable kinds of torch a layer is of, or is a subclass of."""
    return next((kind for kind in LINEAR_KINDS if isinstance(module, kind)), None)


def of_norm(norm: _BatchNorm) -> Iterator[str]:
    """Yield why a batch norm cannot be folded."""
    kind = type(norm)
    forward = kind.forward
    allowed = {_ACT_FORWARD} if is_act(norm) else _PLAIN_FORWARDS
    if forward not in allowed or "forward" in vars(norm) or any(True for _ in norm.children()):
        yield f"it is a {kind.__name__}, a batch norm with a forward of its own"
        return
    if kind.__call__ is not nn.Module.__call__ or kind.__getattr__ is not nn.Module.__getattr__:
        yield f"it is a {kind.__name__}, which changes how a module is called"
    if norm.training:
        yield "it is in training mode; call .eval() on it"
    if norm.running_mean is None or norm.running_var is None:
        yield "it has no running statistics, so it normalizes by the batch in eval mode too"
    yield from _of_any("it", norm, ("weight", "bias"))
    for name in ("weight", "bias", "running_mean", "running_var"):
        yield from _of_tensor(f"its {name}", getattr(norm, name, None))


def of_linear(path: str, layer: nn.Module) -> Iterator[str]:
    """Yield why nothing can be folded into a conv or linear layer."""
    kind = kind_of(layer)
    assert kind is not None
    changed = [name for name in _METHODS if _method(type(layer), name) is not _method(kind, name)]
    changed += [name for name in _METHODS if name in vars(layer)]
    home = type(layer).__module__
    if changed or home.startswith(("torch.ao.", "torch.nn.qat", "torch.nn.intrinsic")):
        yield f"{path} is a {type(layer).__name__}, with a forward of its own"
        return
    yield from _of_any(path, layer, ("weight", "bias"))
    for name in ("weight", "bias"):
        yield from _of_tensor(f"{name} of {path}", getattr(layer, name, None))


def _method(kind: type, name: str) -> object:
    return getattr(kind, name, None)


def _of_any(called: str, module: nn.Module, names: Iterable[str]) -> Iterator[str]:
    if has_hooks(module):
        yield f"{called} has a hook"
    for name in names:
        if name not in module._parameters:
            yield (
                f"its {name} is parametrized"
                if called == "it"
                else (f"{name} of {called} is parametrized")
            )


def _of_tensor(called: str, tensor: object) -> Iterator[str]:
    if not isinstance(tensor, Tensor):
        return
    if type(tensor.data) is not Tensor or tensor.layout != torch.strided:
        yield f"{called} is no plain tensor"
    elif tensor.dtype not in DTYPES:
        yield f"{called} is of dtype {str(tensor.dtype).removeprefix('torch.')}"


class Ties:
    """Which tensors of a network are held in more than one place, or read by a function.

    Args:
        model: the network.
        traces: of it, in whatever modes it ran.
    """

    def __init__(self, model: nn.Module, traces: Iterable[Trace]) -> None:
        self._holders: dict[int, dict[tuple[int, str], str]] = {}
        self._readers: dict[int, str] = {}
        paths = {id(module): path for path, module in model.named_modules()}
        for module in modules_within(model):
            path = paths.get(id(module), f"a {type(module).__name__}")
            for name, tensor in _named_tensors(module):
                held = self._holders.setdefault(_storage(tensor), {})
                held[id(module), name] = f"{path}.{name}" if path else name
        named = {**dict(model.named_parameters()), **dict(model.named_buffers())}
        for watched in traces:
            for call in watched.calls:
                for name in call.held:
                    if name in named and call.module is None:
                        function = call.name.removesuffix(".__get__").rsplit(".", 1)[-1]
                        self._readers[_storage(named[name])] = function

    def of(self, called: str, module: nn.Module, names: Iterable[str]) -> Iterator[str]:
        """Yield who else holds or reads parameters of a module.

        Args:
            called: what the module is called.
            module: one of the network's.
            names: of its parameters and buffers.
        """
        for name in names:
            tensor = getattr(module, name, None)
            if not isinstance(tensor, Tensor) or not tensor.numel():
                continue
            held = self._holders.get(_storage(tensor), {})
            others = [text for key, text in held.items() if key != (id(module), name)]
            if others:
                yield f"{name} of {called} is tied to {', '.join(others)}"

    def read(self, called: str, module: nn.Module, names: Iterable[str]) -> Iterator[str]:
        """Yield which functions read parameters or buffers of a module; arguments as of `of`."""
        for name in names:
            tensor = getattr(module, name, None)
            reader = self._readers.get(_storage(tensor)) if isinstance(tensor, Tensor) else None
            if reader is not None:
                yield f"{name} of {called} is also read by {reader}"


def _named_tensors(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    known: set[int] = set()
    for table in (module._parameters, module._buffers):
        for name, tensor in table.items():
            if tensor is not None:
                known.add(id(tensor))
                yield name, tensor
    for number, tensor in enumerate(tensors_of(module)):
        if id(tensor) not in known:
            known.add(id(tensor))
            yield f"(attribute {number})", tensor


def _storage(tensor: Tensor) -> int:
    try:
        address: int = tensor.untyped_storage()._cdata
    except (RuntimeError, NotImplementedError):  # sparse tensors have no storage of their own
        return id(tensor)
    return address
