"""The fast kernel for CPUs: programs compiled by Numba, on torch's own threads.

Numba is imported when the first program is compiled, and by nobody else.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from bnkit.kernels.contract import (
    ForwardResult,
    FusedForwardResult,
    FusedGradients,
    FusingKernel,
    Gradients,
    Reductions,
    Statistics,
    values_per_channel,
)
from bnkit.kernels.numba_cpu.limits import machine_refusal, watched
from bnkit.kernels.numba_cpu.output_memory import empty_like
from bnkit.kernels.numba_cpu.passes import (
    DTYPES,
    Groups,
    Pass,
    Slots,
    address,
    backward_pass,
    bits_of,
    dense,
    doubles,
    empty_or_zeros,
    forward_pass,
    in_a_row,
    in_layout_of,
    layout_of,
    run_pass,
)
from bnkit.kernels.numba_cpu.problem import Phase, Slot

_STATISTICS = Groups((Phase.SHIFT,), (Phase.SUM,), (Phase.FINISH,))
_FORWARD = _STATISTICS.then((Phase.COEFFICIENTS,), (Phase.MAP,))
_FORWARD_AND_UPDATE = _STATISTICS.then((Phase.UPDATE, Phase.COEFFICIENTS), (Phase.MAP,))
_NORMALIZE = Groups((Phase.COEFFICIENTS,), (Phase.MAP,))
_NORMALIZE_BY_RUNNING = Groups((Phase.FIXED, Phase.COEFFICIENTS), (Phase.MAP,))
_GRADIENTS_OF_SUMS = Groups((Phase.SHIFT, Phase.COEFFICIENTS), (Phase.MAP,))
# (whether sums are needed, whether a gradient of x's size is written) → the phases of a backward.
_BACKWARD = {
    (True, True): _STATISTICS.then((Phase.COEFFICIENTS,), (Phase.MAP,)),
    (True, False): _STATISTICS.then((Phase.COEFFICIENTS,)),
    (False, True): _GRADIENTS_OF_SUMS,
    (False, False): Groups((Phase.SHIFT, Phase.COEFFICIENTS)),
}
_FEW = 8
# (training, is_followed) → values from which on this kernel is faster than torch's operators: what
# autograd and Python take to reach it is some 50 µs more. Measured by benchmarks/cpu_kernels.
_WORTH_IT = {(True, False): 2**17, (True, True): 2**16, (False, True): 2**19}
# Where channels are last, torch's operator is faster, and ours adds up every task's channels.
_WORTH_IT_LAST = {(True, False): 2**18, (True, True): 2**17, (False, True): 2**18}
# Rows that it takes there in any case.
_FEWEST_ROWS = 512
# Rows below which, where nothing follows, it takes so many times as many values.
_FEW_ROWS, _TIMES_FOR_FEW_ROWS = 4096, 4
# Of values of two bytes torch reads as many in half the time; ours are still computed in float32.
_TIMES_FOR_TWO_BYTES = 4


class NumbaKernel(FusingKernel):
    """Computes in float32 for float32 and narrower, and in float64 for float64.

    Sums of up to some thousand values are kept in vectors of that dtype, and then join doubles;
    values per channel are doubles throughout. Squares are summed around a value of the channel
    near its mean, so that nothing cancels where mean ≫ std.

    A thread takes all values of a channel where they stay in its cache between the sums and the
    output; else the passes go over the whole tensor one after the other.
    """

    name: ClassVar[str] = "numba"
    summary: ClassVar[str] = "compiled for this CPU, on torch's threads"
    is_composed: ClassVar[bool] = False
    fused_activations: ClassVar[frozenset[str]] = frozenset({"relu", "leaky_relu", "relu6"})

    def refusal(self, x: Tensor) -> str | None:
        """Return why this kernel cannot take `x`, or None if it can."""
        # What traces x must not see that its size is asked for.
        seen = watched(x)
        if seen is not None:
            return seen
        if not x.is_cpu:
            return f"x is on {x.device}, and it runs on CPUs"
        if x.dtype not in DTYPES:
            return f"it has no programs for {str(x.dtype).removeprefix('torch.')}"
        if x.layout is not torch.strided or x.dim() < 2:
            return "x is sparse, or has no channels"
        return machine_refusal(x.dtype)

    def reluctance(self, x: Tensor, *, training: bool, is_followed: bool) -> str | None:
        """Return why `auto` leaves `x` to another kernel, though this one could take it."""
        if not training and not is_followed:
            return "in eval mode torch's operator is at the speed of memory"
        values, channels, is_contiguous = x.numel(), x.shape[1], x.is_contiguous()
        is_last = not is_contiguous or values == x.shape[0] * channels
        least = (_WORTH_IT_LAST if is_last else _WORTH_IT)[training, is_followed]
        if is_last and not is_followed and values < _FEW_ROWS * channels:
            least *= _TIMES_FOR_FEW_ROWS
        if x.element_size() < torch.float32.itemsize:
            least *= _TIMES_FOR_TWO_BYTES
        if values < _FEW * channels:
            return "the gradient of so few values per channel is what is left of larger terms"
        if values < least:
            return f"torch's operator is as fast on fewer than {least:,} values"
        if is_last and values < _FEWEST_ROWS * channels:
            return f"torch's operator is as fast on fewer than {_FEWEST_ROWS} rows of channels"
        if not is_contiguous and layout_of(x) is None:
            return "it would copy x, whose strides are neither contiguous nor channels-last"
        return None

    def statistics_dtype(self, x: Tensor) -> torch.dtype:  # noqa: ARG002 - the same for all
        """Return float64."""
        return torch.float64

    def statistics(self, x: Float[Tensor, "N C *S"]) -> Statistics:
        """Return mean and biased variance of each channel. Cost: one pass."""
        return _statistics_of(x, is_exact=False)

    def exact_statistics(self, x: Float[Tensor, "N C *S"]) -> Statistics:
        """Return them of sums in doubles throughout. Cost: one pass, and half the lanes."""
        return _statistics_of(x, is_exact=True)

    def normalize(
        self,
        x: Float[Tensor, "N C *S"],
        mean: Float[Tensor, " C"],
        invstd: Float[Tensor, " C"],
        weight: Float[Tensor, " C"] | None,
        bias: Float[Tensor, " C"] | None,
    ) -> Float[Tensor, "N C *S"]:
        """Return y = (x − high)·scale + (bias − low·scale), with high + low = mean.

        Cost: one pass.
        """
        x, weight, bias = dense(x), in_a_row(weight), in_a_row(bias)
        y, given = empty_like(x), _in_doubles(mean, invstd)
        parameter = weight if weight is not None else bias
        prepared = forward_pass(x, _NORMALIZE, parameter, output=y)
        slots = prepared.slots.copy()
        slots[Slot.X], slots[Slot.Y] = x.data_ptr(), y.data_ptr()
        slots[Slot.MEAN], slots[Slot.INVSTD] = given[0].data_ptr(), given[1].data_ptr()
        slots[Slot.WEIGHT], slots[Slot.BIAS] = address(weight), address(bias)
        run_pass(prepared, slots)
        return y

    def backward_reduce(
        self,
        grad_output: Float[Tensor, "N C *S"],
        x: Float[Tensor, "N C *S"],
        mean: Float[Tensor, " C"],
    ) -> Reductions:
        """Return Σ dy and Σ dy·(x − mean) of each channel. Cost: one pass."""
        x = dense(x)
        found = doubles(2, x)
        given = _in_doubles(mean, torch.ones_like(mean))
        grad_output = in_layout_of(x, grad_output, None)
        prepared = backward_pass(x, _STATISTICS, None)
        slots = _gradient_slots(prepared, x, given, found)
        slots[Slot.GRAD_OUTPUT] = grad_output.data_ptr()
        run_pass(prepared, slots)
        return Reductions(found[0], found[1])

    def backward_input(
        self,
        grad_output: Float[Tensor, "N C *S"],
        x: Float[Tensor, "N C *S"],
        mean: Float[Tensor, " C"],
        invstd: Float[Tensor, " C"],
        weight: Float[Tensor, " C"] | None,
        *,
        reductions: Reductions,
        m: int,
    ) -> Float[Tensor, "N C *S"]:
        """Return dx = weight·invstd·(dy − sum_dy/m − (x − mean)·invstd²·sum_dy_xmu/m).

        Cost: one pass.
        """
        x, weight = dense(x), in_a_row(weight)
        grad_x = empty_like(x)
        grad_output = in_layout_of(x, grad_output, grad_x)
        given, sums = _in_doubles(mean, invstd), _in_doubles(*reductions)
        prepared = backward_pass(x, _GRADIENTS_OF_SUMS, weight, output=grad_x)
        slots = _gradient_slots(prepared, x, given, sums)
        slots[Slot.GRAD_OUTPUT], slots[Slot.GRAD_X] = grad_output.data_ptr(), grad_x.data_ptr()
        slots[Slot.WEIGHT], slots[Slot.M] = address(weight), m
        run_pass(prepared, slots)
        return grad_x

    def backward_input_fixed(
        self,
        grad_output: Float[Tensor, "N C *S"],
        invstd: Float[Tensor, " C"],
        weight: Float[Tensor, " C"] | None,
    ) -> Float[Tensor, "N C *S"]:
        """Return dx = dy·weight·invstd. Cost: one pass."""
        # The forward program does it: y = (x − 0)·scale.
        return self.normalize(grad_output, torch.zeros_like(invstd), invstd, weight, None)

    def forward(
        self,
        x: Float[Tensor, "N C *S"],
        weight: Float[Tensor, " C"] | None,
        bias: Float[Tensor, " C"] | None,
        eps: float,
    ) -> ForwardResult:
        """Return x normalized by its own statistics: y = (x − mean)/√(var + eps)·weight + bias."""
        y, (mean, var, invstd) = self.fused_forward(
            x, weight, bias, None, None, None, uses_batch_statistics=True, eps=eps
        )
        return ForwardResult(y, Statistics(mean, var, values_per_channel(x)), invstd)

    def backward(
        self,
        grad_output: Float[Tensor, "N C *S"],
        x: Float[Tensor, "N C *S"],
        weight: Float[Tensor, " C"] | None,
        mean: Float[Tensor, " C"],
        invstd: Float[Tensor, " C"],
        *,
        uses_batch_statistics: bool,
        output_mask: tuple[bool, bool, bool] = (True, True, True),
    ) -> Gradients:
        """Return the gradients of x, weight and bias."""
        wants_x, wants_weight, wants_bias = output_mask
        given = _in_doubles(mean, mean, invstd)
        wanted = (wants_x, wants_weight and weight is not None, wants_bias, False)
        found = self.fused_backward(
            grad_output,
            x,
            weight,
            None,
            None,
            given,
            uses_batch_statistics=uses_batch_statistics,
            output_mask=wanted,
        )
        return Gradients(found.x, found.weight, found.bias)

    def fused_forward(
        self,
        x: Float[Tensor, "N C *S"],
        weight: Float[Tensor, " C"] | None,
        bias: Float[Tensor, " C"] | None,
        running_mean: Float[Tensor, " C"] | None,
        running_var: Float[Tensor, " C"] | None,
        residual: Float[Tensor, "N C *S"] | None,
        *,
        uses_batch_statistics: bool,
        momentum: float = 0.0,
        counter: Int64[Tensor, ""] | None = None,
        eps: float,
        activation: str | None = None,
        negative_slope: float = 0.0,
    ) -> FusedForwardResult:
        """Return y = activation((x − mean)·invstd·weight + bias + residual); see the contract."""
        x, weight, bias = dense(x), in_a_row(weight), in_a_row(bias)
        if not uses_batch_statistics:
            running_mean, running_var = in_a_row(running_mean), in_a_row(running_var)
        y, statistics = empty_like(x), doubles(3, x)
        parameter = weight if weight is not None else bias
        if parameter is None:
            parameter = running_mean
        if not uses_batch_statistics:
            groups = _NORMALIZE_BY_RUNNING
        else:
            groups = _FORWARD if running_mean is None else _FORWARD_AND_UPDATE
        prepared = forward_pass(
            x, groups, parameter, activation, has_residual=residual is not None, output=y
        )
        slots = _statistics_slots(prepared, x, statistics, eps)
        slots[Slot.Y], slots[Slot.NEGATIVE_SLOPE] = y.data_ptr(), bits_of(negative_slope)
        slots[Slot.WEIGHT], slots[Slot.BIAS] = address(weight), address(bias)
        if residual is not None:
            residual = in_layout_of(x, residual, y)
            slots[Slot.RESIDUAL] = residual.data_ptr()
        if running_mean is not None:
            slots[Slot.RUNNING_MEAN] = running_mean.data_ptr()
            slots[Slot.RUNNING_VAR] = address(running_var)
            slots[Slot.MOMENTUM], slots[Slot.M] = bits_of(momentum), values_per_channel(x)
            slots[Slot.COUNTER] = address(counter)
        run_pass(prepared, slots)
        return FusedForwardResult(y, statistics)

    def fused_backward(
        self,
        grad_output: Float[Tensor, "N C *S"],
        x: Float[Tensor, "N C *S"],
        weight: Float[Tensor, " C"] | None,
        bias: Float[Tensor, " C"] | None,
        y: Float[Tensor, "N C *S"] | None,
        statistics: Float[Tensor, "3 C"],
        *,
        uses_batch_statistics: bool,
        activation: str | None = None,
        negative_slope: float = 0.0,
        output_mask: tuple[bool, bool, bool, bool] = (True, True, True, True),
    ) -> FusedGradients:
        """Return the gradients of x, weight, bias and residual; see the contract."""
        x, weight, bias = dense(x), in_a_row(weight), in_a_row(bias)
        y = None if y is None else in_layout_of(x, y, None)
        wants_x, wants_weight, wants_bias, wants_residual = output_mask
        grad_x = empty_like(x) if wants_x else None
        grad_weight, grad_bias, grad_residual = None, None, None
        # Read where it is written: a gradient of other strides needs no memory of its own.
        dy = in_layout_of(x, grad_output, grad_x)
        if wants_residual:
            grad_residual = grad_output if activation is None else empty_like(x)
        writes_residual = wants_residual and activation is not None
        needs_sums = wants_weight or wants_bias or (wants_x and uses_batch_statistics)
        prepared = backward_pass(
            x,
            _BACKWARD[needs_sums, wants_x or writes_residual],
            weight if weight is not None else bias,
            activation,
            has_residual=y is not None,
            output=grad_x if wants_x else grad_residual,
        )
        sums = doubles(2, x)
        slots = _gradient_slots(prepared, x, statistics, sums)
        slots[Slot.GRAD_OUTPUT], slots[Slot.GRAD_X] = dy.data_ptr(), address(grad_x)
        slots[Slot.Y], slots[Slot.NEGATIVE_SLOPE] = address(y), bits_of(negative_slope)
        slots[Slot.WEIGHT], slots[Slot.BIAS] = address(weight), address(bias)
        slots[Slot.M] = values_per_channel(x) if uses_batch_statistics else 0
        if writes_residual:
            slots[Slot.GRAD_RESIDUAL] = address(grad_residual)
            if needs_sums and prepared.may_sum_masked:
                slots[Slot.MASKED] = slots[Slot.GRAD_RESIDUAL]
        if wants_weight and weight is not None:
            grad_weight = empty_or_zeros(weight, x)
            slots[Slot.GRAD_WEIGHT] = grad_weight.data_ptr()
        if wants_bias:
            parameter = weight if weight is not None else bias
            like = x.new_empty(x.shape[1]) if parameter is None else parameter
            grad_bias = empty_or_zeros(like, x)
            slots[Slot.GRAD_BIAS] = grad_bias.data_ptr()
        run_pass(prepared, slots)
        return FusedGradients(grad_x, grad_weight, grad_bias, grad_residual)


def _statistics_of(x: Tensor, *, is_exact: bool) -> Statistics:
    x = dense(x)
    found = doubles(3, x)
    prepared = forward_pass(x, _STATISTICS, None, is_exact=is_exact)
    run_pass(prepared, _statistics_slots(prepared, x, found, 0.0))
    return Statistics(found[0], found[1], values_per_channel(x))


def _statistics_slots(prepared: Pass, x: Tensor, statistics: Tensor, eps: float) -> Slots:
    """Return slots that say where x lies, and where mean, var and invstd go."""
    slots, start, row = prepared.slots.copy(), statistics.data_ptr(), 8 * statistics.shape[1]
    slots[Slot.X], slots[Slot.EPS] = x.data_ptr(), bits_of(eps)
    slots[Slot.MEAN], slots[Slot.VAR] = start, start + row
    slots[Slot.INVSTD] = start + 2 * row
    return slots


def _gradient_slots(prepared: Pass, x: Tensor, statistics: Tensor, sums: Tensor) -> Slots:
    """Return slots that say where x, mean (first row), invstd (last row), and the two sums lie."""
    slots, start, row = prepared.slots.copy(), statistics.data_ptr(), 8 * statistics.shape[1]
    slots[Slot.X], slots[Slot.MEAN] = x.data_ptr(), start
    slots[Slot.INVSTD] = start + (statistics.shape[0] - 1) * row
    start = sums.data_ptr()
    slots[Slot.SUM_DY], slots[Slot.SUM_DY_XMU] = start, start + row
    return slots


def _in_doubles(*per_channel: Tensor) -> Tensor:
    """Return values per channel as rows of doubles."""
    return torch.stack([values.to(torch.float64) for values in per_channel])


KERNEL = NumbaKernel()
