"""What a trace consists of, and what fills it while the model runs."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.multiprocessing.reductions import StorageWeakRef
from torch.overrides import TorchFunctionMode, resolve_name
from torch.utils.hooks import RemovableHandle

from bnkit.inspection.call_order import in_call_order
from bnkit.inspection.facts.graph import TensorForm
from bnkit.inspection.facts.model import Scalar
from bnkit.inspection.families import BATCH_NORM, function_family
from bnkit.inspection.nested_tensors import tensors_in
from bnkit.inspection.options import call_options, dtype_name

# What is made of the input of a batch norm, before the batch norm runs: (place, input) → facts.
Observer = Callable[[str, Tensor], Any]

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
        inputs: shape and dtype of each tensor that went in, as in `sources`.
        outputs: shape and dtype of each tensor that came out.
        options: what a function was given beside tensors, by name or by position.
        held: name of each tensor that went in, if the model holds it; else "".
    """

    name: str
    module: nn.Module | None
    inside: str
    sources: tuple[int | None, ...]
    has_unseen_source: bool = False
    inputs: tuple[TensorForm, ...] = ()
    outputs: tuple[TensorForm, ...] = ()
    options: Mapping[str, Scalar] = field(default_factory=dict)
    held: tuple[str, ...] = ()


@dataclass
class Trace:
    """What happened in one forward.

    Attributes:
        calls: the calls in the order in which they ended.
        output: what the model returned.
        output_tensors: copies of the tensors in it.
        output_sources: for each of them, the number of the call that made it, or None.
        parameters_read: names of the parameters that a function took, primitive modules included.
        observed: number of a batch norm's call → what the observer made of its input.
        example_size: length of the first axis of the first tensor of the example; None if there is
            none.
    """

    calls: list[Call] = field(default_factory=list)
    output: Any = None
    output_tensors: list[Tensor] = field(default_factory=list)
    output_sources: list[int | None] = field(default_factory=list)
    parameters_read: set[str] = field(default_factory=set)
    observed: dict[int, Any] = field(default_factory=dict)
    example_size: int | None = None


@dataclass(frozen=True)
class _Inputs:
    """The tensors that a running call was given, with where they came from when it began."""

    tensors: list[Tensor]
    forms: tuple[TensorForm, ...]
    versions: list[int | None]
    sources: tuple[int | None, ...]
    has_unseen_source: bool
    held: tuple[str, ...]

    def written(self) -> list[Tensor]:
        pairs = zip(self.tensors, self.versions, strict=True)
        return [tensor for tensor, version in pairs if _version(tensor) != version]


@dataclass(frozen=True)
class _Running:
    path: str
    module: nn.Module
    inputs: _Inputs
    observed: Any = None


class Recorder:
    """Fills a trace while the model runs.

    Args:
        model: the model that is about to run.
        outside: tensors that exist before it runs: what the model holds, and the example.
        observe: called with the place and the input of each batch norm before that runs.

    Tensors are known by the addresses of their C++ halves, which weak references reserve: what the
    model lets go is freed, and no later tensor gets its address.
    """

    def __init__(
        self, model: nn.Module, outside: Sequence[Tensor], observe: Observer | None = None
    ) -> None:
        self.result = Trace()
        self.running: list[_Running] = []
        self.failures: list[tuple[BaseException, str]] = []
        self._observe = observe
        self._maker: dict[int, int] = {}
        # By storage: the last call that wrote into it, and the last that made a tensor in it.
        self._writer: dict[int, int] = {}
        self._storage_maker: dict[int, int] = {}
        self._outside = {_storage_key(tensor) for tensor in outside}
        self._kept: list[Tensor] = list(outside)
        self._reserved: list[Any] = []
        self._reserved_storages: set[int] = set()
        self._parameter_names: dict[int, list[str]] = {}
        for name, parameter in model.named_parameters(remove_duplicate=False):
            self._parameter_names.setdefault(id(parameter), []).append(name)
        buffers = {id(buffer): name for name, buffer in model.named_buffers()}
        self._held = buffers | {key: names[0] for key, names in self._parameter_names.items()}

    def inputs(self, values: Any) -> _Inputs:
        """Return the tensors in what a call is given, and where each comes from."""
        tensors = tensors_in(values)
        sources = tuple(self._source(tensor) for tensor in tensors)
        unseen = any(
            source is None and _storage_key(tensor) not in self._outside
            for tensor, source in zip(tensors, sources, strict=True)
        )
        versions = [_version(tensor) for tensor in tensors]
        held = tuple(self._held.get(id(tensor), "") for tensor in tensors)
        return _Inputs(tensors, forms_of(tensors), versions, sources, unseen, held)

    def _source(self, tensor: Tensor) -> int | None:
        key = _storage_key(tensor)
        known = [
            table[k]
            for table, k in ((self._maker, tensor._cdata), (self._writer, key))
            if k in table
        ]
        # The later one: a write through a view changes what was made before it.
        return max(known) if known else self._storage_maker.get(key)

    def add(
        self,
        name: str,
        module: nn.Module | None,
        inputs: _Inputs,
        outputs: Any,
        *,
        options: Mapping[str, Scalar] | None = None,
        observed: Any = None,
    ) -> None:
        """Record a call that has just ended, as the maker of what it returned and wrote."""
        inside = self.running_path
        number = len(self.result.calls)
        made = tensors_in(outputs)
        self.result.calls.append(
            Call(
                name,
                module,
                inside,
                inputs.sources,
                inputs.has_unseen_source,
                inputs.forms,
                forms_of(made),
                options or {},
                inputs.held,
            )
        )
        if observed is not None:
            self.result.observed[number] = observed
        written = inputs.written()
        for tensor in [*made, *written]:
            self._reserve(tensor)
            self._maker[tensor._cdata] = self._storage_maker[_storage_key(tensor)] = number
        for tensor in written:
            self._writer[_storage_key(tensor)] = number

    def _reserve(self, tensor: Tensor) -> None:
        """Keep the addresses that a tensor is known by from being given to another."""
        if tensor._cdata not in self._maker:
            self._reserved.append(torch._C._WeakTensorRef(tensor))  # type: ignore[attr-defined]
        try:
            storage = tensor.untyped_storage()
        except (RuntimeError, NotImplementedError):
            self._kept.append(tensor)
            return
        if storage._cdata not in self._reserved_storages:
            self._reserved_storages.add(storage._cdata)
            self._reserved.append(StorageWeakRef(storage))  # type: ignore[no-untyped-call]

    def observe(self, place: str, tensors: Sequence[Tensor]) -> Any:
        """Return what the observer makes of the input of a batch norm; None without one."""
        return None if self._observe is None or not tensors else self._observe(place, tensors[0])

    def note_failure(self, path: str) -> None:
        """Note the module in which the exception that is being handled was first seen."""
        error = sys.exc_info()[1]
        if error is not None and all(known is not error for known, _ in self.failures):
            self.failures.append((error, path))

    def failed_at(self, error: BaseException) -> str | None:
        """Return the path of the innermost module that raised an error; None if none did."""
        return next((path for known, path in self.failures if known is error), None)

    def finish(self, output: Any) -> None:
        """Note what the model returned.

        The tensors are copied: what they lie in may be about to be put back.
        """
        returned = tensors_in(output)
        self.result.output = output
        self.result.output_sources = [self._source(tensor) for tensor in returned]
        self.result.output_tensors = [tensor.detach().clone() for tensor in returned]

    def note_parameters(self, tensors: Sequence[Tensor]) -> None:
        """Note which parameters a function takes."""
        for tensor in tensors:
            self.result.parameters_read.update(self._parameter_names.get(id(tensor), ()))

    @property
    def running_path(self) -> str:
        """Path of the innermost module that is running; empty for the model itself."""
        return self.running[-1].path if self.running else ""

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
        recorder = self.recorder
        inputs = recorder.inputs((args, kwargs))
        recorder.note_parameters(inputs.tensors)
        name = _function_name(func)
        observed = None
        if function_family(name) == BATCH_NORM:
            observed = recorder.observe(recorder.running_path, inputs.tensors)
        result = func(*args, **kwargs)
        if tensors_in(result) or inputs.written():
            options = call_options(args, kwargs)
            recorder.add(name, None, inputs, result, options=options, observed=observed)
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
    is_norm = isinstance(module, _ANYBODYS[0])

    def enter(_: nn.Module, args: Any, kwargs: Any) -> None:
        # Without the watch on functions, which would be told of each look at a tensor.
        with torch._C.DisableTorchFunction():
            inputs = recorder.inputs((args, in_call_order(module.forward, kwargs)))
            observed = recorder.observe(path, inputs.tensors) if is_norm else None
        recorder.running.append(_Running(path, module, inputs, observed))

    return module.register_forward_pre_hook(enter, with_kwargs=True)


def _watch_exit(path: str, module: nn.Module, recorder: Recorder) -> RemovableHandle:
    is_recorded = is_primitive(module)

    def leave(_: nn.Module, __: Any, output: Any) -> None:
        # Another module's pre-hook may have raised before this module was entered.
        if not recorder.running or recorder.running[-1].module is not module:
            return
        ended = recorder.running.pop()
        recorder.note_failure(path)
        if is_recorded:
            with torch._C.DisableTorchFunction():
                recorder.add(path, module, ended.inputs, output, observed=ended.observed)

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


def forms_of(tensors: Sequence[Tensor]) -> tuple[TensorForm, ...]:
    """Return shape and dtype of each tensor."""
    return tuple(TensorForm(tuple(t.shape), dtype_name(t.dtype)) for t in tensors)


@lru_cache(maxsize=4096)
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
