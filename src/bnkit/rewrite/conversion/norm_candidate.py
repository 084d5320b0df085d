"""A batch norm that is to become another kind of layer: what it is, and what is in the way."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import Any

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils.parametrize import is_parametrized

import bnkit.layers as ours
from bnkit.inspection.trace import Trace
from bnkit.rewrite.acceleration.layer_swap import own_behaviour, plain_class
from bnkit.rewrite.guarded_class import unguarded_class
from bnkit.rewrite.kept_in_eval import is_kept_class

WITH_ACTIVATION: tuple[type[nn.Module], ...] = (
    ours.BatchNormAct1d,
    ours.BatchNormAct2d,
    ours.BatchNormAct3d,
)
BNKITS: tuple[type[nn.Module], ...] = (
    *WITH_ACTIVATION,
    ours.BatchNorm1d,
    ours.BatchNorm2d,
    ours.BatchNorm3d,
)
# The most particular first.
_KNOWN = (*BNKITS, nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)
_TENSORS = {"weight", "bias", "running_mean", "running_var", "num_batches_tracked"}
_AXES: tuple[tuple[type[nn.Module], int], ...] = (
    (nn.BatchNorm1d, 1),
    (nn.BatchNorm2d, 2),
    (nn.BatchNorm3d, 3),
)


@dataclass(frozen=True)
class Candidate:
    """A batch norm.

    Attributes:
        path: of the layer.
        layer: itself.
        base: the class of torch or bnkit that it is or derives from; None if there is none.
        own: why its class cannot change, as a clause with "it"; empty if it can.
        held: where it is held beside its parents, as a clause; empty if nowhere.
        shapes: of the inputs that it was seen to take; None without a run.
    """

    path: str
    layer: _BatchNorm
    base: type[nn.Module] | None
    own: str
    held: str
    shapes: tuple[tuple[int, ...], ...] | None

    @property
    def is_frozen(self) -> bool:
        """Whether its class keeps it in eval mode."""
        return is_kept_class(type(self.layer))

    @property
    def axes(self) -> int | None:
        """How many axes its input has beside N and C, one for (N, C) too; None if not known."""
        for kind, axes in _AXES:
            if isinstance(self.layer, kind):
                return axes
        ranks = {max(len(shape) - 2, 1) for shape in self.shapes or ()}
        return ranks.pop() if len(ranks) == 1 else None

    @property
    def values_per_channel(self) -> int | None:
        """The fewest values that a channel of one sample has; None if not known."""
        if self.shapes:
            return min(prod(shape[2:]) for shape in self.shapes)
        # BatchNorm1d takes (N, C) too, and a synchronised layer takes all.
        return None if isinstance(self.layer, nn.BatchNorm2d | nn.BatchNorm3d) else 1


def find_candidates(
    model: nn.Module, norms: Mapping[str, _BatchNorm], traces: Sequence[Trace] | None
) -> list[Candidate]:
    """Return what is known of some batch norms of a network.

    Args:
        model: the network.
        norms: path → batch norm.
        traces: of the network; None without an example.
    """
    held, quantized = plain_holders(model), _quantized(model)
    found = []
    for path, layer in norms.items():
        known = _candidate(path, layer, held, traces)
        own = quantized.get(id(layer))
        found.append(replace(known, own=own) if own else known)
    return found


def _quantized(model: nn.Module) -> dict[int, str]:
    """Return id of a module → that tools of torch.ao look for torch's layers around it."""
    return {
        id(part): f"it belongs to a {type(module).__name__} of torch.ao"
        for module in model.modules()
        if type(module).__module__.startswith("torch.ao.")
        for part in module.modules()
    }


def _candidate(
    path: str, layer: _BatchNorm, held: Mapping[int, str], traces: Sequence[Trace] | None
) -> Candidate:
    kind = unguarded_class(type(layer))
    plain = kind.__bases__[0] if is_kept_class(kind) else plain_class(layer)
    base = next((kind for kind in _KNOWN if issubclass(plain, kind)), None)
    shapes = None
    if traces is not None:
        calls = [call for watched in traces for call in watched.calls if call.module is layer]
        shapes = tuple(call.inputs[0].shape for call in calls if call.inputs)
    own = next(_own(layer, plain, base), "")
    return Candidate(path, layer, base, own, held.get(id(layer), ""), shapes)


def _own(layer: nn.Module, plain: type[nn.Module], base: type[nn.Module] | None) -> Iterator[str]:
    if base is None:
        yield f"it is a {plain.__name__}, which is none of torch's BatchNorm1d, 2d and 3d"
        return
    methods = sorted(own_behaviour(plain, base))
    if methods:
        yield (
            f"it is a {plain.__name__}, which has a {', '.join(methods)} of its own that a "
            "conversion would strip"
        )
    if is_parametrized(layer):
        yield "it is parametrized"
        return
    replaced = [key for key in vars(layer) if callable(getattr(plain, key, None))]
    if replaced:
        yield (
            f"it has {' and '.join(replaced)} replaced on the object, which a conversion would "
            "pass over"
        )
    own = [*layer._modules, *({*layer._parameters, *layer._buffers} - _TENSORS)]
    if own:
        yield f"it holds {', '.join(sorted(own))} beside what a batch norm holds"


def plain_holders(model: nn.Module) -> dict[int, str]:
    """Return id of a module → where a plain list, tuple, dict or attribute holds it, as a clause.

    What stands there goes on running when another module is registered in its place.
    """
    found: dict[int, str] = {}
    for path, module in model.named_modules():
        for name, value in vars(module).items():
            if name not in ("_modules", "_parameters", "_buffers") and not name.endswith("_hooks"):
                for held in _modules_in(value):
                    where = f"{path}.{name}" if path else name
                    found.setdefault(id(held), f"{where} holds it without being registered")
    return found


def _modules_in(value: Any, depth: int = 0) -> Iterator[nn.Module]:
    if isinstance(value, nn.Module):
        yield value
    elif isinstance(value, dict | list | tuple | set) and depth < 4:
        for item in value.values() if isinstance(value, dict) else value:
            yield from _modules_in(item, depth + 1)
