"""Which batch norms of a traced run stand directly after or before a conv or linear layer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

from bnkit.inspection.trace import Call, Trace
from bnkit.rewrite.folding import fold_obstacles as obstacles
from bnkit.rewrite.folding.fold_arithmetic import scale_and_shift
from bnkit.rewrite.folding.fold_obstacles import Ties

Border = Literal["refuse", "correct"]
_PARAMETERS = ("weight", "bias")
_STATISTICS = ("weight", "bias", "running_mean", "running_var")


@dataclass
class FoldGroup:
    """A conv or linear layer and the batch norms that go into it.

    Attributes:
        path, linear: the layer.
        after: path → batch norms behind it, in the order in which they run.
        before: path → batch norms in front of it, the nearest first.
    """

    path: str
    linear: nn.Module
    after: dict[str, _BatchNorm] = field(default_factory=dict)
    before: dict[str, _BatchNorm] = field(default_factory=dict)

    @property
    def norms(self) -> dict[str, _BatchNorm]:
        """All of them."""
        return self.before | self.after

    @property
    def members(self) -> dict[str, nn.Module]:
        """Path → batch norms and layer in the order in which they run."""
        backwards: dict[str, nn.Module] = dict(reversed(self.before.items()))
        return backwards | {self.path: self.linear} | self.after

    @property
    def needs_taps(self) -> bool:
        """Whether what goes in front adds another constant on the border than inside."""
        if not is_position_dependent(self.linear):
            return False
        return any(bool(scale_and_shift(norm)[1].any()) for norm in self.before.values())


@dataclass
class FoldPlan:
    """What is to be folded, and why the rest is not.

    Attributes:
        groups: path of a conv or linear layer → what goes into it.
        reasons: path of a batch norm → why it is left.
    """

    groups: dict[str, FoldGroup] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)

    def drop(self, group: FoldGroup, path: str, reason: str) -> None:
        """Leave a batch norm as it is, and those that lie beyond it."""
        for norms in (group.after, group.before):
            beyond = list(norms)
            if path in beyond:
                for other in beyond[beyond.index(path) :]:
                    del norms[other]
                    nearer = f"{path} between them stays: {reason}"
                    self.reasons[other] = reason if other == path else nearer
        if not group.norms:
            self.groups.pop(group.path, None)


def is_position_dependent(layer: nn.Module) -> bool:
    """Return whether a constant input gives outputs that depend on the position."""
    if isinstance(layer, _ConvTransposeNd):
        is_pointwise = set(layer.kernel_size) | set(layer.stride) == {1}
        return not is_pointwise or any(layer.padding) or any(layer.output_padding)
    if not isinstance(layer, _ConvNd) or layer.padding_mode != "zeros":
        # Other paddings repeat values of the batch norm's output: applied to each value alone, it
        # gives the same before and after they are copied.
        return False
    if isinstance(layer.padding, str):
        return layer.padding == "same" and any(size > 1 for size in layer.kernel_size)
    return any(layer.padding)


class PairSearch:
    """Finds what can be folded into what in one traced run.

    Args:
        watched: the run in eval mode.
        ties: who else holds or reads parameters.
        elsewhere: path of a layer → who else sees its output, beyond what the trace shows.
        border: "correct" if a batch norm may go into a layer whose border needs a correction.
        chosen: ids of the batch norms, and of the layers beside them, that are wanted; None: all.
    """

    def __init__(
        self,
        watched: Trace,
        ties: Ties,
        elsewhere: Mapping[str, str],
        border: Border,
        chosen: set[int] | None,
    ) -> None:
        self._watched, self._ties, self._elsewhere = watched, ties, elsewhere
        self._border, self._chosen = border, chosen
        self._takers: dict[int, list[int]] = {}
        self._calls: dict[int, list[int]] = {}
        for number, call in enumerate(watched.calls):
            for source in call.sources:
                if source is not None:
                    self._takers.setdefault(source, []).append(number)
            if call.module is not None:
                self._calls.setdefault(id(call.module), []).append(number)
        self._folded: set[int] = set()
        self._plan = FoldPlan()

    def plan(self, norms: Mapping[str, _BatchNorm]) -> FoldPlan:
        """Return what becomes of each of some batch norms."""
        ran = {id(norm): min(self._calls.get(id(norm), [-1])) for norm in norms.values()}
        in_order = sorted(norms, key=lambda path: ran[id(norms[path])])
        tried: dict[str, list[str]] = {}
        for path in in_order:
            tried[path] = (
                [] if ran[id(norms[path])] >= 0 else ["it never ran on the example in eval mode"]
            )
            tried[path] += list(self._of_norm(norms[path]))
            if not tried[path]:
                tried[path] = self._try(path, norms[path], is_after=True)
        for path in reversed(in_order):
            if id(norms[path]) in self._folded:
                continue
            if self._is_sound(norms[path]) and ran[id(norms[path])] >= 0:
                tried[path] += self._try(path, norms[path], is_after=False)
            if id(norms[path]) not in self._folded and self._is_wanted(norms[path]):
                self._plan.reasons[path] = "; ".join(tried[path]) or self._neighbours(norms[path])
        self._plan.reasons = {
            path: self._plan.reasons[path] for path in in_order if path in self._plan.reasons
        }
        return self._plan

    def _is_sound(self, norm: _BatchNorm) -> bool:
        return not any(True for _ in self._of_norm(norm))

    def _of_norm(self, norm: _BatchNorm) -> Iterator[str]:
        times = len(self._calls.get(id(norm), ()))
        if times > 1:
            yield f"it is shared: it runs {times} times in a forward"
        yield from obstacles.of_norm(norm)
        yield from self._ties.read("the batch norm", norm, _STATISTICS)

    def _is_wanted(self, norm: _BatchNorm) -> bool:
        if self._chosen is None or id(norm) in self._chosen:
            return True
        ends = [self._search(norm, is_after=side)[0] for side in (True, False)]
        return any(end is not None and id(end.module) in self._chosen for end in ends)

    def _try(self, path: str, norm: _BatchNorm, *, is_after: bool) -> list[str]:
        """Fold a batch norm into the layer on one side, or return why not; empty if none is."""
        linear, links = self._search(norm, is_after=is_after)
        if linear is None or linear.module is None:
            return []
        if self._chosen is not None and not {id(norm), id(linear.module)} & self._chosen:
            return []
        reasons = list(self._of_pair(norm, linear, links, is_after))
        if not reasons:
            group = self._plan.groups.setdefault(linear.name, FoldGroup(linear.name, linear.module))
            (group.after if is_after else group.before)[path] = norm
            self._folded.add(id(norm))
        return reasons

    def _search(self, norm: _BatchNorm, *, is_after: bool) -> tuple[Call | None, list[int]]:
        """Return the conv or linear layer next to a batch norm, and the calls between and first."""
        calls, number = self._watched.calls, self._calls.get(id(norm), [None])[0]
        links: list[int] = []
        while number is not None:
            if is_after:
                number = next(iter(calls[number].sources), None)
                if number is not None:
                    links.append(number)
            else:
                links.append(number)
                taken = [n for n in self._takers.get(number, ()) if calls[n].sources[0] == number]
                number = next((n for n in taken if self._leads_on(calls[n])), None)
            if number is None:
                break
            if _is_linear(calls[number]):
                return calls[number], links
            if not self._passes(calls[number]):
                break
        return None, links

    def _leads_on(self, call: Call) -> bool:
        return _is_linear(call) or self._passes(call)

    def _passes(self, call: Call) -> bool:
        """Return whether a call does nothing once what has been folded is gone."""
        module = call.module
        if type(module) is nn.Dropout or type(module) is nn.Dropout2d:
            return module.p == 0
        if isinstance(module, _BatchNorm):
            return id(module) in self._folded and not obstacles.is_act(module)
        return type(module) is nn.Identity

    def _of_pair(
        self, norm: _BatchNorm, linear: Call, links: list[int], is_after: bool
    ) -> Iterator[str]:
        layer, path = linear.module, linear.name
        assert layer is not None
        yield from obstacles.of_linear(path, layer)
        times = len(self._calls[id(layer)])
        if times > 1:
            yield f"{path} is shared: it runs {times} times in a forward"
        yield from self._ties.of(path, layer, _PARAMETERS)
        yield from self._ties.read(path, layer, _PARAMETERS)
        yield from self._of_links(links)
        yield from self._of_shapes(norm, linear, is_after)
        if not is_after:
            yield from self._of_order(norm, linear)

    def _of_links(self, links: list[int]) -> Iterator[str]:
        calls = self._watched.calls
        for number in links:
            name, takers = calls[number].name, self._takers.get(number, [])
            if len(takers) != 1:
                names = dict.fromkeys(calls[taker].name for taker in takers)
                yield f"the output of {name} goes to {' and '.join(names)}"
            elif calls[takers[0]].sources[0] != number:
                yield f"the output of {name} is not the first input of {calls[takers[0]].name}"
            if number in self._watched.output_sources:
                yield f"the output of {name} is returned too"
            elif calls[number].module is not None and name in self._elsewhere:
                yield self._elsewhere[name]

    def _of_shapes(self, norm: _BatchNorm, linear: Call, is_after: bool) -> Iterator[str]:
        layer, path = linear.module, linear.name
        form = (linear.outputs if is_after else linear.inputs)[0]
        if isinstance(layer, nn.Linear):
            if len(form.shape) != 2:
                yield (
                    f"it works on shape {form.shape}: the channels of {path} lie on the last axis, "
                    "those of the batch norm on the second"
                )
        elif isinstance(layer, _ConvNd) and len(form.shape) != len(layer.kernel_size) + 2:
            yield (
                f"it works on shape {form.shape}, which {path} reads as one sample without a "
                "batch axis"
            )
        channels = form.shape[-1] if isinstance(layer, nn.Linear) else form.shape[1:2]
        if channels not in (norm.num_features, (norm.num_features,)):
            yield f"it has {norm.num_features} channels, unlike {path}"
        if layer is not None and _device(layer) != _device(norm):
            yield f"it lies on another device than {path}"

    def _of_order(self, norm: _BatchNorm, linear: Call) -> Iterator[str]:
        layer = linear.module
        assert layer is not None
        if obstacles.is_act(norm):
            yield f"an activation stands between it and {linear.name}"
        if len(linear.inputs) != 1:
            yield f"{linear.name} takes several tensors"
        if self._border == "correct" or not is_position_dependent(layer):
            return
        if norm.running_mean is not None and not bool(scale_and_shift(norm)[1].any()):
            return
        if isinstance(layer, _ConvTransposeNd):
            why = "is transposed, so the number of its taps that see the batch norm's shift varies"
        else:
            why = "pads with zeros, which the batch norm's shift does not reach"
        yield (
            f"{linear.name} after it {why}: on the border the fold would be wrong; "
            'border="correct" folds it with a correction'
        )

    def _neighbours(self, norm: _BatchNorm) -> str:
        number = self._calls[id(norm)][0]
        calls = self._watched.calls
        source = next(iter(calls[number].sources), None)
        maker = "outside" if source is None else _named(calls[source])
        takers = dict.fromkeys(_named(calls[taker]) for taker in self._takers.get(number, ()))
        goal = f"goes to {' and '.join(takers)}" if takers else "is returned"
        return (
            f"no conv or linear layer stands next to it: its input comes from {maker}, "
            f"its output {goal}"
        )


def _named(call: Call) -> str:
    return call.name if call.module is None else f"{call.name}, a {type(call.module).__name__}"


def _is_linear(call: Call) -> bool:
    return call.module is not None and obstacles.kind_of(call.module) is not None


def _device(module: nn.Module) -> torch.device | None:
    tensors = (*module.parameters(recurse=False), *module.buffers(recurse=False))
    return next((tensor.device for tensor in tensors), None)
