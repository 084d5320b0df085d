"""A forward whose beginning is known: what modules put out before a place is not computed again."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from bnkit.lab.probes.graph_order import node_number
from bnkit.lab.probes.step_start import RandomState

_OURS = ("torch.nn.", "bnkit.layers.")


class _Call(NamedTuple):
    """A module's call in the forward that was recorded.

    Attributes:
        module: which was called.
        output: a copy, without a graph; None where it must be computed again.
        place: number of the last node that the graph had then.
        random_state: after the call.
        returned: the tensors that were returned, with how often each had been written to.
    """

    module: nn.Module
    output: Any
    place: int
    random_state: RandomState
    returned: Sequence[tuple[Tensor, int]]


class RecordedForward:
    """The outputs of the modules in a forward, so that another one can begin behind some of them.

    A forward that differs from the recorded one in parameters which are first used behind some
    place in it has the same activations up to there. Within `skipping(place)` the modules that were
    called before it return what they did, with the random numbers drawn as they were; all else,
    such as additions between modules, runs. Only modules without children whose class is of
    `torch.nn` or bnkit are skipped, none of these with buffers that is called twice, and none
    within a part that activation checkpointing runs again in the backward: the forward of other
    modules may do more than return its output.

    Places are numbers of nodes in the graph of the recorded forward (`first_uses`), so that the
    order is that in which parameters are used, whoever uses them.

    Cost: a copy of the modules' outputs.
    """

    def __init__(self, network: nn.Module) -> None:
        self._modules = [module for module in network.modules() if _can_be_skipped(module)]
        self._calls: list[_Call] = []
        self._modified: set[int] = set()
        self._place = -1

    @contextmanager
    def recording(self) -> Iterator[None]:
        """Record the forward that is run within, which must have a graph."""
        with self._patched(self._recorded):
            yield
        counts: dict[int, int] = {}
        for call in self._calls:
            counts[id(call.module)] = counts.get(id(call.module), 0) + 1
        for index, call in enumerate(self._calls):
            if any(tensor._version != version for tensor, version in call.returned):
                self._modified.add(index)
            is_kept = counts[id(call.module)] == 1 or not any(True for _ in call.module.buffers())
            self._calls[index] = call._replace(returned=(), output=call.output if is_kept else None)

    @contextmanager
    def skipping(self, place: int) -> Iterator[None]:
        """Let the forward that is run within begin behind what was done before a place."""
        known = 0
        while known < len(self._calls) and self._calls[known].place < place:
            known += 1
        waiting = iter(range(known))
        with self._patched(partial(self._repeated, waiting)):
            yield

    @contextmanager
    def _patched(self, called: Any) -> Iterator[None]:
        try:
            for module in self._modules:
                vars(module)["forward"] = partial(called, module, module.forward)
            yield
        finally:
            for module in self._modules:
                vars(module).pop("forward", None)

    def _recorded(self, module: nn.Module, forward: Any, *args: Any, **kwargs: Any) -> Any:
        output = forward(*args, **kwargs)
        tensors = _tensors(output)
        for tensor in tensors or ():
            if tensor.grad_fn is not None:
                self._place = max(self._place, node_number(tensor.grad_fn))
        copied = None if tensors is None or _is_run_again() else _copied(output)
        returned = [(tensor, tensor._version) for tensor in tensors or ()]
        self._calls.append(_Call(module, copied, self._place, RandomState(), returned))
        return output

    def _repeated(
        self, waiting: Iterator[int], module: nn.Module, forward: Any, *args: Any, **kwargs: Any
    ) -> Any:
        index = next(waiting, None)
        if index is None:
            return forward(*args, **kwargs)
        call = self._calls[index]
        assert call.module is module, "the same activations make the same calls"
        if call.output is None:
            return forward(*args, **kwargs)
        call.random_state.restore()
        # What is written to in place afterwards will be here, too.
        return _copied(call.output) if index in self._modified else call.output


def _is_run_again() -> bool:
    """Return whether what is saved for the backward passes hooks, as within a checkpoint.

    Skipped in the forward and not when a checkpoint runs it again, a module would shift what the
    backward takes for saved tensors.
    """
    top = getattr(torch._C._autograd, "_top_saved_tensors_default_hooks", None)
    return top is None or top(True) is not None


def _can_be_skipped(module: nn.Module) -> bool:
    is_known = f"{type(module).__module__}.".startswith(_OURS)
    return is_known and not any(module.children()) and "forward" not in vars(module)


def _tensors(output: Any) -> list[Tensor] | None:
    """Return the tensors of an output; None if there is anything else in it."""
    if output is None or isinstance(output, Tensor):
        return [] if output is None else [output]
    if type(output) not in (tuple, list):
        return None
    parts = [_tensors(part) for part in output]
    return None if None in parts else [tensor for part in parts for tensor in part or ()]


def _copied(output: Any) -> Any:
    if isinstance(output, Tensor):
        return output.detach().clone()
    if isinstance(output, tuple | list):
        return type(output)(_copied(part) for part in output)
    return output
