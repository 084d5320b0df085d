"""Whether what the pairs of a fold were shown to be off by explains what the network is off by."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from bnkit.inspection.trace import Example
from bnkit.rewrite.acceleration.layer_check import deviation
from bnkit.rewrite.network_run import NetworkRun, run_network

# An output may differ by so many times what moving the folded layers' outputs changes it by.
_TIMES, _RUNS = 8, 4


def is_explained(
    before: NetworkRun, model: nn.Module, example: Example, proved: Mapping[nn.Module, float]
) -> bool:
    """Return whether a network's outputs differ by no more than its folded layers' do.

    The outputs of the folded layers are moved at random, each by as much as it was shown to be off.

    Args:
        before: a run of the network before it was changed, in eval mode.
        model: as changed.
        example: what its forward takes.
        proved: folded layer → how far it is off, in units of its largest output.

    Cost: five forwards.
    """
    after = _run(model, example)
    if [t.shape for t in before.outputs] != [t.shape for t in after.outputs]:
        return False
    found = _deviations(before, after)
    allowed = [0.0] * len(found)
    for seed in range(_RUNS):
        with _moved(proved, seed):
            moved = _deviations(after, _run(model, example))
        allowed = [max(old, _TIMES * new) for old, new in zip(allowed, moved, strict=True)]
    return all(one <= limit for one, limit in zip(found, allowed, strict=True))


def _run(model: nn.Module, example: Example) -> NetworkRun:
    return run_network(model, example, training=False, with_gradients=False)


def _deviations(one: NetworkRun, other: NetworkRun) -> list[float]:
    return [deviation(a, b) for a, b in zip(one.outputs, other.outputs, strict=True)]


@contextmanager
def _moved(proved: Mapping[nn.Module, float], seed: int) -> Iterator[None]:
    generator = torch.Generator("cpu").manual_seed(seed)
    handles: list[RemovableHandle] = []

    def moving(share: float) -> Callable[..., Tensor]:
        def hook(_: nn.Module, __: Any, output: Tensor) -> Tensor:
            size = share * output.abs().max() if output.numel() else 0.0
            noise = torch.rand(output.shape, generator=generator, device="cpu") * 2 - 1
            return output + size * noise.to(output)

        return hook

    try:
        handles += [layer.register_forward_hook(moving(off)) for layer, off in proved.items()]
        yield
    finally:
        for handle in handles:
            handle.remove()
