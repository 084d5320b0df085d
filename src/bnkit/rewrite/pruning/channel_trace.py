"""One real forward, watched below autograd: which channels of which parameters belong together."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from bnkit.inspection.nested_tensors import tensors_in
from bnkit.inspection.preserve import preserve
from bnkit.inspection.trace import Example, as_call, uncompiled
from bnkit.rewrite.pruning.channel_functions import NOT_CONSTANT, POINTWISE, At, FunctionRules
from bnkit.rewrite.pruning.channel_labels import Labels, Layout, unknown
from bnkit.rewrite.pruning.channel_products import ProductRules, Products

_RETURNED = "the model returns its channels"
# Noise is drawn by these, so they stay in eval mode in the training run.
_DRAWING = (
    nn.modules.batchnorm._BatchNorm,
    nn.modules.dropout._DropoutNd,
    nn.RReLU,
)


@contextmanager
def followed_mode(model: nn.Module, *inputs: Any, training: bool) -> Iterator[None]:
    """Run in a mode, with batch norm and dropout in eval mode, and put everything back."""
    with preserve(model, *inputs), torch.no_grad(), uncompiled():
        model.train(training)
        for module in model.modules():
            if isinstance(module, _DRAWING):
                module.eval()
        yield


def is_composite(func: Any) -> bool:
    """Return whether a function is made of others that a dispatch mode would rather see.

    Outside of `torch.inference_mode` it sees those only.
    """
    # Decompositions that are written in Python for compilers are left out.
    if not isinstance(func, torch._ops.OpOverload):
        return False
    name: str = func.name()  # type: ignore[no-untyped-call]
    return bool(torch._C._dispatch_has_kernel_for_dispatch_key(name, "CompositeImplicitAutograd"))


class ChannelTrace:
    """The channels of a model, followed through one forward in eval mode and one in training mode.

    Args:
        model: any module; left as it is.
        example: what its forward takes.

    Attributes:
        labels: of all axes of all parameters and buffers.
        axes: name of a parameter or buffer → the labels of its axes.
        products: what the forwards did with weights.
        training_error: why there was no forward in training mode, in words; empty if there was.

    Cost: two forwards, and all their intermediate tensors kept.
    """

    def __init__(self, model: nn.Module, example: Example) -> None:
        self.labels, self.products = Labels(), Products()
        self.training_error = ""
        self._held: dict[int, Layout] = {}
        self.axes: dict[str, tuple[tuple[int, ...] | None, ...]] = {}
        for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
            axes = tuple(
                self.labels.new(name, axis, size) if size > 1 else None
                for axis, size in enumerate(tensor.shape)
            )
            self.axes[name] = axes
            layout = Layout(axes, is_held=True)
            if layout.channel_axis is not None and tensor.is_floating_point():
                layout = layout.with_axes(axes, tensor.detach().cpu().double().flatten())
            self._held[id(tensor)] = layout
        self._names = {id(t): name for name, t in [*model.named_parameters()]}
        self._names |= {id(t): name for name, t in model.named_buffers()}
        self._run(model, example, training=False)
        try:
            self._run(model, example, training=True)
        except Exception as error:
            self.training_error = f"{type(error).__name__}: {error}".partition("\n")[0]

    def _run(self, model: nn.Module, example: Example, *, training: bool) -> None:
        args, kwargs = as_call(example)
        with followed_mode(model, example, training=training):
            watch = _Watch(self.labels, self.products, dict(self._held), self._names, training)
            with watch:
                output = model(*args, **kwargs)
            self.products.pads_with_zeros |= watch.pads_with_zeros
            for tensor in tensors_in(output):
                for axis in watch.layout(tensor).axes:
                    self.labels.keep(axis, _RETURNED)


class _Watch(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Gives each tensor that a function returns its layout."""

    def __init__(
        self,
        labels: Labels,
        products: Products,
        layouts: dict[int, Layout],
        names: dict[int, str],
        in_training: bool,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.labels, self.products = labels, products
        self._layouts, self._names = layouts, names
        self._kept: list[Tensor] = []
        self._by_storage: dict[int, list[int]] = {}
        self._in_training = in_training
        self._functions = FunctionRules(labels)
        self._weights = ProductRules(labels, products)
        self._weights.in_training = in_training

    @property
    def pads_with_zeros(self) -> bool:
        """Whether a function put zeros around channels."""
        return self._functions.pads_with_zeros

    def layout(self, tensor: Tensor) -> Layout:
        """Return what is known of a tensor."""
        return self._layouts.get(id(tensor)) or Layout((None,) * tensor.dim())

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        if is_composite(func):
            with self:
                return func.decompose(*args, **kwargs)
        given = tensors_in([list(args), kwargs])
        before = [self.layout(tensor) for tensor in given]
        result = func(*args, **kwargs)
        name = func.overloadpacket.__name__ if hasattr(func, "overloadpacket") else str(func)
        self._read(name, given, before, args)
        found = self._follow(_Call(name, func, list(args), kwargs, given, before, result))
        made = tensors_in(result)
        # A number that a function takes as a tensor.
        is_held = name == "scalar_tensor" or (bool(before) and all(x.is_held for x in before))
        passed: frozenset[tuple[int, str]] = frozenset()
        if name not in _PRODUCTS and "batch_norm" not in name:
            passed = passed.union(*(layout.inexact for layout in before))
        for number, tensor in enumerate(made):
            layout = found[number] if number < len(found) else Layout((None,) * tensor.dim())
            layout = replace(layout, inexact=layout.inexact | passed)
            self._store(tensor, layout, is_held, is_written=any(tensor is t for t in given))
        self._pin_written(func, args, made)
        return result

    def _read(
        self, name: str, given: Sequence[Tensor], before: Sequence[Layout], args: Sequence[Any]
    ) -> None:
        """Note who takes what a layer without a bias has just made."""
        for tensor, layout in zip(given, before, strict=True):
            if layout.made_by:
                reader = name
                if "batch_norm" in name and args and tensor is args[0]:
                    means = [a for a in args[3:4] if isinstance(a, Tensor)]
                    reader = f"={self._names.get(id(means[0]), '')}" if means else name
                readers = self.products.readers.setdefault(layout.made_by, [])
                if not self._in_training or reader not in readers:
                    readers.append(reader)

    def _store(self, tensor: Tensor, layout: Layout, is_held: bool, *, is_written: bool) -> None:
        if len(layout.axes) != tensor.dim():
            layout = Layout((None,) * tensor.dim())
        axes = tuple(
            axis if axis is not None and len(axis) == size and size > 1 else None
            for axis, size in zip(layout.axes, tensor.shape, strict=True)
        )
        for axis, kept in zip(layout.axes, axes, strict=True):
            if kept is None:
                self.labels.keep(axis, "its channels could not be followed")
        new = replace(layout, axes=axes, is_held=is_held)
        dim = new.channel_axis
        if new.constant is not None and (dim is None or len(new.constant) != tensor.shape[dim]):
            new = replace(new, constant=None)
        storage = tensor.untyped_storage()._cdata
        others = self._by_storage.setdefault(storage, [])
        if is_written:  # what other views hold is no longer what it was
            for other in others:
                if other != id(tensor):
                    old = self._layouts[other]
                    self._layouts[other] = Layout(old.axes, None, old.is_held and is_held)
        others.append(id(tensor))
        self._kept.append(tensor)
        self._layouts[id(tensor)] = new

    def _pin_written(self, func: Any, args: Sequence[Any], made: Sequence[Tensor]) -> None:
        """Have the channels stay that lie in storages that are written into out of our sight."""
        schema = getattr(func, "_schema", None)
        for argument, value in zip(schema.arguments if schema else (), args, strict=False):
            info = argument.alias_info
            if info is None or not info.is_write or not isinstance(value, Tensor):
                continue
            if any(value is tensor for tensor in made):
                continue
            for other in self._by_storage.get(value.untyped_storage()._cdata, []):
                self.labels.keep(self._layouts[other].channels, "it is written into in place")

    def _follow(self, call: _Call) -> list[Layout]:
        """Return the layouts of what a function returned; where none can be told, channels stay."""
        if not any(layout.channels for layout in call.before):
            return []
        found = self._found(call)
        if found is None:
            reason = f"{call.name} is no function whose channels are followed"
            for layout in call.before:
                self.labels.keep(layout.channels, reason)
            return []
        # A second tensor is laid out as the first: the indices of a maximum, a noise.
        return found if isinstance(found, list) else [found, found]

    def _found(self, call: _Call) -> Layout | list[Layout] | None:
        name, args = call.name, call.args
        rule = self._functions.rule(name) if len(call.given) == 1 else None
        if "batch_norm" in name and "backward" not in name:
            found: Layout | list[Layout] | None = self._batch_norm(args)
        elif name in _PRODUCTS:
            found = _PRODUCTS[name](self, args)
        elif name == "cat":
            dim = args[1] if len(args) > 1 else call.kwargs.get("dim", 0)
            found = self._functions.concatenated(call.before, call.given, dim)
        elif torch.Tag.pointwise in call.func.tags or name in POINTWISE:
            found = self._pointwise(call)
        elif name in ("bmm", "baddbmm"):
            found = self._batched(call.before)
        else:
            made = tensors_in(call.result)
            out = made if name in _SEVERAL else made[0] if made else None
            found = rule(At(args, call.before[0], out)) if rule and made else None
        return found

    def _pointwise(self, call: _Call) -> Layout:
        axes = self._functions.pointwise([tensor.shape for tensor in call.given], call.before)
        layout = Layout(tuple(axes))
        made = call.result[0] if isinstance(call.result, tuple) else call.result
        is_rounded = isinstance(made, Tensor) and made.dtype not in (torch.bool, *_REAL)
        if call.name in NOT_CONSTANT or is_rounded:
            return layout
        return layout.with_axes(axes, self._constant(call.func, call.args, call.kwargs, layout))

    def _of(self, value: Any) -> Layout | None:
        return self.layout(value) if isinstance(value, Tensor) else None

    def _batch_norm(self, args: Sequence[Any]) -> Layout:
        mean = self._names.get(id(args[3]), "") if len(args) > 3 else ""
        held = [self._of(value) for value in args[1:5]]
        return self._weights.batch_norm(self.layout(args[0]), held, mean)

    def _convolution(self, args: Sequence[Any]) -> Layout | None:
        x, weight = self.layout(args[0]), self.layout(args[1])
        if not weight.is_held:
            return None
        return self._weights.convolution(x, weight, self._of(args[2]), args[1], args)

    def _mm(self, args: Sequence[Any]) -> Layout:
        return self._weights.product(self.layout(args[0]), self.layout(args[1]), None, args[1])

    def _addmm(self, args: Sequence[Any]) -> Layout | None:
        bias, x, weight = (self.layout(value) for value in args[:3])
        return self._weights.product(x, weight, bias, args[2]) if len(bias.axes) == 1 else None

    def _batched(self, every: Sequence[Layout]) -> Layout:
        one, other = every[-2:]
        reason = "a product of two computed tensors sums over its channels"
        for layout in every[:-2]:
            self.labels.keep(layout.channels, reason)
        self.labels.keep(one.axes[2], reason)
        self.labels.keep(other.axes[1], reason)
        if one.axes[0] is not None or other.axes[0] is not None:
            self.labels.tie(one.axes[0], other.axes[0], reason)
        return Layout((one.axes[0], one.axes[1], other.axes[2]))

    def _constant(
        self, func: Any, args: list[Any], kwargs: dict[str, Any], layout: Layout
    ) -> Tensor | None:
        """Return what a pointwise function makes of its inputs' constants."""
        dim = layout.channel_axis
        if dim is None:
            return None
        axis = layout.axes[dim]
        assert axis is not None
        hidden = torch.zeros(len(axis), dtype=torch.bool)

        def value_of(value: Any) -> Any:
            nonlocal hidden
            if not isinstance(value, Tensor):
                return value
            known = self.layout(value)
            if known.constant is not None and known.channel_axis is not None:
                back = len(known.axes) - known.channel_axis
                if back == len(layout.axes) - dim:
                    hidden = hidden | known.constant.isnan()
                    held = known.constant
                    return held.clone() if value.dtype != torch.bool else held.bool()
            if value.numel() == 1 and known.is_held:
                return value.detach().cpu().double().reshape(())
            hidden = torch.ones_like(hidden)
            return unknown(len(axis))

        values = [value_of(value) for value in args]
        named = {key: value_of(value) for key, value in kwargs.items() if key != "dtype"}
        if hidden.all():
            return unknown(len(axis))
        try:
            found = func(*values, **named)
        except Exception:
            return unknown(len(axis))
        found = found[0] if isinstance(found, tuple) else found
        if not isinstance(found, Tensor) or found.is_complex():
            return None
        return found.double().expand(len(axis)).masked_fill(hidden, torch.nan)


@dataclass(frozen=True)
class _Call:
    """A call of a function of aten, with the tensors it was given and their layouts then."""

    name: str
    func: Any
    args: list[Any]
    kwargs: dict[str, Any]
    given: list[Tensor]
    before: list[Layout]
    result: Any


_PRODUCTS: dict[str, Callable[[_Watch, Sequence[Any]], Layout | None]] = {
    "convolution": _Watch._convolution,
    "mm": _Watch._mm,
    "addmm": _Watch._addmm,
}
_REAL = (torch.float64, torch.float32, torch.bfloat16, torch.float16)
_SEVERAL = {"split", "split_with_sizes", "unbind"}
