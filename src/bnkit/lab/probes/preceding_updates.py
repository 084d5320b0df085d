"""Gradients of layers after only what precedes each of them has taken its step."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from bnkit.inspection.families import BATCH_NORM, module_family
from bnkit.lab.probes.graph_order import first_uses
from bnkit.lab.probes.partial_passes import RecordedForward
from bnkit.lab.probes.places import Place, own_parameters, watched
from bnkit.lab.probes.probed_step import Gradient, ProbedStep

Buffers = dict[str, Tensor]


def gradients_after_preceding(
    step: ProbedStep, layers: Mapping[str, Sequence[str]]
) -> dict[str, Gradient]:
    """Return each layer's gradient where only the parameters used before it are the updated ones.

    A layer that nothing precedes is left out: its gradient is the step's.

    Args:
        step: after its update.
        layers: path → names of the parameters whose gradient is wanted.

    Cost: a forward of each batch at the updated weights, and per layer a forward from the layer on
    and a backward to it.
    """
    found: dict[str, dict[str, Tensor]] = {}
    held: dict[str, list[str]] = {}
    buffers: dict[str, Buffers] = {}  # what the batch before left, by whose pass it was
    with torch.enable_grad():
        for index, share in enumerate(step.shares()):
            _load(step.network, buffers.get(""))
            forward, uses, norms = _updated_forward(step, index, [*layers])
            if len(step.batches) > 1:
                buffers[""] = _copied_buffers(step.network)
            if index == 0:
                held = {path: _held(step, uses, path, norms[path]) for path in layers}
            for path, names in layers.items():
                if len(held[path]) == len(step.parameters()):
                    continue
                _load(step.network, buffers.get(path))
                begin = min((uses[name] for name in held[path] if name in uses), default=0)
                with step.before_update(held[path]), forward.skipping(begin):
                    _add(found.setdefault(path, {}), step, index, share, names)
                if len(step.batches) > 1:
                    buffers[path] = _copied_buffers(step.network)
    step.ranks.average([each for gradient in found.values() for each in gradient.values()])
    return {**found}


def _updated_forward(
    step: ProbedStep, index: int, layers: Sequence[str]
) -> tuple[RecordedForward, dict[str, int], dict[str, set[str]]]:
    """Run a batch at the updated weights: its modules' outputs, first uses, norms that are fed."""
    forward = RecordedForward(step.network)
    with (
        _norms_fed(step.network, layers) as norms,
        forward.recording(),
        step.batch_loss(index) as loss,
    ):
        uses = first_uses(loss, step.parameters())
    return forward, uses, norms


def _held(step: ProbedStep, uses: Mapping[str, int], path: str, norms: set[str]) -> list[str]:
    """Return the parameters that stay as they were before the update."""
    # All of the layer's: autocast takes its bias before its weight, and neither precedes the other.
    names = own_parameters(step.network.get_submodule(path), path)
    own = min((uses[name] for name in names if name in uses), default=0)
    return [
        name
        for name in step.parameters()
        if uses.get(name, own) >= own or name.rpartition(".")[0] in norms
    ]


def _add(
    summed: dict[str, Tensor], step: ProbedStep, index: int, share: float, names: Sequence[str]
) -> None:
    known = step.parameters()
    wanted = {name: known[name] for name in names}
    with step.batch_loss(index) as loss:
        parts = torch.autograd.grad(loss * share, [*wanted.values()], allow_unused=True)
    for name, part in zip(wanted, parts, strict=True):
        if part is not None:
            summed[name] = summed[name] + part if name in summed else part


@contextmanager
def _norms_fed(network: nn.Module, layers: Sequence[str]) -> Iterator[dict[str, set[str]]]:
    """Give, for each layer, the paths of the batch norms that take its output as it is."""
    found: dict[str, set[str]] = {path: set() for path in layers}
    outputs: dict[int, tuple[str, Tensor]] = {}  # with the tensor: its id is not given again then

    def see(place: Place, tensor: Tensor) -> None:
        if place.side == "output":
            outputs[id(tensor)] = place.path, tensor
        elif id(tensor) in outputs:
            found[outputs[id(tensor)][0]].add(place.path)

    norms = [p for p, each in network.named_modules() if module_family(each) == BATCH_NORM]
    places = [*(Place(path, "input") for path in norms), *(Place(path) for path in layers)]
    with watched(network, places, see):
        yield found


def _copied_buffers(network: nn.Module) -> Buffers:
    return {name: buffer.detach().clone() for name, buffer in network.named_buffers()}


def _load(network: nn.Module, buffers: Buffers | None) -> None:
    for name, buffer in network.named_buffers():
        if buffers is not None and name in buffers:
            buffer.data.copy_(buffers[name])
