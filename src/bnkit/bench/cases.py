"""What is measured: shapes, dtypes, layouts, operations, modes, passes; no torch."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass

Shape = tuple[int, ...]

# A dtype's name in torch → bytes of one value.
ITEM_BYTES = {"float32": 4, "bfloat16": 2, "float16": 2, "float64": 8}
LAYOUTS = ("contiguous", "channels-last")
OPERATIONS = ("bn", "bn-relu", "bn-add-relu")
MODES = ("training", "eval")
# Forward and backward together, as in a training step; or the forward without autograd.
PASSES = ("both", "forward")

# Ranks that have a channels-last form in torch.
CHANNELS_LAST_RANKS = (4, 5)

# The distinct inputs of ResNet-50's batch norms at batch 32 and 224×224 pixels.
# Source: He et al. 2015, "Deep Residual Learning for Image Recognition", table 1, with the stride
# in the 3×3 convolution, as torchvision builds it.
RESNET50_SHAPES: tuple[Shape, ...] = (
    (32, 64, 112, 112),
    (32, 64, 56, 56),
    (32, 256, 56, 56),
    (32, 128, 56, 56),
    (32, 128, 28, 28),
    (32, 512, 28, 28),
    (32, 256, 28, 28),
    (32, 256, 14, 14),
    (32, 1024, 14, 14),
    (32, 512, 14, 14),
    (32, 512, 7, 7),
    (32, 2048, 7, 7),
)
# Those of the lab's three-conv network at batch 256: on grey images of 32×32 pixels, as in the
# article that it comes from, and on scikit-learn's digits of 8×8.
THREE_CONV_SHAPES: tuple[Shape, ...] = ((256, 16, 32, 32), (256, 16, 8, 8))

NAMED_SHAPES = {"resnet50": RESNET50_SHAPES, "three-conv": THREE_CONV_SHAPES}
QUICK_SHAPES: tuple[Shape, ...] = (
    (32, 64, 56, 56),
    (32, 256, 14, 14),
    (32, 2048, 7, 7),
    *THREE_CONV_SHAPES,
)


@dataclass(frozen=True)
class Case:
    """One thing that is measured: every peer does it once in each round."""

    shape: Shape
    dtype: str = "float32"
    layout: str = "contiguous"
    operation: str = "bn-relu"
    mode: str = "training"
    passes: str = "both"

    def __post_init__(self) -> None:
        assert self.dtype in ITEM_BYTES
        assert self.layout in LAYOUTS
        assert self.operation in OPERATIONS
        assert self.mode in MODES
        assert self.passes in PASSES

    @property
    def tensor_mib(self) -> float:
        """Size of x in MiB."""
        return math.prod(self.shape) * ITEM_BYTES[self.dtype] / 2**20

    def __str__(self) -> str:
        words = (self.operation, self.dtype, self.layout, self.mode)
        return f"{shape_text(self.shape)} {' '.join(words)}"


@dataclass(frozen=True)
class BenchSettings:
    """What to measure, and for how long.

    Args:
        shapes: (N, C, *S) each.
        dtypes, layouts, operations, modes, passes: names, each combined with each.
        threads: torch's threads during the run; None leaves them.
        rounds: times that each peer is measured; None: as many as fit into `seconds_per_case`,
            at least MIN_ROUNDS.
        seconds_per_case: see `rounds`.
        compiles: whether torch.compile is a peer.
        cold: whether peers are timed with the caches as the one before left them.
    """

    shapes: tuple[Shape, ...] = RESNET50_SHAPES + THREE_CONV_SHAPES
    dtypes: tuple[str, ...] = ("float32",)
    layouts: tuple[str, ...] = LAYOUTS
    operations: tuple[str, ...] = OPERATIONS
    modes: tuple[str, ...] = ("training",)
    passes: tuple[str, ...] = ("both",)
    threads: int | None = None
    rounds: int | None = None
    seconds_per_case: float = 0.6
    compiles: bool = True
    cold: bool = False

    def cases(self) -> Iterator[Case]:
        """Yield the cases, those with one table's settings after each other.

        A shape without a channels-last form has no case of that layout.
        """
        settings = itertools.product(
            self.modes, self.passes, self.operations, self.dtypes, self.layouts, self.shapes
        )
        for mode, passes, operation, dtype, layout, shape in settings:
            if layout == "contiguous" or len(shape) in CHANNELS_LAST_RANKS:
                yield Case(shape, dtype, layout, operation, mode, passes)


def shape_text(shape: Shape) -> str:
    """Return a shape as options and tables write it: 32x64x56x56."""
    return "x".join(map(str, shape))


def values_per_channel(shape: Shape) -> int:
    """Return m = N·|S|."""
    return math.prod(shape) // shape[1]
