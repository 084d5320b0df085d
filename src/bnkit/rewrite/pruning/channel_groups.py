"""Which channels can be removed, in groups that the same layers share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import nn
from torch.nn.utils.parametrize import is_parametrized

from bnkit.rewrite.pruning.channel_trace import ChannelTrace

# (name of a parameter or buffer, axis) → indices.
Indices = dict[tuple[str, int], list[int]]

_RESIZED = (
    nn.Linear,
    nn.modules.conv._ConvNd,
    nn.modules.batchnorm._NormBase,
    nn.PReLU,
)
_UNSEEN = "it took no part in the forward on the example, so what feeds it is not known"
_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


@dataclass
class ChannelGroup:
    """Channels that all stand in the same axes of the same parameters and buffers.

    Attributes:
        layers: paths of the layers that make them, in the order of the model.
        channels: for each channel, which indices go with it. A channel is what is removed at once:
            several indices of one axis where a reshape or a grouped convolution asks for it.
    """

    layers: list[str]
    channels: list[Indices] = field(default_factory=list)

    @property
    def axes(self) -> set[tuple[str, int]]:
        """The axes in which its channels stand."""
        return set(self.channels[0])


@dataclass
class Grouping:
    """All groups of a model's channels.

    Attributes:
        groups: those that can be pruned.
        refused: path of a layer → why its output channels, or some of them, cannot.
        unseen: path of a layer whose weight was not seen in a forward → why.
    """

    groups: list[ChannelGroup]
    refused: dict[str, str]
    unseen: dict[str, str]


def owners(model: nn.Module) -> dict[str, tuple[nn.Module, str]]:
    """Return name of a parameter or buffer → the module that holds it, and its name there."""
    names = [name for name, _ in [*model.named_parameters(), *model.named_buffers()]]
    return {name: _owner(model, name) for name in names}


def _owner(model: nn.Module, name: str) -> tuple[nn.Module, str]:
    path, _, last = name.rpartition(".")
    return model.get_submodule(path), last


def find_groups(model: nn.Module, trace: ChannelTrace) -> Grouping:
    """Return the groups of channels that can be pruned, and why the others cannot."""
    makers = trace.products.makers
    found: dict[int, Indices] = {}
    refused: dict[str, str] = {}
    for label, (name, axis, index) in enumerate(trace.labels.origins):
        if not name:
            continue
        reason = trace.labels.reason(label)
        if reason:
            if (name, axis) in makers:
                refused.setdefault(name.rpartition(".")[0], reason)
            continue
        found.setdefault(trace.labels.find(label), {}).setdefault((name, axis), []).append(index)
    held, ties = owners(model), _tied(model)
    groups: dict[tuple[tuple[str, int], ...], ChannelGroup] = {}
    for channel in found.values():
        layers = list(
            dict.fromkeys(name.rpartition(".")[0] for name, a in channel if (name, a) in makers)
        )
        if not layers:
            continue
        reason = next(filter(None, (_refusal(held[n][0], n, ties) for n, _ in channel)), "")
        if reason:
            for layer in layers:
                refused.setdefault(layer, reason)
            continue
        group = groups.setdefault(tuple(sorted(channel)), ChannelGroup(layers))
        group.channels.append(channel)
    return Grouping(list(groups.values()), refused, _unseen(model, trace, ties))


def _tied(model: nn.Module) -> dict[str, str]:
    """Return name of a parameter or buffer → another name of it, held by another module or slot."""
    places: dict[int, list[str]] = {}
    for path, module in model.named_modules():
        for table in (module._parameters, module._buffers):
            for key, tensor in table.items():
                if tensor is not None:
                    places.setdefault(id(tensor), []).append(f"{path}.{key}" if path else key)
    return {
        name: next(other for other in names if other != name)
        for names in places.values()
        if len(names) > 1
        for name in names
    }


def _refusal(module: nn.Module, name: str, ties: Mapping[str, str]) -> str:
    """Return why a parameter or buffer must keep its shape; empty if it may lose channels."""
    path = name.rpartition(".")[0] or "the model"
    tensor = module._parameters.get(name.rpartition(".")[2])
    home, kind = type(module).__module__, type(module).__name__
    is_parametrization = isinstance(module, nn.utils.parametrize.ParametrizationList)
    reasons = {
        f"{name} is tied to {ties.get(name)}": name in ties,
        f"{path} has a parametrization": is_parametrization or is_parametrized(module),
        f"{path} has hooks, which may count on the number of its channels": any(
            getattr(module, table) for table in _HOOKS
        ),
        f"{path} is a {kind}, whose channels are not removed": home.startswith("torch.nn.")
        and not isinstance(module, _RESIZED),
        f"{name} is no plain parameter": tensor is not None and type(tensor) is not nn.Parameter,
    }
    return next((reason for reason, holds in reasons.items() if holds), "")


def _unseen(model: nn.Module, trace: ChannelTrace, ties: Mapping[str, str]) -> dict[str, str]:
    used = [name for name, _ in trace.products.makers | trace.products.takers]
    found: dict[str, str] = {}
    for path, module in model.named_modules():
        prefix = f"{path}." if path else ""
        if not isinstance(module, nn.Linear | nn.modules.conv._ConvNd) or any(
            name.startswith(prefix) for name in used
        ):
            continue
        reason = _refusal(module, f"{prefix}weight", ties)
        if reason or max(module.weight.shape[:2]) > 1:
            found[path] = reason or _UNSEEN
    return found
