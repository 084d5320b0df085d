"""Channels through functions that apply no weights: pointwise, pooling, reductions, reshapes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from bnkit.rewrite.pruning.channel_labels import MIXED, Axis, Labels, Layout, unknown
from bnkit.rewrite.pruning.channel_reshapes import reshaped

# fmt: off
# Those that are pointwise without being tagged so.
POINTWISE = {
    "_prelu_kernel", "hardswish", "hardswish_", "log_sigmoid_forward", "copy_", "_to_copy", "clone",
    "lift_fresh", "detach", "alias", "contiguous", "rrelu_with_noise", "native_dropout", "dropout",
    "fill_", "zero_", "masked_fill", "masked_fill_", "addcmul", "addcdiv", "lerp", "threshold",
    "bernoulli", "bernoulli_", "rand_like", "randn_like", "zeros_like", "ones_like", "empty_like",
    "full_like", "_conj", "nan_to_num", "hardtanh", "hardtanh_", "leaky_relu_", "relu6", "uniform_",
    "normal_",
}
# What draws values, or makes others whatever its input holds.
NOT_CONSTANT = {
    "rrelu_with_noise", "native_dropout", "dropout", "bernoulli", "bernoulli_", "rand_like",
    "randn_like", "zeros_like", "ones_like", "empty_like", "full_like", "uniform_", "normal_",
    "fill_", "zero_",
}
# Over the last axes; a constant passes, but for zeros around it.
_POOLING = {
    "max_pool1d", "max_pool2d_with_indices", "max_pool3d_with_indices", "avg_pool1d", "avg_pool2d",
    "avg_pool3d", "_adaptive_avg_pool2d", "_adaptive_avg_pool3d", "adaptive_avg_pool1d",
    "adaptive_max_pool2d", "adaptive_max_pool3d", "upsample_nearest1d", "upsample_nearest2d",
    "upsample_nearest3d", "_upsample_nearest_exact1d", "_upsample_nearest_exact2d",
    "_upsample_nearest_exact3d", "upsample_linear1d", "upsample_bilinear2d", "upsample_bicubic2d",
    "upsample_trilinear3d", "_upsample_bilinear2d_aa", "_upsample_bicubic2d_aa",
    "reflection_pad1d", "reflection_pad2d", "reflection_pad3d", "replication_pad1d",
    "replication_pad2d", "replication_pad3d",
}
_REDUCTIONS = {
    "mean", "sum", "amax", "amin", "var", "std", "var_mean", "std_mean", "prod", "max", "min",
    "argmax", "argmin", "any", "all", "logsumexp", "linalg_vector_norm", "norm", "median",
}
_CONSTANT_REDUCTIONS = {"mean", "amax", "amin", "max", "min", "median"}
# Along one axis, whose length stays; position of the axis among the arguments.
_ALONG = {"_softmax": 1, "_log_softmax": 1, "cumsum": 1, "cumprod": 1, "sort": 1, "flip": 1,
          "roll": 2}
# fmt: on


@dataclass(frozen=True)
class At:
    """A call of a function: its arguments, the layout of its one tensor, and what it returned."""

    args: Sequence[Any]
    x: Layout
    out: Any


Rule = Callable[[At], "Layout | list[Layout]"]


def moved(old: Layout, axes: Sequence[Axis]) -> Layout:
    """Return the layout of a tensor in which the same channels stand along other axes."""
    new = old.with_axes(axes)
    if old.constant is None or old.channel_axis is None or new.channel_axis is None:
        return new
    before, after = old.axes[old.channel_axis], new.axes[new.channel_axis]
    assert before is not None
    assert after is not None
    values: dict[int, float] = {}
    for label, value in zip(before, old.constant.tolist(), strict=True):
        values[label] = value if values.get(label, value) == value else torch.nan
    if set(before) != set(after):
        return new
    found = torch.tensor([values[label] for label in after], dtype=torch.float64)
    return new.with_axes(axes, found)


class FunctionRules:
    """Layouts of what functions without weights return.

    Args:
        labels: of the trace.

    Attributes:
        pads_with_zeros: whether one of them put zeros around channels.
    """

    def __init__(self, labels: Labels) -> None:
        self.labels = labels
        self.pads_with_zeros = False

    def rule(self, name: str) -> Rule | None:
        """Return what a function of aten that takes one tensor does, by its name."""
        if name in _POOLING:
            return lambda at: self.pooling(name, at)
        if name in _REDUCTIONS:
            return lambda at: self.reduction(name, at)
        if name in _ALONG:
            return lambda at: self.along(at, _one(at.args, _ALONG[name]))
        return getattr(self, f"_{name.strip('_')}", None)

    def pointwise(self, shapes: Sequence[Sequence[int]], layouts: Sequence[Layout]) -> list[Axis]:
        """Tie what several tensors hold in the same places, and return the common axes."""
        rank = max(len(shape) for shape in shapes)
        axes: list[Axis] = []
        for back in range(rank, 0, -1):
            found = [
                layout.axes[len(shape) - back]
                for shape, layout in zip(shapes, layouts, strict=True)
                if len(shape) >= back and shape[len(shape) - back] != 1
            ]
            for axis in found[1:]:
                if found[0] is not None or axis is not None:
                    self.labels.tie(found[0], axis, MIXED)
            axes.append(next((axis for axis in found if axis is not None), None))
        return axes

    def pooling(self, name: str, at: At) -> Layout:
        """Return the layout after pooling, interpolation or padding over space."""
        space = 1 if "1d" in name or name.endswith("1d") else 3 if "3d" in name else 2
        first = len(at.x.axes) - space
        for axis in at.x.axes[first:]:
            self.labels.keep(axis, f"{name} works along its channels")
        axes = [axis if number < first else None for number, axis in enumerate(at.x.axes)]
        is_counted = len(at.args) <= 5 or bool(at.args[5])
        has_padding = name.startswith("avg_pool") and len(at.args) > 3 and any(_list(at.args[3]))
        self.pads_with_zeros |= has_padding and is_counted
        return at.x.with_axes(axes, at.x.constant)

    def reduction(self, name: str, at: At) -> Layout:
        """Return the layout after a reduction over some axes."""
        given = at.args[2] if name in ("norm", "linalg_vector_norm") and len(at.args) > 2 else None
        given = at.args[1] if given is None and len(at.args) > 1 and name != "norm" else given
        dims = set(range(len(at.x.axes)))
        if isinstance(given, int | list | tuple) and not isinstance(given, bool) and given != []:
            dims = {number % max(len(at.x.axes), 1) for number in _list(given)}
        for number in dims:
            self.labels.keep(at.x.axes[number], f"{name} is taken over its channels")
        left = [None if n in dims else axis for n, axis in enumerate(at.x.axes)]
        if at.out.dim() != len(at.x.axes):
            left = [axis for number, axis in enumerate(left) if number not in dims]
        return at.x.with_axes(left, at.x.constant if name in _CONSTANT_REDUCTIONS else None)

    def along(self, at: At, dim: int) -> Layout:
        """Return the layout after a function along one axis that keeps its length."""
        self.labels.keep(at.x.axes[dim], "a function mixes or reorders its channels")
        return at.x.with_axes(at.x.axes)

    def _view(self, at: At) -> Layout:
        return moved(at.x, reshaped(self.labels, at.x.axes, at.args[0].shape, at.out.shape))

    _unsafe_view = _reshape = _reshape_alias = _view

    def _expand(self, at: At) -> Layout:
        added: list[Axis] = [None] * (at.out.dim() - len(at.x.axes))
        return moved(at.x, [*added, *at.x.axes])

    def _t(self, at: At) -> Layout:
        return moved(at.x, at.x.axes[::-1])

    def _permute(self, at: At) -> Layout:
        return moved(at.x, [at.x.axes[dim] for dim in at.args[1]])

    def _transpose(self, at: At) -> Layout:
        axes = list(at.x.axes)
        axes[at.args[1]], axes[at.args[2]] = axes[at.args[2]], axes[at.args[1]]
        return moved(at.x, axes)

    def _squeeze(self, at: At) -> Layout:
        return moved(at.x, reshaped(self.labels, at.x.axes, at.args[0].shape, at.out.shape))

    _unsqueeze = _squeeze

    def _select(self, at: At) -> Layout:
        dim = at.args[1] % len(at.x.axes)
        self.labels.keep(at.x.axes[dim], "one of its channels is selected by its number")
        return at.x.with_axes([a for n, a in enumerate(at.x.axes) if n != dim], at.x.constant)

    def _unbind(self, at: At) -> list[Layout]:
        dim = _one(at.args, 1, 0) % len(at.x.axes)
        return [self._select(At((None, dim), at.x, tensor)) for tensor in at.out]

    def _slice(self, at: At) -> Layout:
        dim = _one(at.args, 1, 0) % len(at.x.axes)
        axes = list(at.x.axes)
        if at.out.shape[dim] != at.args[0].shape[dim]:
            self.labels.keep(axes[dim], "its channels are sliced by their numbers")
            axes[dim] = None
            return at.x.with_axes(axes, at.x.constant if at.x.axes[dim] is None else None)
        return at.x.with_axes(axes, at.x.constant)

    def _split(self, at: At) -> list[Layout]:
        dim = _one(at.args, 2, 0) % len(at.x.axes)
        sizes = [tensor.shape[dim] for tensor in at.out]
        axis = at.x.axes[dim]
        if axis is None:
            return [at.x.with_axes(at.x.axes, at.x.constant) for _ in at.out]
        if len(set(sizes)) != 1:
            self.labels.keep(axis, "its channels are split into unequal parts")
        starts = [sum(sizes[:number]) for number in range(len(sizes))]
        parts = [axis[a : a + size] for a, size in zip(starts, sizes, strict=True)]
        layouts = []
        for start, part in zip(starts, parts, strict=True):
            if len(set(sizes)) == 1:
                self.labels.tie(parts[0], part, MIXED)
            constant = None if at.x.constant is None else at.x.constant[start : start + len(part)]
            axes = [part if n == dim and len(part) > 1 else a for n, a in enumerate(at.x.axes)]
            if len(part) == 1:
                self.labels.keep(part, "its channels are split into single ones")
                axes[dim], constant = None, None
            layouts.append(at.x.with_axes(axes, constant if at.x.channel_axis == dim else None))
        return layouts

    _split_with_sizes = _split

    def _glu(self, at: At) -> Layout:
        dim = _one(at.args, 1) % len(at.x.axes)
        axis = at.x.axes[dim]
        if axis is None:
            return at.x.with_axes(at.x.axes)
        half = len(axis) // 2
        self.labels.tie(axis[:half], axis[half:], MIXED)
        return at.x.with_axes([axis[:half] if n == dim else a for n, a in enumerate(at.x.axes)])

    def _repeat(self, at: At) -> Layout:
        times = list(at.args[1])
        added: list[Axis] = [None] * (len(times) - len(at.x.axes))
        padded = [*added, *at.x.axes]
        axes = [None if a is None else a * n for a, n in zip(padded, times, strict=True)]
        return moved(at.x, axes)

    def _constant_pad_nd(self, at: At) -> Layout:
        axes = list(at.x.axes)
        for dim, size in enumerate(at.args[0].shape):
            if at.out.shape[dim] != size:
                self.labels.keep(axes[dim], "its channels are padded")
                axes[dim] = None
        self.pads_with_zeros = True
        return at.x.with_axes(axes, at.x.constant)

    def _pixel_shuffle(self, at: At) -> Layout:
        return self._blocks(at.x, at.args[1] ** 2)

    def _blocks(self, x: Layout, size: int) -> Layout:
        """Tie each run of so many channels, which become one."""
        dim = len(x.axes) - 3
        axis = x.axes[dim]
        if axis is None:
            return x.with_axes(x.axes)
        for number in range(1, size):
            self.labels.tie(axis[::size], axis[number::size], MIXED)
        return x.with_axes([axis[::size] if n == dim else a for n, a in enumerate(x.axes)])

    def _pixel_unshuffle(self, at: At) -> Layout:
        dim = len(at.x.axes) - 3
        axes = [
            a
            if a is None or n != dim
            else tuple(label for label in a for _ in range(at.args[1] ** 2))
            for n, a in enumerate(at.x.axes)
        ]
        return moved(at.x, axes)

    def concatenated(
        self, layouts: Sequence[Layout], tensors: Sequence[Tensor], dim: int
    ) -> Layout:
        """Return the layout of tensors put one after another along an axis."""
        pairs = [(x, t) for x, t in zip(layouts, tensors, strict=True) if t.shape != (0,)]
        if not pairs:
            return Layout((None,))
        rank = len(pairs[0][0].axes)
        dim %= rank
        axes: list[Axis] = []
        for number in range(rank):
            found = [x.axes[number] for x, _ in pairs]
            if number == dim:
                axes.append(self._appended(found, [t.shape[number] for _, t in pairs]))
                continue
            for axis in found[1:]:
                if axis is not None or found[0] is not None:
                    self.labels.tie(found[0], axis, MIXED)
            axes.append(found[0])
        layout = Layout(tuple(axes), is_held=all(x.is_held for x, _ in pairs))
        if layout.channel_axis != dim:
            return layout
        known = [unknown(t.shape[dim]) if x.constant is None else x.constant for x, t in pairs]
        return layout.with_axes(axes, torch.cat(known))

    def _appended(self, axes: Sequence[Axis], sizes: Sequence[int]) -> Axis:
        if all(axis is None for axis in axes):
            return None
        # A part that keeps its size, such as the input itself, needs labels to be counted past.
        filled = []
        for axis, size in zip(axes, sizes, strict=True):
            filled.append(self._placeholders(size) if axis is None else axis)
        return tuple(label for part in filled for label in part)

    def _placeholders(self, size: int) -> tuple[int, ...]:
        axis = self.labels.new("", 0, size)
        self.labels.keep(axis, "it is concatenated from what is no layer's output")
        return axis


def _list(value: Any) -> list[int]:
    return [int(value)] if isinstance(value, int) else [int(item) for item in value]


def _one(args: Sequence[Any], position: int, default: int = -1) -> int:
    return int(args[position]) if len(args) > position else default
