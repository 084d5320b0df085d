"""The remedies that `fix` applies: code of a rule → a function that changes one layer.

Each returns what it did, with the way back, or refuses by raising `Refusal` before it changes
anything.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from bnkit.inspection.facts.graph import GraphFacts
from bnkit.inspection.facts.model import ModelFacts, ModuleFacts
from bnkit.inspection.facts.whole import Facts
from bnkit.inspection.read_graph import read_graph
from bnkit.inspection.trace import Example
from bnkit.inspection.walk import walk
from bnkit.rewrite.kept_in_eval import is_kept_class, keep_in_eval
from bnkit.rewrite.optimizer_groups import OptimizerGroups
from bnkit.rules.registry import find_rule

_SHORT = (torch.float16, torch.bfloat16)
_SYNCHRONISING = {"DistributedDataParallel"}


class Refusal(Exception):  # noqa: N818 — no error: the reason why a layer is left alone
    """A layer is left alone; the message is the reason, a clause."""


@dataclass
class Applied:
    """What was done to one layer.

    Attributes:
        what: in words.
        reversals: ways back, to be run last to first.
        layers: batch norms whose arithmetic changed.
    """

    what: str
    reversals: list[Callable[[], None]] = field(default_factory=list)
    layers: list[nn.Module] = field(default_factory=list)


@dataclass
class Ground:
    """The model that is changed, and what is known of it.

    Attributes:
        model: the model.
        groups: of the optimizer; None if none was given.
        example: what the model is run on; None if there is none.
    """

    model: nn.Module
    groups: OptimizerGroups | None
    example: Example | None

    @cached_property
    def facts(self) -> ModelFacts:
        """The modules as they were given."""
        return walk(self.model)

    @cached_property
    def graph(self) -> GraphFacts:
        """One traced forward of the model as it was given."""
        if self.example is None:
            raise Refusal(
                "a forward must show what takes its output: give example_args to the check, or here"
            )
        return read_graph(self.model, self.example, on_real_data=False)[0]

    @cached_property
    def redundant_biases(self) -> set[str]:
        """Paths of the layers that BN401 finds."""
        found = find_rule("BN401").find(Facts(self.facts, graph=self.graph))
        return {finding.layer for finding in found}

    def module(self, path: str) -> nn.Module:
        """Return the module at a path."""
        known = self.facts.module(path)
        if known is None:
            raise Refusal("this model has no such layer")
        return self.model.get_submodule(path)

    def batch_norm(self, path: str) -> nn.modules.batchnorm._BatchNorm:
        """Return the batch norm at a path."""
        layer = self.module(path)
        if not isinstance(layer, nn.modules.batchnorm._BatchNorm):
            raise Refusal(f"is a {type(layer).__name__}, no batch norm")
        return layer

    def refuse_parametrized(self, path: str) -> None:
        """Refuse a layer some of whose tensors are computed."""
        layer = self.module(path)
        if parametrize.is_parametrized(layer):
            names = " and ".join(layer.parametrizations)  # type: ignore[arg-type]
            raise Refusal(f"its {names} is parametrized; remove the parametrization first")

    def refuse_tied(self, path: str, own: str) -> None:
        """Refuse a parameter that other modules hold too."""
        module = self.facts.module(path)
        name = module.parameters.get(own) if module else None
        parameter = self.facts.parameter(name) if name else None
        if module is None or parameter is None:
            return
        others = [name for name in parameter.names if name.rpartition(".")[0] not in module.paths]
        if others:
            raise Refusal(f"its {own} is {others[0]} too, which must keep it")

    def refuse_wrapped(self) -> None:
        """Refuse to change the parameters of a model that is wrapped for several processes."""
        wrapped = _SYNCHRONISING.intersection(self.facts.wrappers)
        if wrapped:
            raise Refusal(f"{min(wrapped)} holds its parameters; fix the model before wrapping it")


def drop_bias(ground: Ground, path: str) -> Applied:
    """BN401: drop a bias, and subtract it from the running_mean of each batch norm it feeds."""
    layer, known = ground.module(path), ground.facts.module(path)
    assert known is not None
    bias = layer._parameters.get("bias")
    if bias is None:
        raise Refusal("it has no bias of its own")
    ground.refuse_wrapped()
    ground.refuse_parametrized(path)
    ground.refuse_tied(path, "bias")
    if known.hooks:
        raise Refusal(f"it has {' and '.join(known.hooks)} hooks, which may read its output")
    if path not in ground.redundant_biases:
        raise Refusal("on the example not all that it makes goes to batch norms alone")
    norms = [ground.batch_norm(taker) for taker in _only_fed_by(ground, known)]
    if any(norm.num_features != bias.numel() for norm in norms):
        raise Refusal("the batch norm has another number of channels than its bias")
    done = Applied("bias dropped", layers=list(norms))
    for norm in norms:
        if norm.running_mean is not None:
            done.reversals.append(_shift(norm.running_mean, bias))
            done.what = "bias dropped, and taken from the batch norm's running_mean"
    layer._parameters["bias"] = None

    def restore() -> None:
        layer._parameters["bias"] = bias

    done.reversals.append(restore)
    if ground.groups is not None and ground.groups.group_of(bias) is not None:
        done.reversals.append(ground.groups.drop(bias))
        done.what += ", and from the optimizer"
    return done


def _only_fed_by(ground: Ground, module: ModuleFacts) -> list[str]:
    """Return the paths of the batch norms that a layer feeds, if nothing else feeds them."""
    graph, found = ground.graph, []
    for call in graph.calls_of[module.path]:
        found += [taker.name for taker in graph.takers[call.number]]
    for path in dict.fromkeys(found):
        for call in graph.calls_of[path]:
            source = graph.source(call)
            name = source.name if source is not None else "the input"
            if name not in module.paths:
                raise Refusal(f"{path} normalizes {name} too, by the same running_mean")
    return list(dict.fromkeys(found))


def _shift(mean: Tensor, bias: Tensor) -> Callable[[], None]:
    before = mean.clone()
    with torch.no_grad():
        mean.copy_(mean.double() - bias.double())
    after = mean.clone()

    def restore() -> None:
        with torch.no_grad():
            # What has moved since then keeps that.
            moved = before if torch.equal(mean, after) else mean.double() + bias.double()
            mean.copy_(moved)

    return restore


def to_float32(ground: Ground, path: str) -> Applied:
    """BN106: weight, bias and buffers to float32; a parameter stays the object that it is."""
    layer = ground.batch_norm(path)
    ground.refuse_wrapped()
    ground.refuse_parametrized(path)
    held = {**layer._parameters, **layer._buffers}
    short = {name: t for name, t in held.items() if t is not None and t.dtype in _SHORT}
    if not short:
        raise Refusal("none of its tensors is in half precision")
    for own in short:
        ground.refuse_tied(path, own)
    former = next(iter(short.values())).dtype
    text = f"{', '.join(short)} from {str(former).removeprefix('torch.')} to float32"
    done = Applied(text, layers=[layer])
    for tensor in short.values():
        done.reversals.append(_convert(tensor))
        if ground.groups is not None:
            done.reversals.append(ground.groups.convert_state(tensor, torch.float32))
    return done


def _convert(tensor: Tensor) -> Callable[[], None]:
    former = tensor.dtype

    def to(dtype: torch.dtype) -> None:
        grad = tensor.grad
        tensor.grad = None
        tensor.data = tensor.data.to(dtype)
        tensor.grad = None if grad is None else grad.to(dtype)

    to(torch.float32)
    return lambda: to(former)


def turn_momentum(ground: Ground, path: str) -> Applied:
    """BN501: momentum to 1 − momentum."""
    layer = ground.batch_norm(path)
    former = layer.momentum
    if former is None or not 0.5 < former < 1:
        raise Refusal(f"1 − momentum does not help with momentum {former}; choose one by hand")
    layer.momentum = round(1 - former, 10)

    def restore() -> None:
        layer.momentum = former

    return Applied(f"momentum from {former:g} to {layer.momentum:g}", [restore])


def stop_decay(ground: Ground, path: str) -> Applied:
    """BN503: γ and β to a parameter group with weight_decay=0."""
    layer, groups = ground.module(path), ground.groups
    if groups is None:
        raise Refusal("the optimizer is to be changed: give optimizer=, and inplace=True")
    moved = {}
    for own, parameter in layer._parameters.items():
        group = None if parameter is None else groups.group_of(parameter)
        if parameter is not None and group is not None and group.get("weight_decay", 0) > 0:
            ground.refuse_tied(path, own)
            moved[own] = parameter
    if not moved:
        raise Refusal("none of its parameters is in a group of this optimizer that decays")
    text = f"{' and '.join(moved)} moved to a group with weight_decay=0; build schedulers after it"
    return Applied(text, [groups.stop_decay(parameter) for parameter in moved.values()])


def freeze(ground: Ground, path: str) -> Applied:
    """BN301 and BN302: eval mode for good, with the statistics tracked."""
    layer = ground.batch_norm(path)
    ground.refuse_parametrized(path)
    kind = type(layer)
    if is_kept_class(kind):
        raise Refusal("it stays in eval mode already")
    if "_accelerated_as" in vars(kind) or "train" in vars(layer):
        raise Refusal(f"its class, {kind.__name__}, or its train() was replaced before")
    if layer.running_mean is None or layer.running_var is None:
        raise Refusal("it has no running statistics to be frozen to")
    done = Applied("kept in eval mode, also after model.train()", layers=[layer])
    if not layer.track_running_stats:
        done.what = f"track_running_stats back to True; {done.what}"
        layer.track_running_stats = True

        def restore() -> None:
            layer.track_running_stats = False

        done.reversals.append(restore)
    done.reversals.append(keep_in_eval(layer))
    return done


Fixer = Callable[[Ground, str], Applied]
FIXERS: dict[str, Fixer] = {
    "BN106": to_float32,
    "BN301": freeze,
    "BN302": freeze,
    "BN401": drop_bias,
    "BN501": turn_momentum,
    "BN503": stop_decay,
}
