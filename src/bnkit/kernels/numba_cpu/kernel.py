"""The fast kernel for CPUs: programs compiled by Numba, on torch's own threads.

Numba is imported when the first program is compiled, and by nobody else.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from jaxtyping import Float
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
    Slots,
    address,
    backward_configuration,
    bits_of,
    dense,
    doubles,
    empty_or_zeros,
    forward_configuration,
    in_a_row,
    in_layout_of,
    layout_of,
    no_slots,
    run_pass,
)
from bnkit.kernels.numba_cpu.problem import Phase, Slot

_Groups = tuple[tuple[int, ...], ...]
_STATISTICS: _Groups = ((Phase.SHIFT,), (Phase.SUM,), (Phase.FINISH,))
_COEFFICIENTS, _MAP = (Phase.COEFFICIENTS,), (Phase.MAP,)
_FEW = 8
# (training, is_followed) → values from which on this kernel is faster than torch's operators: what
# autograd and Python take to reach it is some 50 µs more. Measured by benchmarks/cpu_kernels.
_WORTH_IT = {(True, False): 2**19, (True, True): 2**17, (False, True): 2**19}
# torch's operator is faster where channels are last.
_WORTH_IT_LAST = {**_WORTH_IT, (True, False): 2**20}


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
        least = (_WORTH_IT if x.is_contiguous() else _WORTH_IT_LAST)[training, is_followed]
        if values_per_channel(x) < _FEW:
            return "the gradient of so few values per channel is what is left of larger terms"
        if x.numel() < least:
            return f"torch's operator is as fast on fewer than {least:,} values"
        if layout_of(x) is None:
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
        slots = no_slots()
        slots[Slot.MEAN], slots[Slot.INVSTD] = address(given[0]), address(given[1])
        slots[Slot.Y], slots[Slot.WEIGHT] = address(y), address(weight)
        slots[Slot.BIAS] = address(bias)
        parameter = weight if weight is not None else bias
        configuration = forward_configuration(x, parameter, output=y)
        run_pass(configuration, x, (_COEFFICIENTS, _MAP), slots)
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
        slots = _gradient_slots(given, found)
        slots[Slot.GRAD_OUTPUT] = address(grad_output)
        run_pass(backward_configuration(x, None), x, _STATISTICS, slots)
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
        slots = _gradient_slots(given, sums)
        slots[Slot.GRAD_OUTPUT], slots[Slot.GRAD_X] = address(grad_output), address(grad_x)
        slots[Slot.WEIGHT], slots[Slot.M] = address(weight), m
        groups = ((Phase.SHIFT, Phase.COEFFICIENTS), _MAP)
        run_pass(backward_configuration(x, weight, output=grad_x), x, groups, slots)
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
        eps: float,
        activation: str | None = None,
        negative_slope: float = 0.0,
    ) -> FusedForwardResult:
        """Return y = activation((x − mean)·invstd·weight + bias + residual); see the contract."""
        x, weight, bias = dense(x), in_a_row(weight), in_a_row(bias)
        if not uses_batch_statistics:
            running_mean, running_var = in_a_row(running_mean), in_a_row(running_var)
        y, statistics = empty_like(x), doubles(3, x)
        slots = _statistics_slots(statistics, eps)
        slots[Slot.Y], slots[Slot.WEIGHT] = address(y), address(weight)
        slots[Slot.BIAS], slots[Slot.NEGATIVE_SLOPE] = address(bias), bits_of(negative_slope)
        if residual is not None:
            residual = in_layout_of(x, residual, y)
            slots[Slot.RESIDUAL] = address(residual)
        if running_mean is not None:
            slots[Slot.RUNNING_MEAN] = address(running_mean)
            slots[Slot.RUNNING_VAR] = address(running_var)
            slots[Slot.MOMENTUM], slots[Slot.M] = bits_of(momentum), values_per_channel(x)
        parameter = weight if weight is not None else bias
        if parameter is None:
            parameter = running_mean
        configuration = forward_configuration(
            x, parameter, activation, has_residual=residual is not None, output=y
        )
        groups: _Groups
        if not uses_batch_statistics:
            groups = ((Phase.FIXED, Phase.COEFFICIENTS), _MAP)
        elif running_mean is None:
            groups = (*_STATISTICS, _COEFFICIENTS, _MAP)
        else:
            groups = (*_STATISTICS, (Phase.UPDATE, Phase.COEFFICIENTS), _MAP)
        run_pass(configuration, x, groups, slots)
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
        sums = doubles(2, x)
        slots = _gradient_slots(statistics, sums)
        slots[Slot.GRAD_OUTPUT], slots[Slot.GRAD_X] = address(dy), address(grad_x)
        slots[Slot.Y], slots[Slot.NEGATIVE_SLOPE] = address(y), bits_of(negative_slope)
        slots[Slot.WEIGHT], slots[Slot.BIAS] = address(weight), address(bias)
        slots[Slot.M] = values_per_channel(x) if uses_batch_statistics else 0
        if wants_weight and weight is not None:
            grad_weight = empty_or_zeros(weight, x)
            slots[Slot.GRAD_WEIGHT] = address(grad_weight)
        if wants_bias:
            parameter = weight if weight is not None else bias
            like = x.new_empty(x.shape[1]) if parameter is None else parameter
            grad_bias = empty_or_zeros(like, x)
            slots[Slot.GRAD_BIAS] = address(grad_bias)
        if wants_residual and activation is None:
            grad_residual = grad_output
        elif wants_residual:
            grad_residual = empty_like(x)
            slots[Slot.GRAD_RESIDUAL] = address(grad_residual)
        needs_sums = wants_weight or wants_bias or (wants_x and uses_batch_statistics)
        groups: _Groups = (
            (*_STATISTICS, _COEFFICIENTS) if needs_sums else ((Phase.SHIFT, Phase.COEFFICIENTS),)
        )
        if wants_x or slots[Slot.GRAD_RESIDUAL] != 0:
            groups = (*groups, _MAP)
        configuration = backward_configuration(
            x,
            weight if weight is not None else bias,
            activation,
            has_residual=y is not None,
            output=grad_x if wants_x else grad_residual,
        )
        run_pass(configuration, x, groups, slots)
        return FusedGradients(grad_x, grad_weight, grad_bias, grad_residual)


def _statistics_of(x: Tensor, *, is_exact: bool) -> Statistics:
    x = dense(x)
    found = doubles(3, x)
    configuration = forward_configuration(x, None)._replace(is_exact=is_exact)
    run_pass(configuration, x, _STATISTICS, _statistics_slots(found, 0.0))
    return Statistics(found[0], found[1], values_per_channel(x))


def _statistics_slots(statistics: Tensor, eps: float) -> Slots:
    slots, start, row = no_slots(), statistics.data_ptr(), 8 * statistics.shape[1]
    slots[Slot.MEAN], slots[Slot.VAR] = start, start + row
    slots[Slot.INVSTD], slots[Slot.EPS] = start + 2 * row, bits_of(eps)
    return slots


def _gradient_slots(statistics: Tensor, sums: Tensor) -> Slots:
    """Return where mean (first row), invstd (last row), and the two sums lie."""
    slots, start, row = no_slots(), statistics.data_ptr(), 8 * statistics.shape[1]
    slots[Slot.MEAN], slots[Slot.INVSTD] = start, start + (statistics.shape[0] - 1) * row
    slots[Slot.SUM_DY] = sums.data_ptr()
    slots[Slot.SUM_DY_XMU] = slots[Slot.SUM_DY] + row
    return slots


def _in_doubles(*per_channel: Tensor) -> Tensor:
    """Return values per channel as rows of doubles."""
    return torch.stack([values.to(torch.float64) for values in per_channel])


KERNEL = NumbaKernel()
