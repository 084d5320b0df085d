"""Facts about training steps that were watched (need S): what `bnkit.watch` fills."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Movement:
    """Running statistics that changed outside of training.

    Attributes:
        layer: path of the layer.
        step: optimizer steps that had been made.
        cause: "no-grad" (a forward under no_grad or inference_mode), "no-step" (a forward whose
            loss never reached an optimizer step), "written" (changed without a forward).
    """

    layer: str
    step: int
    cause: str


@dataclass(frozen=True)
class WatchedLayer:
    """One batch norm over the steps.

    Attributes:
        layer: its path.
        updates: for each optimizer step, by how much its counter advanced before it.
        forwards: for each optimizer step, how often it ran in training mode with gradients.
    """

    layer: str
    updates: tuple[int, ...]
    forwards: tuple[int, ...]


@dataclass(frozen=True)
class StepFacts:
    """Some training steps.

    Attributes:
        steps: optimizer steps that were watched.
        layers: per batch norm with a counter.
        movements: statistics that changed outside of training.
        used_checkpointing: whether `torch.utils.checkpoint` ran a batch norm again.
    """

    steps: int
    layers: tuple[WatchedLayer, ...]
    movements: tuple[Movement, ...]
    used_checkpointing: bool = False
