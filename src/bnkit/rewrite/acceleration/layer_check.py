"""A batch norm on random input: what torch's gives, and how far bnkit's may lie from it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as torch_functional
from torch.nn.modules.batchnorm import _BatchNorm

from bnkit.errors import RewriteError
from bnkit.inspection.preserve import preserve
from bnkit.kernels.dispatch import AUTO, fast_kernels, use_kernel

# Two computations of one value may differ by this many units in the last place of the largest.
_UNITS = 64
# … and a sum of m terms by this many of the sum of their absolute values.
_UNITS_OF_SUM = 16
_VALUES = 2**15


@dataclass(frozen=True)
class LayerCheck:
    """What a layer gives on random input in both modes, before it is swapped.

    Attributes:
        inputs: x, and the gradient that comes back, for each mode.
        expected: name → output, gradient or buffer.
        allowed: name → how far it may lie off.
    """

    inputs: dict[str, tuple[Tensor, Tensor]]
    expected: dict[str, Tensor]
    allowed: dict[str, float]


_MODES = {"training": True, "eval": False}


def check_of(layer: _BatchNorm, activation: nn.Module | None) -> LayerCheck:
    """Run a layer of torch's and the activation after it on random input; they are left alone.

    Allowed are 64 units in the last place of the largest value, and for gradients that are sums 16
    units of the sum of the absolute values of what is added. No gradient comes back where the
    activation has its kink, at which rounding alone turns it on and off.

    Cost: two forwards and backwards on about 2¹⁵ values.
    """
    check = LayerCheck({}, {}, {})
    for mode, training in _MODES.items():
        x, grad_output = _random_input(layer)
        unit = torch.finfo(x.dtype).eps
        if activation is not None:
            with preserve(layer), torch.no_grad():
                layer.training = training
                y = layer.forward(x).double()
            margin = _UNITS * unit * float(y.abs().max())
            near = (y.abs() <= margin) | ((y - 6).abs() <= margin)
            grad_output = grad_output.masked_fill(near, 0)
        values = _run(layer, _after(activation), training, x, grad_output)
        sums = _absolute_sums(layer, training, x, grad_output)
        for name, value in values.items():
            size = largest_finite(value)
            key = f"{name} in {mode} mode"
            check.expected[key] = value
            check.allowed[key] = max(
                _UNITS * unit * size, _UNITS_OF_SUM * unit * sums.get(name, 0.0)
            )
        check.inputs[mode] = x, grad_output
    return check


def compare(path: str, check: LayerCheck, layer: _BatchNorm) -> None:
    """Raise unless the swapped layer, its activation fused, gives what is expected.

    The random input is small, and `auto` would leave it to torch's operators: so each kernel that
    larger inputs may get is tried too.

    Raises:
        RewriteError: it does not.
    """
    for mode, training in _MODES.items():
        for kernel in (AUTO, *fast_kernels(check.inputs[mode][0])):
            with use_kernel(kernel):
                found = _run(layer, _identity, training, *check.inputs[mode])
            _compare_with(path, check, mode, kernel, found)


def _compare_with(
    path: str, check: LayerCheck, mode: str, kernel: str, found: dict[str, Tensor]
) -> None:
    for name, value in found.items():
        key = f"{name} in {mode} mode"
        difference, allowed = deviation(check.expected[key], value), check.allowed[key]
        if not difference <= allowed:
            raise RewriteError(
                f"on random input its {key} differs from torch's by {difference:.3g} "
                f"(kernel {kernel})",
                required=f"rounding explains {allowed:.3g}",
                remedy="Please report this with the layer's arguments",
                where=path or "(model)",
            )


def deviation(before: Tensor | None, after: Tensor | None) -> float:
    """Return max |before − after|; NaN and infinities equal themselves; inf if shapes differ."""
    if before is None or after is None:
        return 0.0 if before is after else math.inf
    if before.shape != after.shape:
        return math.inf
    if before.layout != torch.strided or after.layout != torch.strided:
        before, after = before.to_dense(), after.to_dense()
    if not before.numel():
        return 0.0
    if before.dtype == after.dtype and (before.is_floating_point() or before.is_complex()):
        quick = largest(before - after)
        if math.isfinite(quick):
            return quick
    wide = torch.complex128 if before.is_complex() else torch.float64
    old, new = before.to(wide), after.to(wide)
    is_same = (old == new) | (old.isnan() & new.isnan())
    difference = torch.where(is_same, 0.0, (old - new).abs()).nan_to_num(math.inf, math.inf)
    return float(difference.max())


def largest(value: Tensor) -> float:
    """Return max |value| in one pass; NaN if there is one; 0 of nothing."""
    return float(torch.linalg.vector_norm(value, math.inf)) if value.numel() else 0.0


def largest_finite(value: Tensor) -> float:
    """Return max |value| over what is finite; 0 of nothing, and of numbers that do not round."""
    if not (value.is_floating_point() or value.is_complex()):
        return 0.0
    dense = value if value.layout == torch.strided else value.to_dense()
    found = largest(dense)
    return found if math.isfinite(found) else largest(dense[dense.isfinite()])


def _random_input(layer: _BatchNorm) -> tuple[Tensor, Tensor]:
    """Return x and a gradient for y, drawn without touching anybody's random state."""
    channels = layer.num_features
    like = next((t for t in (*layer.parameters(), *layer.buffers()) if t.is_floating_point()), None)
    generator = torch.Generator("cpu").manual_seed(0)
    per_channel = max(_VALUES // max(channels, 1), 64)
    if isinstance(layer, nn.BatchNorm1d):
        shape: tuple[int, ...] = (min(per_channel, 512), channels)
    else:
        axes = 3 if isinstance(layer, nn.BatchNorm3d) else 2
        side = min(max(round((per_channel / 4) ** (1 / axes)), 3), 48)
        shape = (4, channels, *[side] * axes)
    x, grad_output = (torch.randn(shape, generator=generator, device="cpu") for _ in range(2))
    return (x, grad_output) if like is None else (x.to(like), grad_output.to(like))


def _absolute_sums(
    layer: _BatchNorm, training: bool, x: Tensor, grad_output: Tensor
) -> dict[str, float]:
    """Return the largest Σ |terms| of the gradients that are sums."""
    axes = [axis for axis in range(x.dim()) if axis != 1]
    running = (layer.running_mean, layer.running_var)
    is_batch = training or running[0] is None
    mean, var = (None, None) if is_batch or running[1] is None else running
    x_hat = torch_functional.batch_norm(x, mean, var, None, None, is_batch, 0.0, layer.eps)
    absolute = grad_output.double().abs()
    products = (absolute * x_hat.double().nan_to_num().abs()).sum(axes)
    return {
        "gradient of weight": float(products.max()) if products.numel() else 0.0,
        "gradient of bias": float(absolute.sum(axes).max()) if products.numel() else 0.0,
    }


def _run(
    layer: _BatchNorm,
    activate: Callable[[Tensor], Tensor],
    training: bool,
    x: Tensor,
    grad_output: Tensor,
) -> dict[str, Tensor]:
    with preserve(layer), torch.enable_grad():
        layer.training = training
        given = x.detach().clone().requires_grad_()
        # Not called as a module: the user's hooks are no part of the comparison.
        y = activate(layer.forward(given))
        parameters = {name: p for name, p in layer.named_parameters() if p.requires_grad}
        wanted = {"input": given, **parameters}
        gradients = torch.autograd.grad(y, list(wanted.values()), grad_output, allow_unused=True)
        found = {"output": y.detach().clone()}
        for name, gradient in zip(wanted, gradients, strict=True):
            if gradient is not None:
                found[f"gradient of {name}"] = gradient.clone()
        found |= {name: buffer.clone() for name, buffer in layer.named_buffers()}
    return found


def _after(activation: nn.Module | None) -> Callable[[Tensor], Tensor]:
    return _identity if activation is None else activation.forward


def _identity(y: Tensor) -> Tensor:
    return y
