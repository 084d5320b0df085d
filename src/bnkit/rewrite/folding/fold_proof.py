"""Whether a folded layer gives what the layers that it stands for give, on what they were given."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as torch_functional
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.hooks import RemovableHandle

from bnkit.inspection.preserve import preserve
from bnkit.inspection.trace import Example, as_call, uncompiled
from bnkit.rewrite.folding.fold_arithmetic import (
    LinearMap,
    linear_map,
    with_norm_after,
    with_norm_before,
)
from bnkit.rewrite.folding.foldable_pairs import FoldGroup, FoldPlan
from bnkit.rewrite.folding.folded_layers import twin_with

# How far a folded layer may be off, in units of its largest output. The weights of bfloat16 and
# float16 are rounded once more than those of the layers apart, by at most half a unit each; what
# that adds up to in an output lies well below a unit of the largest, and the output's own rounding
# and that of a bias are half a unit each: four leave room for no other error.
LIMITS = {
    torch.float64: 1e-12,
    torch.float32: 1e-5,
    torch.bfloat16: 4 * torch.finfo(torch.bfloat16).eps,
    torch.float16: 4 * torch.finfo(torch.float16).eps,
}
# The check takes the first samples, so many that they hold about this many values.
_VALUES = 2**20


@dataclass
class FoldedGroup:
    """A group with the numbers that it folds into.

    Attributes:
        group: the layer and its batch norms.
        numbers: what the folded layer holds, in the layer's dtype.
        deviation: from the layers apart, in units of their largest output.
    """

    group: FoldGroup
    numbers: LinearMap
    deviation: float


@dataclass
class _Seen:
    """What a layer was given: the first samples of its input, and what else."""

    input: Tensor
    args: tuple[Any, ...]
    kwargs: dict[str, Any]

    def call(self, layer: nn.Module, value: Tensor) -> Tensor:
        """Return what a layer makes of a value, told what else this one was told."""
        made: Tensor = layer.forward(value, *self.args, **self.kwargs)
        return made


def _seen(args: tuple[Any, ...], kwargs: dict[str, Any]) -> _Seen:
    others = dict(kwargs)
    value = args[0] if args else others.pop("input")
    return _Seen(_first_samples(value), args[1:], others)


def prove(model: nn.Module, example: Example, plan: FoldPlan) -> dict[str, FoldedGroup]:
    """Return path → folded layer, each compared with the layers apart on what they were given.

    What does not hold is dropped from the plan, the outermost batch norm first. On the first
    samples of the input that the example brings each group, or random ones in the place of nothing
    but zeros, three are compared: the layers apart in
    float64, the same in their own dtype, and the folded one in that dtype.

    Args:
        model: the network, which is left as it was.
        example: what its forward takes.
        plan: what is to be folded.

    Cost: a forward, and for each group up to about 2²⁰ values through it three times, once in
    float64.
    """
    proved: dict[str, FoldedGroup] = {}
    run = _ProofRun(plan, proved)
    with preserve(model, example), torch.no_grad(), uncompiled(), full_precision():
        model.eval()
        try:
            for group in list(plan.groups.values()):
                run.watch(group)
            args, kwargs = as_call(example)
            model(*args, **kwargs)
        finally:
            for handle in run.handles:
                handle.remove()
    return proved


@dataclass
class _ProofRun:
    plan: FoldPlan
    proved: dict[str, FoldedGroup]
    handles: list[RemovableHandle] = field(default_factory=list)

    def watch(self, group: FoldGroup) -> None:
        seen: dict[str, _Seen] = {}

        def note(path: str) -> Callable[..., None]:
            def hook(_: nn.Module, args: Any, kwargs: Any) -> None:
                seen[path] = _seen(args, kwargs)

            return hook

        def finish(*_: Any) -> None:
            self._judge(group, seen)
            seen.clear()

        *_, last = group.members.values()
        for path, member in group.members.items():
            handle = member.register_forward_pre_hook(note(path), with_kwargs=True)
            self.handles.append(handle)
        self.handles.append(last.register_forward_hook(finish))

    def _judge(self, group: FoldGroup, seen: Mapping[str, _Seen]) -> None:
        while group.norms:
            numbers = folded_numbers(group)
            reason = _why_not_finite(group, numbers)
            if not reason:
                deviation = _deviation(group, numbers, seen)
                reason = _why_beyond(group, deviation)
                if not reason:
                    self.proved[group.path] = FoldedGroup(group, numbers, deviation.largest)
                    return
            outermost = list(group.before or group.after)[-1]
            self.plan.drop(group, outermost, reason)


def folded_numbers(group: FoldGroup) -> LinearMap:
    """Return what a layer holds with its batch norms in it, rounded once, to its dtype."""
    numbers = linear_map(group.linear)
    for norm in group.after.values():
        numbers = with_norm_after(numbers, norm)
    keeps_taps = group.needs_taps
    for norm in group.before.values():
        numbers = with_norm_before(numbers, norm, keeps_taps=keeps_taps)
    return numbers.rounded(_dtype(group.linear))


@dataclass(frozen=True)
class _Deviation:
    """How far a folded layer is off, in units of the largest output; NaN where one is NaN."""

    from_exact: float
    from_apart: float

    @property
    def largest(self) -> float:
        """The larger of the two; NaN if one is."""
        return float(torch.tensor([self.from_exact, self.from_apart]).max())


def _why_not_finite(group: FoldGroup, numbers: LinearMap) -> str:
    if numbers.is_finite:
        return ""
    dtype = str(_dtype(group.linear)).removeprefix("torch.")
    return f"weights folded into {group.path} are not finite in {dtype}"


def _why_beyond(group: FoldGroup, deviation: _Deviation) -> str:
    limit = LIMITS[_dtype(group.linear)]
    if deviation.largest <= limit:
        return ""
    if not math.isfinite(deviation.largest):
        return "its output on the example is not finite, so nothing can be compared"
    reason = (
        f"folded into {group.path} it would be off by {deviation.largest:.2g} of the largest "
        f"output on the example, more than {limit:.2g}"
    )
    if deviation.from_exact <= limit:
        reason += "; it is the layers apart that are so far from what they give in float64"
    return reason


def _deviation(group: FoldGroup, numbers: LinearMap, seen: Mapping[str, _Seen]) -> _Deviation:
    first, *_ = group.members
    given, at_layer = seen[first].input, seen[group.path]
    layer = group.linear
    exact = _apart(group, twin_with(layer, linear_map(layer)).double(), given.double(), at_layer)
    folded = at_layer.call(twin_with(layer, numbers), given)
    largest = float(exact.abs().max()) or 1.0
    from_exact = from_apart = float((folded.double() - exact).abs().max()) / largest
    if given.dtype in (torch.float32, torch.float64):
        # Of layers apart in less precise dtypes the intermediate results are off by more.
        own = twin_with(layer, linear_map(layer).rounded(_dtype(layer)))
        apart = _apart(group, own, given, at_layer)
        from_apart = float((folded.double() - apart.double()).abs().max()) / largest
    return _Deviation(from_exact, from_apart)


def _apart(group: FoldGroup, layer: nn.Module, value: Tensor, at_layer: _Seen) -> Tensor:
    """Return what the batch norms and the layer give one after the other, in value's dtype."""
    for norm in reversed(group.before.values()):
        value = _normalized(norm, value)
    value = at_layer.call(layer, value)
    for norm in group.after.values():
        value = _normalized(norm, value)
    return value


def _normalized(norm: _BatchNorm, value: Tensor) -> Tensor:
    # A BatchNormAct's addition and activation stay in the network, so they are not compared.
    mean, variance, weight, bias = [
        tensor.double() if tensor is not None and value.dtype == torch.float64 else tensor
        for tensor in (norm.running_mean, norm.running_var, norm.weight, norm.bias)
    ]
    return torch_functional.batch_norm(value, mean, variance, weight, bias, eps=norm.eps)


def _first_samples(value: Tensor) -> Tensor:
    per_sample = max(1, value[:1].numel())
    first = value[: max(1, _VALUES // per_sample)].detach().clone()
    if first.numel() and bool(first.any()):
        return first
    # Nothing, or zeros alone, would not show what the weights do.
    shape = (max(1, len(first)), *first.shape[1:])
    generator = torch.Generator("cpu").manual_seed(0)
    return torch.randn(shape, generator=generator, device="cpu").to(value)


def _dtype(layer: nn.Module) -> torch.dtype:
    assert isinstance(layer.weight, Tensor)
    return layer.weight.dtype


@contextmanager
def full_precision() -> Iterator[None]:
    """Let CUDA compute float32 as float32, and not with the ten bits that convs have by default."""
    places: tuple[Any, ...] = (torch.backends.cudnn.conv, torch.backends.cuda.matmul)  # type: ignore[attr-defined]
    former = [place.fp32_precision for place in places]
    try:
        for place in places:
            place.fp32_precision = "ieee"
        yield
    finally:
        for place, precision in zip(places, former, strict=True):
            place.fp32_precision = precision
