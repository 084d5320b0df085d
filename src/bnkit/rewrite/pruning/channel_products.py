"""Channels through what applies weights: convolutions, matrix products, batch norm."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from bnkit.rewrite.pruning.channel_labels import (
    EDGE,
    MIXED,
    UNEVEN,
    Axis,
    Labels,
    Layout,
    unknown,
)
from bnkit.rewrite.pruning.transposed_taps import spread_of

_DEPTHWISE = "a grouped convolution mixes its channels unevenly"


@dataclass
class Consumer:
    """One call of a conv or linear layer, by what its input's constants add to its output.

    Attributes:
        gain: (outputs, inputs / groups) weights, summed over the kernel, in float64.
        constant: the constants of its input's channels.
        edges: inputs whose constants do not hold on the border, where zeros stand around them.
        uneven: inputs whose constants hold on average alone, spread by a transposed convolution.
        groups: of the convolution.
    """

    gain: Tensor
    constant: Tensor
    edges: Tensor
    uneven: Tensor
    groups: int = 1

    @property
    def is_depthwise(self) -> bool:
        """Whether each output comes from one input."""
        return self.groups > 1 and self.gain.shape[1] == 1


@dataclass
class Products:
    """What the traced forwards did with weights.

    Attributes:
        makers: (name of a weight, axis) for each axis that channels come out of.
        takers: the same for each axis that sums over the channels that go in.
        in_eval: name of a weight → its calls in eval mode.
        in_training: the same in training mode.
        readers: name of a weight without a bias → what takes its output: names of running means,
            and of other functions.
        norm_calls: name of a running mean → how often it was used in eval mode.
        scales: names of batch norms' γ.
        pads_with_zeros: whether a function put zeros around channels, where constants do not hold.
    """

    makers: set[tuple[str, int]] = field(default_factory=set)
    takers: set[tuple[str, int]] = field(default_factory=set)
    in_eval: dict[str, list[Consumer]] = field(default_factory=dict)
    in_training: dict[str, list[Consumer]] = field(default_factory=dict)
    readers: dict[str, list[str]] = field(default_factory=dict)
    norm_calls: dict[str, int] = field(default_factory=dict)
    scales: set[str] = field(default_factory=set)
    pads_with_zeros: bool = False

    def consumers(self, name: str) -> list[Consumer]:
        """Return the calls that take in channels: in eval mode, else those that training adds."""
        return self.in_eval.get(name) or self.in_training.get(name, [])


def name_of(labels: Labels, axis: Axis) -> tuple[str, int] | None:
    """Return the name and the axis of the weight whose axis this is, computed from or itself."""
    return None if not axis else labels.origins[axis[0]][:2]


class ProductRules:
    """Layouts of what convolutions, matrix products and batch norms return.

    Args:
        labels: of the trace.
        products: what is filled.
    """

    def __init__(self, labels: Labels, products: Products) -> None:
        self.labels, self.products = labels, products
        self.in_training = False

    def convolution(
        self, x: Layout, weight: Layout, bias: Layout | None, values: Tensor, args: Sequence[Any]
    ) -> Layout:
        """Return the layout of what aten's convolution returns."""
        is_transposed, groups = bool(args[6]), int(args[8])
        into, out = (0, 1) if is_transposed else (1, 0)
        gain = values.detach().cpu().double().flatten(2).sum(2)
        if is_transposed:
            gain = gain / torch.tensor(args[3]).prod()
        if groups == 1:
            self.labels.tie(x.axes[1], weight.axes[into], MIXED)
            made = weight.axes[out]
            gain = gain.t() if is_transposed else gain
        else:
            made = self._grouped(x.axes[1], weight, values.shape, groups, is_transposed)
            if is_transposed:
                gain = gain.reshape(groups, -1, gain.shape[1]).transpose(1, 2).flatten(0, 1)
        inputs = gain.shape[1] * groups
        is_padded, spread = any(args[4]), torch.zeros(inputs, dtype=torch.bool)
        if is_transposed:
            is_padded, spread = spread_of(values, args[0].shape[2:], args)
        edges, uneven = (self._inexact(x, inputs, kind) for kind in (EDGE, UNEVEN))
        given = _given(x.constant, inputs)
        call = Consumer(gain, given, edges | is_padded, uneven | spread, groups)
        constant = self._call(call, bias, weight.axes[into], made)
        axes = [None] * len(x.axes)
        name = name_of(self.labels, made) or ("", 0)
        layout = Layout((axes[0], made, *axes[2:]), constant, made_by="" if bias else name[0])
        return replace(layout, inexact=_inexact_outputs(call, made))

    def _inexact(self, x: Layout, size: int, kind: str) -> Tensor:
        """Return which channels of a layer's input hold no exact constants."""
        found = torch.zeros(size, dtype=torch.bool)
        roots = {self.labels.find(label) for label, what in x.inexact if what == kind}
        axis = x.axes[1]
        if roots and axis is not None and len(axis) == size:
            found |= torch.tensor([self.labels.find(label) in roots for label in axis])
        return found

    def _grouped(
        self, x: Axis, weight: Layout, shape: Sequence[int], groups: int, is_transposed: bool
    ) -> Axis:
        """Tie the channels of a grouped convolution; return the labels of its output."""
        labels = self.labels
        rows, columns = weight.axes[0], weight.axes[1]
        if x is None or rows is None:
            for axis in (x, rows, columns):
                labels.keep(axis, MIXED)
            return None
        per_group = len(x) // groups
        if per_group == 1:  # depthwise: a group goes with its input channel
            each = len(rows) // groups
            for number, label in enumerate(x):
                labels.tie((label,) * each, rows[number * each : (number + 1) * each], _DEPTHWISE)
            if not is_transposed:
                return rows
            labels.keep(columns, _DEPTHWISE)
            return tuple(label for label in rows for _ in range(shape[1]))
        inner = rows[:per_group] if is_transposed else columns
        for start in range(0, len(x), per_group):
            part = x[start : start + per_group]
            labels.tie(part, inner, MIXED)
            if is_transposed:
                labels.tie(part, rows[start : start + per_group], MIXED)
        return self._evenly(rows, columns, groups, is_transposed)

    def _evenly(self, rows: Axis, columns: Axis, groups: int, is_transposed: bool) -> Axis:
        """Tie the outputs that have the same place in all groups, and return their labels."""
        assert rows is not None
        if is_transposed:
            if columns is None:
                self.labels.keep(rows, _DEPTHWISE)
                return None
            return columns * groups
        each = len(rows) // groups
        for start in range(each, len(rows), each):
            self.labels.tie(rows[:each], rows[start : start + each], _DEPTHWISE)
        return rows

    def product(
        self, x: Layout, weight: Layout, bias: Layout | None, values: Tensor | None
    ) -> Layout:
        """Return the layout of x @ weight, both matrices."""
        self.labels.tie(x.axes[1], weight.axes[0], MIXED)
        if not weight.is_held:
            reason = "a product of two computed tensors sums over its channels"
            if not x.is_held:
                self.labels.keep(x.axes[1], reason)
            return Layout((x.axes[0], weight.axes[1]), is_held=x.is_held)
        if x.is_held:
            self.labels.keep(x.axes[1], "a product of weights sums over its channels")
            return Layout((x.axes[0], weight.axes[1]), is_held=True)
        assert values is not None
        gain = values.detach().cpu().double().t()
        made = weight.axes[1]
        size = gain.shape[1]
        edges, uneven = (self._inexact(x, size, kind) for kind in (EDGE, UNEVEN))
        call = Consumer(gain, _given(x.constant, size), edges, uneven)
        constant = self._call(call, bias, weight.axes[0], made)
        name = name_of(self.labels, made) or ("", 0)
        if x.axes[0] is not None:
            constant = None
        return Layout((x.axes[0], made), constant, made_by="" if bias else name[0])

    def _call(self, call: Consumer, bias: Layout | None, into: Axis, made: Axis) -> Tensor | None:
        """Note a call of a layer, and return the constants of its output's channels.

        Args:
            call: what it takes.
            bias: of the layer.
            into: the axis of its weight that sums over its input's channels.
            made: the labels of its output, which are those of the other axis.
        """
        if bias is not None:
            self.labels.tie(made, bias.axes[0], MIXED)
        origin, source = name_of(self.labels, made), name_of(self.labels, into)
        if origin is not None:
            self.products.makers.add(origin)
        if source is not None and not call.is_depthwise:
            self.products.takers.add(source)
            table = self.products.in_training if self.in_training else self.products.in_eval
            table.setdefault(source[0], []).append(call)
        if made is None:
            return None
        if call.is_depthwise and len(made) == len(call.gain):
            each = len(made) // call.groups
            return _bias(bias, len(made)) + call.gain[:, 0] * call.constant.repeat_interleave(each)
        return _bias(bias, len(made))

    def batch_norm(self, x: Layout, held: Sequence[Layout | None], name: str) -> Layout:
        """Return the layout of what a batch norm returns.

        Args:
            x: of the input.
            held: of γ, β, running mean and variance.
            name: of the running mean; "" for none.
        """
        channels = x.axes[1]
        for layout in held:
            if layout is not None:
                self.labels.tie(channels, layout.axes[0], MIXED)
        scale, shift = held[0], held[1]
        origin = name_of(self.labels, scale.axes[0]) if scale is not None else None
        if origin is not None:
            self.products.scales.add(origin[0])
        if name and not self.in_training:
            self.products.norm_calls[name] = self.products.norm_calls.get(name, 0) + 1
        constant = None if channels is None else _bias(shift, len(channels))
        # The constant is its own, and holds on the border too.
        return replace(x.with_axes(x.axes, constant), inexact=frozenset())


def _inexact_outputs(call: Consumer, made: Axis) -> frozenset[tuple[int, str]]:
    """Return the labels of outputs whose constants are not exact, with how; depthwise alone."""
    if made is None or not call.is_depthwise or len(made) != len(call.gain):
        return frozenset()  # any other layer's output is its bias once its own channel goes
    each, is_given = len(made) // call.groups, call.constant != 0
    return frozenset(
        (label, kind)
        for kind, inputs in ((EDGE, call.edges), (UNEVEN, call.uneven))
        for label, is_in in zip(made, (inputs & is_given).repeat_interleave(each), strict=True)
        if is_in
    )


def _bias(bias: Layout | None, size: int) -> Tensor:
    if bias is None:
        return torch.zeros(size, dtype=torch.float64)
    return unknown(size) if bias.constant is None else bias.constant


def _given(constant: Tensor | None, size: int) -> Tensor:
    return constant if constant is not None and len(constant) == size else unknown(size)
