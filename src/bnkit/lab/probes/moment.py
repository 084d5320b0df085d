"""What a probe sees when it runs."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from torch import nn

from bnkit.inspection.preserve import tensors_of
from bnkit.lab.probes.objective import Examples, Objective
from bnkit.lab.probes.probed_step import ProbedStep
from bnkit.lab.training.observer import StepPlace


def copied(network: nn.Module) -> nn.Module:
    """Return a deep copy of a network; what its modules hold of a graph is copied without it.

    The older `torch.nn.utils.weight_norm` and `spectral_norm` hold such weights, and compute them
    again in each forward.
    """
    held = [tensor for module in network.modules() for tensor in tensors_of(module)]
    memo = {id(tensor): tensor.detach().clone() for tensor in held if not tensor.is_leaf}
    return copy.deepcopy(network, memo)


@dataclass
class Moment:
    """A network at a moment of its training; whatever is done to it here is put back afterwards.

    Put back are modes, hooks, buffers, attributes, random state, `requires_grad` and which tensor
    `.grad` is; not the values of parameters and gradients: a probe that writes to these puts them
    back itself.

    Attributes:
        network: unwrapped: without DistributedDataParallel and torch.compile.
        place: the step.
        objective: how the loop runs the network on a batch.
        held_out, training: examples; None where the loop gave none.
        step: the optimizer step that is watched, for probes that need one.
        step_seconds: wall-clock time of each training step since the probe's last measurement, in
            seconds, without the time of probes.
    """

    network: nn.Module
    place: StepPlace
    objective: Objective
    held_out: Examples | None = None
    training: Examples | None = None
    step: ProbedStep | None = None
    step_seconds: Sequence[float] = field(default_factory=tuple)

    @contextmanager
    def in_eval(self) -> Iterator[nn.Module]:
        """Give the network in eval mode, without gradients; its modes are put back."""
        modes = [(module, module.training) for module in self.network.modules()]
        self.network.eval()
        try:
            with torch.no_grad():
                yield self.network
        finally:
            for module, training in modes:
                module.training = training
