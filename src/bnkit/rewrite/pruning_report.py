"""The result of pruning: a rewrite with what the model got smaller by."""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from bnkit.inspection.trace import Example, as_call
from bnkit.rewrite.channel_trace import followed_mode
from bnkit.rewrite.result import Rewrite


@dataclass
class Pruning(Rewrite):
    """A pruned model with the account of what was removed.

    Attributes:
        parameters_before: number of parameters of the given model.
        parameters_after: and of the pruned one.
        multiply_adds_before: of convolutions and matrix products in one forward on the example.
        multiply_adds_after: and of the pruned model.
        channels: path of a layer → its output channels before and after.
        amount: share of the channels that could be removed that were.
    """

    parameters_before: int = 0
    parameters_after: int = 0
    multiply_adds_before: int = 0
    multiply_adds_after: int = 0
    channels: dict[str, tuple[int, int]] = field(default_factory=dict)
    amount: float = 0.0

    def __str__(self) -> str:
        lines = [
            _shrunk("parameters", self.parameters_before, self.parameters_after),
            _shrunk("multiply-adds", self.multiply_adds_before, self.multiply_adds_after),
        ]
        return "\n".join([super().__str__(), *lines])


def _shrunk(what: str, before: int, after: int) -> str:
    share = f" ({1 - after / before:.1%} fewer)" if before else ""
    return f"{what}: {before:,} → {after:,}{share}"


def parameter_count(model: nn.Module) -> int:
    """Return the number of a model's parameters, tied ones once."""
    return sum(parameter.numel() for parameter in model.parameters())


def multiply_adds(model: nn.Module, example: Example) -> int:
    """Return the multiply-adds of convolutions and matrix products in a forward in eval mode."""
    args, kwargs = as_call(example)
    with followed_mode(model, example, training=False):
        counter = FlopCounterMode(display=False)
        with counter:
            model(*args, **kwargs)
        return int(counter.get_total_flops()) // 2
