"""Which activations follow a batch norm in a traced run, wherever in the network the two stand."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.hooks import RemovableHandle

from bnkit.inspection.nested_tensors import tensors_in
from bnkit.inspection.preserve import modules_within, tensors_of
from bnkit.inspection.trace import Call, Trace
from bnkit.rewrite.acceleration.activation_fusion import (
    Pair,
    Refusal,
    activation_of,
    is_activation,
    why_not_fused,
)

_COMPILE = 'torch.compile(model, backend="bnkit") can'
_FUNCTIONS = {"relu", "relu6", "leaky_relu"}
_ADDITIONS = {"add", "radd", "iadd"}
_NEVER_RAN = "not fused with an activation, because it never ran on the example"
_KEPT = "not fused, because the network returns or keeps its output from before the activation"
_USED_ELSEWHERE = "not fused, because its output goes not only to the activation"
_ADDED = f"not fused with the addition after it, which swapping modules cannot express; {_COMPILE}"


def pairs_in_traces(
    traces: Sequence[Trace], norms: Mapping[str, _BatchNorm], kept: set[int]
) -> tuple[list[Pair], list[Refusal]]:
    """Return the pairs that a run shows, and why other activations and additions are not fused.

    A pair are a batch norm and an activation module, where in every trace all that takes the batch
    norm's output is the activation, and all that the activation takes is that output.

    Args:
        traces: of the network, in eval and in training mode.
        norms: path → batch norms that may be fused.
        kept: ids of those whose output the network returned or kept.
    """
    pairs: list[Pair] = []
    refusals: list[Refusal] = []
    takers = [_takers(watched) for watched in traces]
    for path, norm in norms.items():
        # For each call of the batch norm, the calls that took what it made.
        taken = [
            [watched.calls[taker] for taker in table.get(number, ())]
            for watched, table in zip(traces, takers, strict=True)
            for number, call in enumerate(watched.calls)
            if call.module is norm
        ]
        follower = _only_follower(traces, norm, taken)
        if follower is None or follower.module is None or not is_activation(follower.module):
            reason = _why_not_paired(taken, traces)
        else:
            reason = why_not_fused(norm, follower.module)
            # What is activated in place is activated also where it is kept.
            if not reason and id(norm) in kept and not getattr(follower.module, "inplace", False):
                reason = _KEPT
            if not reason:
                kind = type(follower.module).__name__
                pairs.append(Pair(path, norm, follower.name, follower.module, kind))
        if reason:
            refusals.append(Refusal(path, reason))
    return pairs, refusals


def _takers(watched: Trace) -> dict[int, list[int]]:
    """Return call → calls that took what it made."""
    found: dict[int, list[int]] = {}
    for number, call in enumerate(watched.calls):
        for source in set(call.sources):
            if source is not None:
                found.setdefault(source, []).append(number)
    return found


def _only_follower(
    traces: Sequence[Trace], norm: _BatchNorm, taken: Sequence[Sequence[Call]]
) -> Call | None:
    """Return a call of the module that alone takes the batch norm's output, and nothing else."""
    if not taken or any(len(calls) != 1 for calls in taken):
        return None
    follower = taken[0][0]
    if follower.module is None or any(calls[0].module is not follower.module for calls in taken):
        return None
    for watched in traces:
        for call in watched.calls:
            if call.module is follower.module:
                makers = [None if n is None else watched.calls[n].module for n in call.sources]
                if makers != [norm]:
                    return None
    return follower


def _why_not_paired(taken: Sequence[Sequence[Call]], traces: Sequence[Trace]) -> str:
    """Return why what follows is not fused; empty if it is nothing that could be."""
    if not taken:
        return _NEVER_RAN
    calls = [call for taking in taken for call in taking]
    activations = [call for call in calls if _activates(call)]
    if activations and any(len(taking) > 1 for taking in taken):
        return _USED_ELSEWHERE
    for call in activations:
        if call.module is None:
            return f"not fused with {call.name}, called as a function; {_COMPILE}"
        uses = max(sum(c.module is call.module for c in watched.calls) for watched in traces)
        kind = type(call.module).__name__
        if uses > 1:
            return (
                f"not fused with the {kind} after it, a module that runs {uses} times; {_COMPILE}"
            )
        return f"not fused with the {kind} after it, which takes other outputs too; {_COMPILE}"
    return _ADDED if any(_short_name(call) in _ADDITIONS for call in calls) else ""


def _activates(call: Call) -> bool:
    if call.module is None:
        return _short_name(call) in _FUNCTIONS
    return activation_of(call.module) is not None


def _short_name(call: Call) -> str:
    return "" if call.module is not None else call.name.rsplit(".", 1)[-1].strip("_")


@contextmanager
def kept_outputs(model: nn.Module, norms: Mapping[str, _BatchNorm]) -> Iterator[set[int]]:
    """Give a set that fills, while the model runs, with ids of batch norms whose output it keeps.

    Kept is what the model returns, and what one of its modules holds when the run has ended.
    """
    kept: set[int] = set()
    made: list[tuple[int, Tensor]] = []
    handles: list[RemovableHandle] = []

    def note(norm: nn.Module, _: Any, output: Any) -> None:
        made.extend((id(norm), tensor) for tensor in tensors_in(output))

    def compare(_: nn.Module, __: Any, output: Any) -> None:
        held = [tensor for module in modules_within(model) for tensor in tensors_of(module)]
        storages = {_storage(tensor) for tensor in [*tensors_in(output), *held]}
        kept.update(norm for norm, tensor in made if _storage(tensor) in storages)
        made.clear()

    try:
        handles += [norm.register_forward_hook(note) for norm in norms.values()]
        handles.append(model.register_forward_hook(compare))
        yield kept
    finally:
        for handle in handles:
            handle.remove()


def _storage(tensor: Tensor) -> int:
    try:
        address: int = tensor.untyped_storage()._cdata
    except (RuntimeError, NotImplementedError):  # sparse tensors have no storage of their own
        return id(tensor)
    return address
