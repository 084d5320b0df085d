"""What bnkit's layer costs beside torch's on tensors so small that the arithmetic is nothing.

Bar: forward and backward together within 5 % or 10 µs of torch, whichever is more. Both layers
are held against the float64 reference before they are timed, then run in turn in one process.
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

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from result_rows import measured_on, spread, write_rows

SHAPE = (2, 3, 2, 2)
BAR_RATIO, BAR_US = 1.05, 10.0


def forward(layer: nn.Module, x: Tensor, _: Tensor) -> None:
    layer(x)


def forward_and_backward(layer: nn.Module, x: Tensor, grad_output: Tensor) -> None:
    layer(x).backward(grad_output)


def validate(layer: nn.Module, x: Tensor) -> None:
    """Raise unless the layer agrees with the reference kernel."""
    truth = bnkit.BatchNorm2d(x.shape[1]).train(layer.training)
    truth.load_state_dict(layer.state_dict())
    with bnkit.use_kernel("reference"):
        expected = truth(x)
    torch.testing.assert_close(layer(x), expected, rtol=1e-5, atol=1e-5)
    for name, value in layer.state_dict().items():
        torch.testing.assert_close(value, truth.state_dict()[name], rtol=1e-5, atol=1e-5)


def microseconds(call: Any, layer: nn.Module, x: Tensor, grad_output: Tensor, calls: int) -> float:
    """Return the time of one call, the mean over `calls` in a row."""
    start = time.perf_counter()
    for _ in range(calls):
        call(layer, x, grad_output)
    return (time.perf_counter() - start) / calls * 1e6


def measure(call: Any, training: bool, rounds: int, calls: int) -> dict[str, Any]:
    """Return one row: both layers, interleaved."""
    layers = {"torch": nn.BatchNorm2d(SHAPE[1]), "bnkit": bnkit.BatchNorm2d(SHAPE[1])}
    x = torch.randn(SHAPE, requires_grad=True)
    grad_output = torch.randn(SHAPE)
    for layer in layers.values():
        validate(layer.train(training), x)
    times: dict[str, list[float]] = {name: [] for name in layers}
    for turn in range(rounds + 2):
        # In turn, and each the first as often as the second.
        for name in sorted(layers, reverse=bool(turn % 2)):
            us = microseconds(call, layers[name], x, grad_output, calls)
            if turn >= 2:  # the first rounds warm the caches
                times[name].append(us)
    # Each turn's two times beside each other: what else the machine does hits both alike.
    pairs = list(zip(times["bnkit"], times["torch"], strict=True))
    difference = statistics.median(ours - torchs for ours, torchs in pairs)
    ratio = statistics.median(ours / torchs for ours, torchs in pairs)
    return {
        "call": call.__name__.replace("_", " "),
        "mode": "training" if training else "eval",
        "shape": list(SHAPE),
        "threads": torch.get_num_threads(),
        "unit": "us",
        "torch": spread(times["torch"]),
        "bnkit": spread(times["bnkit"]),
        "difference": round(difference, 3),
        "ratio": round(ratio, 4),
        "within bar": ratio <= BAR_RATIO or difference <= BAR_US,
        **measured_on(),
    }


def print_table(rows: list[dict[str, Any]]) -> None:
    print(f"{'call':22}{'mode':10}{'torch µs':>10}{'bnkit µs':>10}{'ratio':>8}{'  within bar'}")
    for row in rows:
        print(
            f"{row['call']:22}{row['mode']:10}{row['torch']['median']:10.2f}"
            f"{row['bnkit']['median']:10.2f}{row['ratio']:8.3f}  {row['within bar']}"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, help="folder for layer_overhead.json")
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--calls", type=int, default=200)
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows = [
        measure(call, training, options.rounds, options.calls)
        for call in (forward, forward_and_backward)
        for training in (True, False)
    ]
    print_table(rows)
    write_rows("layer_overhead", rows, options.out)


if __name__ == "__main__":
    main()
