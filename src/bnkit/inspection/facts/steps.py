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
            loss reached no parameter in a backward), "written" (changed without a forward).
    """

    layer: str
    step: int
    cause: str


@dataclass(frozen=True)
class WatchedLayer:
    """One batch norm with running statistics over the steps; movements are not among these.

    Nor are forwards on what another network made and is trained through, beside forwards on data.

    Attributes:
        layer: its path.
        updates: for each optimizer step, how often its statistics were updated before it: by how
            much its counter advanced, where it has one.
        forwards: for each optimizer step, how often it ran in training mode, the runs again in
            backward not among them.
        recomputed: for each optimizer step, how often it was updated again in backward, as
            checkpointing does.
    """

    layer: str
    updates: tuple[int, ...]
    forwards: tuple[int, ...]
    recomputed: tuple[int, ...]


@dataclass(frozen=True)
class StepFacts:
    """Some training steps.

    Attributes:
        steps: optimizer steps that were watched.
        accumulated: for each of them, over how many backwards its gradients had added up.
        layers: per batch norm with running statistics.
        movements: statistics that changed outside of training.
        used_checkpointing: whether a batch norm ran again in backward.
    """

    steps: int
    accumulated: tuple[int, ...]
    layers: tuple[WatchedLayer, ...]
    movements: tuple[Movement, ...]
    used_checkpointing: bool = False
