"""What streaming outputs past the caches does to the layers around: a training step each way.

A streamed output is not in a cache when the next layer reads it. So whole steps are timed, of four
convolutions with batch norm and ReLU, once streaming from 4 MiB on as bnkit does, and once never.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import bnkit
from bnkit.kernels.numba_cpu import passes

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from result_rows import measured_on, spread, write_rows

NEVER = 2**62
LAYOUTS = {"contiguous": torch.contiguous_format, "channels-last": torch.channels_last}
# Shape, size of the convolutions' kernels, and whether they are depthwise.
NETWORKS = (
    ((32, 256, 14, 14), 1, False),
    ((32, 256, 14, 14), 3, True),
    ((32, 128, 28, 28), 1, False),
    ((32, 128, 28, 28), 3, True),
    ((256, 16, 32, 32), 3, False),
)


def network(channels: int, size: int, is_depthwise: bool) -> nn.Module:
    layers: list[nn.Module] = []
    groups = channels if is_depthwise else 1
    for _ in range(4):
        layers.append(
            nn.Conv2d(channels, channels, size, padding=size // 2, bias=False, groups=groups)
        )
        layers.append(bnkit.BatchNormAct2d(channels))
    return nn.Sequential(*layers)


def step_ms(model: nn.Module, x: Tensor, smallest_streamed: int) -> float:
    """Return the time of one forward and backward, after one that is not timed."""
    passes.TOO_LARGE_TO_STAY = smallest_streamed
    for _ in range(2):
        start = time.perf_counter()
        model(x).backward(x)
        elapsed = time.perf_counter() - start
    return elapsed * 1e3


def row(shape: tuple[int, ...], size: int, is_depthwise: bool, layout: str, rounds: int) -> Any:
    ours = passes.TOO_LARGE_TO_STAY
    model = network(shape[1], size, is_depthwise).to(memory_format=LAYOUTS[layout])
    x = torch.randn(shape).contiguous(memory_format=LAYOUTS[layout])
    times: dict[str, list[float]] = {"streamed": [], "never": []}
    try:
        for _ in range(rounds):
            times["streamed"].append(step_ms(model, x, ours))
            times["never"].append(step_ms(model, x, NEVER))
    finally:
        passes.TOO_LARGE_TO_STAY = ours
    ratios = [never / streamed for streamed, never in zip(*times.values(), strict=True)]
    return {
        "shape": list(shape),
        "tensor_mib": round(x.numel() * 4 / 2**20, 1),
        "convolution": f"{size}x{size}{' depthwise' if is_depthwise else ''}",
        "layout": layout,
        "streamed_ms": spread(times["streamed"]),
        "never_ms": spread(times["never"]),
        "never / streamed": round(statistics.median(ratios), 3),
        **measured_on(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--out", type=Path, help="folder for the result as JSON")
    options = parser.parse_args()
    rows = [row(*each, layout, options.rounds) for each in NETWORKS for layout in LAYOUTS]
    write_rows("streamed_outputs", rows, options.out)


if __name__ == "__main__":
    main()
