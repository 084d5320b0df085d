"""Hooks on a model and its optimizer that note, while they train, what moves running statistics."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.parameter import is_lazy
from torch.utils.hooks import RemovableHandle

from bnkit.errors import CheckError
from bnkit.inspection.nested_tensors import tensors_in
from bnkit.inspection.read_setup import broadcasts_buffers


@dataclass
class Update:
    """One forward of a batch norm that moved its statistics.

    Attributes:
        layer: path of the layer.
        step: optimizer steps made before.
        call: number of the outermost forward that it was part of.
        has_made_input: whether what that forward was given had been made by a network, and
            gradients flow back into it: a discriminator while its generator is trained.
        has_grad_mode: whether gradients were recorded.
        in_backward: whether it ran during a backward.
        advance: by how much its counter advanced; 1 if it has none.
        is_trained_layer: whether its parameters were to be trained then.
        is_recalibration: whether the statistics were being computed anew on purpose.
        has_node: whether its output can be reached by a backward.
        tasks: numbers of the backwards that reached it.
        had_create_graph: whether one of them recorded a graph itself.
    """

    layer: str
    step: int
    call: int
    has_made_input: bool
    has_grad_mode: bool
    in_backward: bool
    advance: int
    is_trained_layer: bool
    is_recalibration: bool
    has_node: bool = False
    tasks: set[int] = field(default_factory=set)
    had_create_graph: bool = False


@dataclass
class _Held:
    """The statistics of a layer as they were last seen."""

    layer: _BatchNorm
    momentum: float | None
    mean: Tensor | None = None
    var: Tensor | None = None
    count: int | None = None
    is_reset: bool = False

    def look(self) -> None:
        self.mean, self.var = (
            None if tensor is None else tensor.detach().clone()
            for tensor in (self.layer.running_mean, self.layer.running_var)
        )
        self.count = self.counter()

    def counter(self) -> int | None:
        tensor = self.layer.num_batches_tracked
        return None if tensor is None else int(tensor)

    def has_changed(self) -> bool:
        return not (
            _same(self.mean, self.layer.running_mean) and _same(self.var, self.layer.running_var)
        )

    def is_initial(self) -> bool:
        mean, var = self.layer.running_mean, self.layer.running_var
        if mean is None or var is None:
            return False
        return not bool(mean.any()) and bool((var == 1).all())


class StepRecorder:
    """Watches a model and its optimizer from `open` to `close`.

    Attributes:
        updates: forwards that moved statistics, in order.
        unseen: (layer, step) → by how much a counter advanced without a forward that was seen, as
            in compiled code.
        writes: (layer, step) of statistics changed without a forward or a counter.
        training_tasks: numbers of the backwards that reached a parameter's `.grad`.
        accumulated: for each optimizer step, over how many backwards its gradients had added up.
        paths: of the layers that are watched.
    """

    def __init__(self, model: nn.Module, optimizer: Any) -> None:
        optimizer = _innermost(optimizer)
        self.updates: list[Update] = []
        self.unseen: Counter[tuple[str, int]] = Counter()
        self.writes: list[tuple[str, int]] = []
        self.training_tasks: set[int] = set()
        self.accumulated: list[int] = []
        self._model, self._optimizer = model, optimizer
        self._held = {
            path: _Held(module, module.momentum)
            for path, module in model.named_modules()
            if isinstance(module, _BatchNorm) and _has_values(module.running_mean)
        }
        self.paths = tuple(self._held)
        self._parameters = [
            parameter for group in optimizer.param_groups for parameter in group["params"]
        ]
        self._is_broadcast = broadcasts_buffers(model)
        self._handles: list[RemovableHandle] = []
        self._unhooked: list[Tensor] = []
        self._depth, self._calls, self._has_made_input = 0, 0, False
        self._versions: dict[int, int] = {}
        self._added: Counter[int] = Counter()

    @property
    def step(self) -> int:
        """Optimizer steps made so far."""
        return len(self.accumulated)

    def open(self) -> None:
        """Register the hooks."""
        for held in self._held.values():
            held.look()
        try:
            self._register()
        except BaseException:
            self.close()
            raise

    def _register(self) -> None:
        above = [m for m in self._model.modules() if any(_is_layer(c) for c in m.modules())]
        for module in above:
            self._handles += [
                module.register_forward_pre_hook(self._enter, prepend=True, with_kwargs=True),
                module.register_forward_hook(self._leave, always_call=True),
            ]
        for path, held in self._held.items():
            before, after, loaded = self._hooks_of(path, held)
            self._handles += [
                held.layer.register_forward_pre_hook(before),
                held.layer.register_forward_hook(after, always_call=True),
                held.layer.register_load_state_dict_post_hook(loaded),  # type: ignore[no-untyped-call]
            ]
        for parameter in self._parameters:
            if parameter.requires_grad and parameter.is_leaf:
                if parameter._post_accumulate_grad_hooks is None:
                    self._unhooked.append(parameter)
                handle = parameter.register_post_accumulate_grad_hook(self._accumulate)
                self._handles.append(handle)
        self._handles.append(self._optimizer.register_step_post_hook(self._end_step))

    def close(self) -> None:
        """Remove the hooks, and look for the last time."""
        while self._handles:
            self._handles.pop().remove()
        for parameter in self._unhooked:
            if not parameter._post_accumulate_grad_hooks:
                parameter._post_accumulate_grad_hooks = None  # type: ignore[assignment]
        self._unhooked.clear()
        self._look_for_writes()

    def _enter(self, _: nn.Module, args: Any, kwargs: Any) -> None:
        if torch.compiler.is_compiling():
            return
        if self._depth == 0:
            self._calls += 1
            given = tensors_in((args, kwargs)) if torch.is_grad_enabled() else []
            self._has_made_input = any(tensor.grad_fn is not None for tensor in given)
        self._depth += 1

    def _leave(self, *_: Any) -> None:
        if not torch.compiler.is_compiling():
            self._depth = max(self._depth - 1, 0)

    def _hooks_of(self, path: str, held: _Held) -> tuple[Callable[..., None], ...]:
        def before(module: nn.Module, _: Any) -> None:
            # A replica of DataParallel is not the layer itself.
            if not torch.compiler.is_compiling() and module is held.layer and module.training:
                self._note_write(path, held)

        def after(module: nn.Module, _: Any, output: Any) -> None:
            if torch.compiler.is_compiling() or module is not held.layer or not module.training:
                return
            self._note_update(path, held, output)

        def loaded(*_: Any) -> None:
            held.look()
            held.is_reset = False

        return before, after, loaded

    def _note_write(self, path: str, held: _Held) -> None:
        count, has_changed = held.counter(), held.has_changed()
        if not has_changed and count == held.count:
            return
        if held.is_initial():
            held.is_reset = True
        elif held.count is not None and count is not None and count != held.count:
            self.unseen[path, self.step] += max(count - held.count, 0)
        elif has_changed and not self._is_broadcast:
            self.writes.append((path, self.step))
        held.look()

    def _note_update(self, path: str, held: _Held, output: Any) -> None:
        count, has_changed = held.counter(), held.has_changed()
        if not has_changed and count == held.count:
            return
        has_grad_mode, in_backward = torch.is_grad_enabled(), _backward_number() >= 0
        if has_grad_mode and not in_backward:
            held.is_reset = False
        advance = 1
        if held.count is not None and count is not None:
            advance = max(count - held.count, 1)
        update = Update(
            path,
            self.step,
            self._calls,
            self._has_made_input,
            has_grad_mode,
            in_backward,
            advance,
            self._is_trained(held.layer),
            held.is_reset or held.layer.momentum != held.momentum,
        )
        self._follow(update, output)
        self.updates.append(update)
        held.look()

    def _is_trained(self, layer: nn.Module) -> bool:
        own = list(layer.parameters())
        return any(parameter.requires_grad for parameter in own or self._parameters)

    def _follow(self, update: Update, output: Any) -> None:
        node = output.grad_fn if isinstance(output, Tensor) else None
        if node is None:
            return
        update.has_node = True

        def reached(_: Any) -> None:
            update.tasks.add(_backward_number())
            update.had_create_graph |= torch.is_grad_enabled()

        node.register_prehook(reached)

    def _accumulate(self, parameter: Tensor) -> None:
        self.training_tasks.add(_backward_number())
        if parameter.grad is None:
            return
        # What is added to an older gradient raises its version; a new gradient begins at 0.
        key, version = id(parameter), parameter.grad._version
        is_new = version <= self._versions.get(key, version)
        self._added[key] = 1 if is_new else self._added[key] + 1
        self._versions[key] = version

    def _end_step(self, *_: Any) -> None:
        self._look_for_writes()
        counts = Counter(count for count in self._added.values() if count)
        self.accumulated.append(counts.most_common(1)[0][0] if counts else 1)
        self._added.clear()

    def _look_for_writes(self) -> None:
        for path, held in self._held.items():
            self._note_write(path, held)


def _innermost(optimizer: Any) -> Any:
    """Return the optimizer that steps: wrappers of mixed precision and the like hold one."""
    inner = getattr(optimizer, "optimizer", None)
    if isinstance(inner, torch.optim.Optimizer):
        return _innermost(inner)
    if not isinstance(optimizer, torch.optim.Optimizer):
        raise CheckError(
            f"optimizer is a {type(optimizer).__name__}", required="a torch.optim.Optimizer"
        )
    return optimizer


def _has_values(tensor: Tensor | None) -> bool:
    return tensor is not None and not is_lazy(tensor) and not tensor.is_meta


def _is_layer(module: nn.Module) -> bool:
    return isinstance(module, _BatchNorm)


def _backward_number() -> int:
    """Return the number of the backward that is running in this thread; −1 outside of any."""
    return int(torch._C._current_graph_task_id())


def _same(one: Tensor | None, other: Tensor | None) -> bool:
    # Taken away, given back, or moved to another device or dtype, it is no value that was written.
    if one is None or other is None:
        return True
    if (one.shape, one.dtype, one.device) != (other.shape, other.dtype, other.device):
        return True
    return torch.equal(one, other) or bool(torch.allclose(one, other, 0, 0, equal_nan=True))
