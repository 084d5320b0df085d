"""`frozen_statistics`: a context in which no forward moves a running statistic."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock

from torch import Tensor, nn

from bnkit.errors import ArgumentTypeError
from bnkit.inspection.walk import norm_kind
from bnkit.rewrite.guarded_class import STATISTICS, guarded_class, unguarded_class
from bnkit.rewrite.layer_choice import Patterns, chosen_layers
from bnkit.rewrite.rewrite_arguments import refuse_scripted

# Layer → how many contexts it is in, of whatever threads. Keyed by identity: layers in here are
# held by the open contexts.
_depths: dict[int, int] = {}
_lock = Lock()


@contextmanager
def frozen_statistics(model: nn.Module, layers: Patterns | None = None) -> Iterator[nn.Module]:
    """Let no forward move running_mean, running_var or num_batches_tracked.

    Modes stay: a layer in training mode goes on normalizing by the batch, and one in eval mode by
    its running statistics. Use it where a forward in training mode is not one of training: a second
    forward of the same batch (gradient penalties, SAM, adversarial examples), a probe, a finder of
    learning rates.

    While it is open a layer's code reads copies of its statistics, so whatever is written to
    `layer.running_mean` and its like is lost, by a forward or by hand; `load_state_dict` works.
    Since nothing is moved, nothing is put back: values of inf, an exception, and other threads
    change nothing about it. Contexts can be nested, and be left in any order; layers can be frozen,
    unfrozen and converted within, and a rewrite be undone.

    With activation checkpointing run the backward within it too: it runs the forward once more, and
    where the context is closed by then that moves the statistics. A layer that is put into the
    model while it is open, also by an undo, is not held.

    Args:
        model: any network with layers that have running statistics.
        layers: paths or patterns of those meant; None for all.

    Yields:
        The model.

    Raises:
        ArgumentTypeError: `model` is no module, or a pattern no text.
        RewriteError: no layer has running statistics; a pattern names none; a layer is TorchScript.

    Cost: three copies of C values for each forward of a layer; a model that torch.compile compiled
    is compiled once more.
    """
    if not isinstance(model, nn.Module):
        raise ArgumentTypeError(f"model is a {type(model).__name__}", required="a torch.nn.Module")
    refuse_scripted(
        model,
        "its statistics cannot be held still from outside",
        "Use the module that it was made from",
    )
    chosen = chosen_layers(model, layers, _has_statistics, "layer with running statistics")
    held = list(chosen.values())
    with _lock:
        for layer in held:
            _enter(layer)
    try:
        yield model
    finally:
        with _lock:
            for layer in held:
                _leave(layer)


def _has_statistics(layer: nn.Module) -> bool:
    holds = any(isinstance(layer._buffers.get(name), Tensor) for name in STATISTICS[:2])
    return norm_kind(layer) is not None and holds


def _enter(layer: nn.Module) -> None:
    _depths[id(layer)] = _depths.get(id(layer), 0) + 1
    if _depths[id(layer)] == 1:
        layer.__class__ = guarded_class(type(layer))


def _leave(layer: nn.Module) -> None:
    _depths[id(layer)] -= 1
    if _depths[id(layer)]:
        return
    del _depths[id(layer)]
    layer.__class__ = unguarded_class(type(layer))
