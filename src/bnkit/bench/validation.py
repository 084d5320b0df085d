"""Is it right? Each implementation is held against the float64 reference before it is timed.

The largest error of each result may be 1.25 times torch's own, or 8 units in the last place of the
largest value, whichever is larger. torch.compile, which is no work of ours, is refused only for
what is plainly wrong: it may be off by 64 such units, in the dtype of x.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from bnkit.bench.cases import Case, values_per_channel
from bnkit.bench.inputs import EPS, MOMENTUM, Inputs
from bnkit.bench.peers import LayerPeer
from bnkit.bench.row import BNKIT, COMPILE, TORCH
from bnkit.functional import batch_norm

TIMES_TORCH = 1.25
ULPS = 8
COMPILE_ULPS = 64
# Values of x that the reference works on at a time: its float64 copies stay small.
_CHUNK_VALUES = 2**21

Results = dict[str, Tensor]


@dataclass
class ResultError:
    """The largest errors of one result, over all peers.

    Args:
        dtype: of the result.
        x_dtype: of x.
        largest: the largest value of the truth.
        errors: peer → largest |result − truth|; infinite for what is not finite.
    """

    dtype: torch.dtype
    x_dtype: torch.dtype
    largest: float = 0.0
    errors: dict[str, float] = field(default_factory=dict)

    @property
    def unit(self) -> float:
        """One unit in the last place of the largest value."""
        return self._unit(self.dtype)

    def allowed(self, peer: str = BNKIT) -> float:
        """Return the largest error that passes."""
        if peer == COMPILE:
            return max(TIMES_TORCH * self.errors[TORCH], COMPILE_ULPS * self._unit(self.x_dtype))
        return max(TIMES_TORCH * self.errors[TORCH], ULPS * self.unit)

    def in_units(self) -> dict[str, float]:
        """Return each peer's error and what bnkit is allowed, in units in the last place."""
        content = {peer: error / self.unit for peer, error in self.errors.items()}
        return {**content, "allowed": self.allowed() / self.unit}

    def _unit(self, dtype: torch.dtype) -> float:
        finfo = torch.finfo(dtype)
        if self.largest == 0 or not math.isfinite(self.largest):
            return finfo.smallest_normal * finfo.eps
        return 2.0 ** math.floor(math.log2(self.largest)) * finfo.eps


def results_of(peer: LayerPeer, case: Case) -> Results:
    """Run a peer once, and return all that it gives: output, gradients and buffers."""
    with torch.set_grad_enabled(case.passes == "both"):
        y = peer.forward()
        results = {"y": y.detach()}
        if case.passes == "both":
            names = ["grad_x", "grad_weight", "grad_bias"]
            if case.operation == "bn-add-relu":
                names.insert(1, "grad_residual")
            results.update(zip(names, peer.backward(y), strict=True))
    buffers = ("running_mean", "running_var", "num_batches_tracked")
    return {**results, **{name: getattr(peer.layer, name).clone() for name in buffers}}


def compare(case: Case, inputs: Inputs, by_peer: Mapping[str, Results]) -> dict[str, ResultError]:
    """Return the errors of each result of each peer.

    Args:
        case: what was computed.
        inputs: on what.
        by_peer: peer → its results; torch's among them.

    Cost: in float64, a part of the channels at a time.
    """
    torchs = by_peer[TORCH]
    errors = {
        name: ResultError(value.dtype, inputs.x.dtype)
        for name, value in torchs.items()
        if value.dtype.is_floating_point
    }
    for channels in _chunks(case):
        truth = _truth(case, inputs, channels)
        for name, found in errors.items():
            true = truth[name]
            found.largest = max(found.largest, float(true.abs().max()))
            for peer, results in by_peer.items():
                error = _largest_error(results[name], true, channels)
                found.errors[peer] = max(found.errors.get(peer, 0.0), error)
    return errors


def refusal(peer: str, by_peer: Mapping[str, Results], errors: Mapping[str, ResultError]) -> str:
    """Return what is wrong with a peer's results; empty if nothing."""
    counted, expected = (by_peer[name]["num_batches_tracked"] for name in (peer, TORCH))
    if not torch.equal(counted, expected):
        return f"wrong: num_batches_tracked is {int(counted)}, and torch's {int(expected)}"
    for name, found in errors.items():
        shape, expected_shape = (by_peer[who][name].shape for who in (peer, TORCH))
        if shape != expected_shape:
            return f"wrong: {name} has shape {tuple(shape)}, and torch's {tuple(expected_shape)}"
        if not found.errors[peer] <= found.allowed(peer):
            error, allowed = found.errors[peer] / found.unit, found.allowed(peer) / found.unit
            return (
                f"wrong: {name} is off by {error:.3g} units in the last place of the largest "
                f"value, and {allowed:.3g} are allowed"
            )
    return ""


def _chunks(case: Case) -> Iterator[slice]:
    channels = case.shape[1]
    step = max(1, _CHUNK_VALUES // values_per_channel(case.shape))
    for start in range(0, channels, step):
        yield slice(start, min(start + step, channels))


def _truth(case: Case, inputs: Inputs, channels: slice) -> Results:
    """Return the results of some channels in float64, by the reference kernel."""
    both = case.passes == "both"

    def wide(value: Tensor, along: int) -> Tensor:
        part = value.detach()[(slice(None),) * along + (channels,)]
        return part.to(torch.float64, memory_format=torch.contiguous_format, copy=True)

    arguments = {"grad_x": wide(inputs.x, 1)}
    if inputs.residual is not None:
        arguments["grad_residual"] = wide(inputs.residual, 1)
    arguments |= {"grad_weight": wide(inputs.weight, 0), "grad_bias": wide(inputs.bias, 0)}
    wanted = [value.requires_grad_(both) for value in arguments.values()]
    mean, var = wide(inputs.running_mean, 0), wide(inputs.running_var, 0)
    y = batch_norm(
        arguments["grad_x"],
        mean,
        var,
        arguments["grad_weight"],
        arguments["grad_bias"],
        case.mode == "training",
        MOMENTUM,
        EPS,
        activation=None if case.operation == "bn" else "relu",
        residual=arguments.get("grad_residual"),
        kernel="reference",
    )
    results = {"y": y.detach(), "running_mean": mean, "running_var": var}
    if both:
        grads = torch.autograd.grad(y, wanted, wide(inputs.grad_output, 1))
        results.update(zip(arguments, grads, strict=True))
    return results


def _largest_error(result: Tensor, truth: Tensor, channels: slice) -> float:
    """Return max |result − truth| over some channels; infinite for another shape or NaN."""
    part = result[:, channels] if truth.dim() > 1 else result[channels]
    if part.shape != truth.shape:
        return math.inf
    error = float((part.detach().double() - truth).abs().max())
    return error if math.isfinite(error) else math.inf
