"""What a compiled program is compiled for, and the block of numbers that it is called with."""

from __future__ import annotations

from enum import IntEnum, auto
from typing import NamedTuple

CONTIGUOUS = "contiguous"
CHANNELS_LAST = "channels-last"
SHORT_ROWS = "short-rows"
CACHED, STREAMED, GATHERED = "cached", "streamed", "gathered"


class Configuration(NamedTuple):
    """What is known when a program is compiled; each combination is a program of its own.

    Attributes:
        dtype: of x and all tensors of its size: "float32", "float64", "bfloat16", "float16".
        parameter_dtype: of weight and bias.
        layout: CONTIGUOUS, (N, C, S); SHORT_ROWS, the same with few S; or CHANNELS_LAST, (N, C),
            where N counts all positions.
        activation: "relu", "leaky_relu", "relu6" or None.
        has_residual: whether a residual is added before the activation.
        is_backward: whether this is the program of the backward pass.
        stores: how y, or the gradient of x, is written: CACHED; STREAMED, past the caches; or
            GATHERED, which streams what rows shorter than a line's multiple make together.
        is_exact: whether sums are taken in doubles from the first value on, whatever the dtype.
    """

    dtype: str
    parameter_dtype: str
    layout: str
    activation: str | None = None
    has_residual: bool = False
    is_backward: bool = False
    stores: str = CACHED
    is_exact: bool = False

    @property
    def arithmetic(self) -> str:
        """Return the dtype that vectors are computed in."""
        return "float64" if self.is_exact or self.dtype == "float64" else "float32"

    @property
    def is_large(self) -> bool:
        """Whether outputs go past the caches: then inputs come from memory too."""
        return self.stores != CACHED

    @property
    def may_sum_masked(self) -> bool:
        """Whether the sums of a backward may write the residual's gradient, and the map read it.

        In the place of two tensors: it pays where each read comes from memory. What is written must
        be what was summed, to the last bit.
        """
        is_exact = self.activation != "leaky_relu" or self.dtype in ("float32", "float64")
        is_long = self.is_large and self.layout == CHANNELS_LAST
        return self.is_backward and self.has_residual and is_long and is_exact

    @property
    def of_channels(self) -> Configuration:
        """Return what decides how values per channel are computed."""
        layout = CHANNELS_LAST if self.layout == CHANNELS_LAST else CONTIGUOUS
        known = Configuration(self.dtype, self.parameter_dtype, layout)
        return known._replace(is_exact=self.is_exact)

    @property
    def of_sums(self) -> Configuration:
        """Return what decides how tensors are summed; y is read in a backward only."""
        known = self if self.is_backward else self._replace(activation=None, has_residual=False)
        reads_far = self.is_large and self.layout == CHANNELS_LAST
        return known._replace(parameter_dtype=self.dtype, stores=STREAMED if reads_far else CACHED)

    @property
    def of_map(self) -> Configuration:
        """Return what decides how outputs are written."""
        return self._replace(parameter_dtype=self.dtype)


# Groups of phases in one pass, and rounds: a poor shift takes two more.
MOST_GROUPS = 5
MOST_ROUNDS = MOST_GROUPS + 2


class Slot(IntEnum):
    """Where a number stands in the block: addresses (0: absent), sizes, and doubles by their bits.

    A task is a range of channels × a range of N × a range of S; tasks are numbered channels first,
    and divided into as many regions as there are threads. At COUNTERS a cache line for each region
    of each round counts the tasks that have been taken; a round runs a group of phases.
    NEXT is how far behind a task's values those of the next one lie. While a task's output is
    written they are asked for, in the place of indices below NEXT_END.
    At COUNTER lies the number of batches that the running statistics have seen.
    At MASKED the sums write the gradient behind the activation, if they do, and the map reads it.
    Arrays per channel are float64, but for the coefficients, which have the dtype of arithmetic.
    Coefficients are rows of `STRIDE` values, so that whole vectors fit. So are the partial sums:
    for each part of N and S, two rows of doubles, and two rows for sums that are still short.
    """

    COUNTERS = 0
    THREAD_NUMBER = auto()
    BARRIER = auto()
    REGIONS = auto()
    GROUPS = auto()
    FIRST_GROUP = 5
    TASKS = 5 + MOST_GROUPS
    CHANNELS_PER_STEP = auto()
    N = auto()
    C = auto()
    S = auto()
    CHANNELS_PER_TASK = auto()
    N_PER_TASK = auto()
    S_PER_TASK = auto()
    STRIDE = auto()
    NEXT = auto()
    NEXT_END = auto()
    X = auto()
    RESIDUAL = auto()
    Y = auto()
    GRAD_OUTPUT = auto()
    GRAD_X = auto()
    GRAD_RESIDUAL = auto()
    MASKED = auto()
    WEIGHT = auto()
    BIAS = auto()
    GRAD_WEIGHT = auto()
    GRAD_BIAS = auto()
    MEAN = auto()
    VAR = auto()
    INVSTD = auto()
    RUNNING_MEAN = auto()
    RUNNING_VAR = auto()
    COUNTER = auto()
    SUM_DY = auto()
    SUM_DY_XMU = auto()
    SHIFT = auto()
    PARTIALS = auto()
    COEFFICIENTS = auto()
    FOUND_POOR_SHIFT = auto()
    EPS = auto()
    MOMENTUM = auto()
    NEGATIVE_SLOPE = auto()
    M = auto()


class Phase(IntEnum):
    """What a program does to each task, in this order.

    Forward: SHIFT chooses the value k that is subtracted from x before squares are summed, SUM
    writes the task's Σ (x − k) and Σ (x − k)², FINISH makes statistics of all tasks' sums, or
    FIXED takes the running ones for them, UPDATE moves the running ones, COEFFICIENTS makes the
    factors of MAP, which writes y.

    Backward: SHIFT makes the factors of SUM, which writes Σ dy and Σ dy·(x − high), FINISH adds
    all tasks' sums, COEFFICIENTS makes the factors of MAP, which writes the gradients.
    """

    SHIFT = 1
    SUM = 2
    FINISH = 4
    FIXED = 8
    UPDATE = 16
    COEFFICIENTS = 32
    MAP = 64


# Rows of the workspace for each part: two of doubles, two of the dtype of arithmetic.
PARTIAL_ROWS = 4
# Division by zero gives inf and NaN, as in torch, and not an exception.
COMPILE_OPTIONS = {"error_model": "numpy"}
# Of what programs call: nothing outside calls it, and it makes no objects.
PART_OPTIONS = {**COMPILE_OPTIONS, "no_cfunc_wrapper": True, "no_rewrites": True, "_nrt": False}
# Elements of a row that are summed in the dtype of arithmetic before they join a double: the
# error of a chain of additions grows with its length.
SEGMENT = 8192
# As many values of short rows stay in a vector before they join a double.
SHORT_SEGMENT = 2048
# Values of a channel that its shift is the mean of.
SHIFT_SAMPLES = 8
# Channels that share a pass over memory, so that short rows make one long read.
CHANNELS_PER_PASS = 32
# What one task reads of memory in one go, at least.
BYTES_PER_PASS = 4096
CACHE_LINE = 64
# What is gathered before it is streamed: as much as there is room for, whatever its offset.
GATHERED_BYTES = BYTES_PER_PASS - CACHE_LINE
# Rows of channels-last data that are summed before they join a double.
ROWS_PER_SUM = 32
# Rows of channels-last data that are read side by side, out of a cache.
ROWS_AT_ONCE = 4
# Values of a row that short rows of several channels make together, at most.
MOST_COLUMNS = 2048
# What is kept for its columns: rows of so many values, since the last vector may reach beyond it;
# up to five coefficients, and behind them two sums.
KEPT_STRIDE = MOST_COLUMNS + 16
KEPT_ROWS = 5
# Rows that are summed before they join a double.
SHORT_ROWS_PER_SUM = 128
# How far ahead of a long read its lines are asked for.
PREFETCH_BYTES = 4096
# (mean − shift)²/var beyond which a channel is summed once more around its mean: cancellation
# would take more than two bits from the variance.
SHIFT_LIMIT = 4.0
