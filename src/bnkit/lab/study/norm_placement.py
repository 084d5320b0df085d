"""The arm whose batch norms stand behind the activations."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from bnkit.errors import RewriteError
from bnkit.inspection.families import module_family
from bnkit.inspection.trace import Call, Trace, trace
from bnkit.lab.study.arms import not_applied
from bnkit.rewrite import Change, Rewrite, insert, remove


def behind_activations(network: nn.Module, example: Tensor, norm: str) -> Rewrite:
    """Move each batch norm behind the activation that follows it.

    It stays the same layer, with its γ and β, eps, momentum and statistics. The layer that fed it
    gets a zero bias if it has none, since β no longer stands where that bias would.

    Raises:
        RewriteError: a batch norm is not fed by a conv or linear layer alone, or no activation
            module alone takes its output.
    """
    feeding = _feeding_layers(trace(network, example), norm)
    moved = {path: network.get_submodule(path) for path in feeding}
    removed = remove(network, example, inplace=True)
    after = list(feeding.values())
    inserted = insert(
        network, example, after=after, where="after-activation", drop_bias=False, inplace=True
    )
    behind = {change.path: change.what for change in inserted.changes}
    reasons = {item.path: item.reason for item in inserted.skipped if item.path in after}
    left = {
        path: f"cannot be moved behind an activation: behind {layer} {reasons.get(layer, '')}"
        for path, layer in feeding.items()
        if layer not in behind
    }
    if left:
        raise not_applied(left, norm)
    changes = [change for change in removed.changes if change.path not in moved]
    for path, place in _new_places(network, feeding, example).items():
        activation = network.get_submodule(place)
        assert isinstance(activation, nn.Sequential)
        _refuse_other_width(path, moved[path], activation.norm, norm)
        activation.norm = moved[path]
        changes.append(Change(path, f"moved behind the activation {place}"))
    return Rewrite(network, changes=changes, skipped=removed.skipped)


def _feeding_layers(watched: Trace, norm: str) -> dict[str, str]:
    """Return path of each batch norm that ran → path of the layer directly before it."""
    feeding: dict[str, str] = {}
    left: dict[str, str] = {}
    for call in watched.calls:
        if not isinstance(call.module, _BatchNorm):
            continue
        source = _source(watched, call)
        if source is None or not isinstance(source.module, nn.Linear | nn.modules.conv._ConvNd):
            left[call.name] = _why_it_stays(source)
        feeding[call.name] = source.name if source is not None else ""
    if left:
        raise not_applied(left, norm)
    if not feeding:
        raise RewriteError("the network runs no batch norm", required="at least one to be moved")
    return feeding


def _why_it_stays(source: Call | None) -> str:
    if source is None:
        return "is fed by the network's input, so it cannot be moved"
    if source.module is not None and module_family(source.module) == "activation":
        return f"is behind the activation {source.name} already"
    return f"is fed by {source.name} and not by a conv or linear layer alone, so it cannot be moved"


def _source(watched: Trace, call: Call) -> Call | None:
    number = call.sources[0] if call.sources else None
    if number is None or number < 0:
        return None
    source = watched.calls[number]
    return _source(watched, source) if isinstance(source.module, nn.Identity) else source


def _new_places(network: nn.Module, feeding: dict[str, str], example: Tensor) -> dict[str, str]:
    """Return path of each former batch norm → path of the Sequential that `insert` made for it."""
    watched = trace(network, example)
    layers = {layer: path for path, layer in feeding.items()}
    places: dict[str, str] = {}
    for call in watched.calls:
        if isinstance(call.module, _BatchNorm):
            activation = _source(watched, call)
            before = _source(watched, activation) if activation is not None else None
            if before is not None and before.name in layers:
                places[layers[before.name]] = call.name.rpartition(".")[0]
    assert len(places) == len(feeding)
    return places


def _refuse_other_width(path: str, moved: nn.Module, made: Tensor | nn.Module, norm: str) -> None:
    assert isinstance(moved, _BatchNorm)
    assert isinstance(made, _BatchNorm)
    if moved.num_features != made.num_features:
        reason = (
            f"cannot be moved behind an activation: it has {moved.num_features} channels, and "
            f"the activation gives {made.num_features}"
        )
        raise not_applied({path: reason}, norm)
