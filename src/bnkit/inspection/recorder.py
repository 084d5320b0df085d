"""What a trace consists of, and what fills it while the model runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn
from torch.overrides import TorchFunctionMode, resolve_name
from torch.utils.hooks import RemovableHandle

from bnkit.inspection.nested_tensors import tensors_in

_ANYBODYS = (nn.modules.batchnorm._BatchNorm, nn.Linear, nn.modules.conv._ConvNd)


@dataclass(frozen=True)
class Call:
    """One call of a module or function during the traced forward.

    Attributes:
        name: path of the module, or the function's name, such as `torch.nn.functional.relu`.
        module: the module, or None for a function.
        inside: path of the innermost module whose `forward` was running.
        sources: for each tensor that went in, the number of the call that made it, or None if it
            came from outside: the example, a parameter, a constant.
        has_unseen_source: whether a tensor went in that no recorded call made and that neither the
            model nor the example holds.
    """

    name: str
    module: nn.Module | None
    inside: str
    sources: tuple[int | None, ...]
    has_unseen_source: bool = False


@dataclass
class Trace:
    """What happened in one forward.

    Attributes:
        calls: the calls in the order in which they ended.
        output: what the model returned.
        output_tensors: copies of the tensors in it.
        parameters_read: names of the parameters that a function took, primitive modules included.
    """

    calls: list[Call] = field(default_factory=list)
    output: Any = None
    output_tensors: list[Tensor] = field(default_factory=list)
    parameters_read: set[str] = field(default_factory=set)


@dataclass(frozen=True)
class _Inputs:
    """The tensors that a running call was given, with where they came from when it began."""

    tensors: list[Tensor]
    versions: list[int | None]
    sources: tuple[int | None, ...]
    has_unseen_source: bool

    def written(self) -> list[Tensor]:
        pairs = zip(self.tensors, self.versions, strict=True)
        return [tensor for tensor, version in pairs if _version(tensor) != version]


@dataclass(frozen=True)
class _Running:
    path: str
    module: nn.Module
    inputs: _Inputs


class Recorder:
    """Fills a trace while the model runs.

    Args:
        model: the model that is about to run.
        outside: tensors that exist before it runs: what the model holds, and the example.
    """

    def __init__(self, model: nn.Module, outside: Sequence[Tensor]) -> None:
        self.result = Trace()
        self.running: list[_Running] = []
        self._maker: dict[int, int] = {}
        # By storage: the last call that wrote into it, and the last that made a tensor in it.
        self._writer: dict[int, int] = {}
        self._storage_maker: dict[int, int] = {}
        self._outside = {_storage_key(tensor) for tensor in outside}
        # Kept alive so that no two tensors of the run share an id.
        self._kept: list[Tensor] = list(outside)
        self._parameter_names: dict[int, list[str]] = {}
        for name, parameter in model.named_parameters(remove_duplicate=False):
            self._parameter_names.setdefault(id(parameter), []).append(name)

    def inputs(self, values: Any) -> _Inputs:
        """Return the tensors in what a call is given, and where each comes from."""
        tensors = tensors_in(values)
        sources = tuple(self._source(tensor) for tensor in tensors)
        unseen = any(
            source is None and _storage_key(tensor) not in self._outside
            for tensor, source in zip(tensors, sources, strict=True)
        )
        return _Inputs(tensors, [_version(tensor) for tensor in tensors], sources, unseen)

    def _source(self, tensor: Tensor) -> int | None:
        key = _storage_key(tensor)
        known = [
            table[k] for table, k in ((self._maker, id(tensor)), (self._writer, key)) if k in table
        ]
        # The later one: a write through a view changes what was made before it.
        return max(known) if known else self._storage_maker.get(key)

    def add(self, name: str, module: nn.Module | None, inputs: _Inputs, outputs: Any) -> None:
        """Record a call that has just ended, as the maker of what it returned and wrote."""
        inside = self.running[-1].path if self.running else ""
        number = len(self.result.calls)
        call = Call(name, module, inside, inputs.sources, inputs.has_unseen_source)
        self.result.calls.append(call)
        written = inputs.written()
        for tensor in [*tensors_in(outputs), *written]:
            self._maker[id(tensor)] = self._storage_maker[_storage_key(tensor)] = number
            self._kept.append(tensor)
        for tensor in written:
            self._writer[_storage_key(tensor)] = number

    def note_parameters(self, tensors: Sequence[Tensor]) -> None:
        """Note which parameters a function takes."""
        for tensor in tensors:
            self.result.parameters_read.update(self._parameter_names.get(id(tensor), ()))

    @property
    def is_in_primitive(self) -> bool:
        """Whether a primitive module is running, whose functions are not recorded."""
        return bool(self.running) and is_primitive(self.running[-1].module)


class FunctionWatch(TorchFunctionMode):
    """Tells a recorder of every function of torch that is called."""

    def __init__(self, recorder: Recorder) -> None:
        super().__init__()
        self.recorder = recorder

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Run the function, and record it if it made or wrote a tensor."""
        kwargs = kwargs or {}
        if self.recorder.is_in_primitive:
            self.recorder.note_parameters(tensors_in((args, kwargs)))
            return func(*args, **kwargs)
        inputs = self.recorder.inputs((args, kwargs))
        self.recorder.note_parameters(inputs.tensors)
        result = func(*args, **kwargs)
        if tensors_in(result) or inputs.written():
            self.recorder.add(_function_name(func), None, inputs, result)
        return result


@contextmanager
def watched_modules(model: nn.Module, recorder: Recorder) -> Iterator[None]:
    """Tell the recorder of every module that runs; the hooks are gone afterwards."""
    handles: list[RemovableHandle] = []
    for path, module in model.named_modules():
        handles += [_watch_entry(path, module, recorder), _watch_exit(path, module, recorder)]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _watch_entry(path: str, module: nn.Module, recorder: Recorder) -> RemovableHandle:
    def enter(_: nn.Module, args: Any, kwargs: Any) -> None:
        recorder.running.append(_Running(path, module, recorder.inputs((args, kwargs))))

    return module.register_forward_pre_hook(enter, with_kwargs=True)


def _watch_exit(path: str, module: nn.Module, recorder: Recorder) -> RemovableHandle:
    def leave(_: nn.Module, __: Any, output: Any) -> None:
        # Another module's pre-hook may have raised before this module was entered.
        if not recorder.running or recorder.running[-1].module is not module:
            return
        ended = recorder.running.pop()
        if is_primitive(module):
            recorder.add(path, module, ended.inputs, output)

    # Called also when forward raises: the model may catch that and go on.
    return module.register_forward_hook(leave, always_call=True)


def is_primitive(module: nn.Module) -> bool:
    """Return whether a module is recorded as one call.

    These are modules of torch and bnkit without children; batch norms, linear and convolutional
    layers, also subclassed, parametrized, or with children, unless a batch norm is among those;
    and torch's multi-head attention, which reads its child's weights without calling it.
    """
    if isinstance(module, nn.modules.batchnorm._BatchNorm):
        return True
    if isinstance(module, _ANYBODYS):
        return not any(isinstance(child, _ANYBODYS[0]) for child in module.modules())
    home = type(module).__module__
    if not home.startswith(("torch.nn.", "torch.ao.", "bnkit.")):
        return False
    return isinstance(module, nn.MultiheadAttention) or not any(module.children())


def _function_name(func: Callable[..., Any]) -> str:
    # `aten.conv2d.default` is the overload of `aten.conv2d`.
    func = getattr(func, "overloadpacket", func)
    name: str = resolve_name(func) or getattr(func, "__name__", repr(func))
    return name


def _storage_key(tensor: Tensor) -> int:
    try:
        address: int = tensor.untyped_storage()._cdata
    except (RuntimeError, NotImplementedError):
        # Sparse tensors and some subclasses have no storage of their own.
        return id(tensor)
    return address


def _version(tensor: Tensor) -> int | None:
    # Tensors made in inference mode do not count their writes.
    return None if tensor.is_inference() else tensor._version
