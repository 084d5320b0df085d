"""What `bnkit.recalibrate` costs on a model of ResNet-18's size, and how exact it is.

Bars: one pass takes at most 1.25 times the forwards of the same model, in training mode and without
gradients, over the same batches; each layer's statistics are those of what it received in the pass,
computed in float64 by hooks of this file's own, to 1e-6 relative, also where mean/std is 1e4.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

import bnkit

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from result_rows import measured_on, spread, write_rows

BATCHES, SHAPE = 4, (32, 3, 112, 112)
FAR = 1e4


class Block(nn.Module):
    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, width, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or inputs != width:
            projection = nn.Conv2d(inputs, width, 1, stride, bias=False)
            self.shortcut = nn.Sequential(projection, nn.BatchNorm2d(width))

    def forward(self, x: Tensor) -> Tensor:
        y = self.bn2(self.conv2(torch.relu(self.bn1(self.conv1(x)))))
        return torch.relu(y + self.shortcut(x))


def resnet18() -> nn.Module:
    layers: list[nn.Module] = [nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64)]
    layers += [nn.ReLU(), nn.MaxPool2d(3, 2, 1)]
    inputs = 64
    for stage in range(4):
        width = 64 * 2**stage
        for block in range(2):
            layers.append(Block(inputs, width, 2 if stage and not block else 1))
            inputs = width
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(inputs, 1000))


def largest_error(model: nn.Module, batches: list[Tensor]) -> float:
    """Return how far recalibrated statistics are from float64's, relative, over all layers."""
    received: dict[str, list[Tensor]] = {}
    norms = {p: m for p, m in model.named_modules() if isinstance(m, nn.BatchNorm2d)}
    handles = [
        layer.register_forward_pre_hook(
            lambda _, args, path=path: received.setdefault(path, []).append(args[0].clone())
        )
        for path, layer in norms.items()
    ]
    with torch.no_grad():
        model.train()
        for batch in batches:
            model(batch)
    for handle in handles:
        handle.remove()
    changed = bnkit.recalibrate(model, batches).model
    worst = 0.0
    for path, parts in received.items():
        values = torch.cat([part.transpose(0, 1).flatten(1) for part in parts], 1).double()
        layer = changed.get_submodule(path)
        # A mean near zero has no relative precision: it is held against the deviation too.
        scale = torch.maximum(values.mean(1).abs(), values.std(1))
        mean = (layer.running_mean - values.mean(1)).abs() / scale
        var = (layer.running_var - values.var(1)).abs() / values.var(1)
        worst = max(worst, float(mean.max()), float(var.max()))
    return worst


def timed(call: Callable[[], object]) -> tuple[float, float]:
    """Return seconds, and seconds of all processors, which other processes disturb less."""
    start = time.perf_counter(), time.process_time()
    call()
    return time.perf_counter() - start[0], time.process_time() - start[1]


def ratio_of(times: dict[str, list[float]]) -> float:
    """Return the median of what recalibrate takes, in medians of what the forwards take."""
    return round(statistics.median(times["recalibrate"]) / statistics.median(times["forwards"]), 3)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--out", type=Path, help="folder for the result as JSON")
    options = parser.parse_args()
    torch.manual_seed(0)
    model, batches = resnet18().train(), [torch.randn(SHAPE) for _ in range(BATCHES)]
    near = largest_error(model, [batches[0][:8], batches[1][:5]])
    far = nn.Sequential(nn.BatchNorm2d(64))
    far_error = largest_error(far, [torch.randn(16, 64, 28, 28) + FAR for _ in range(3)])

    def forwards() -> None:
        with torch.no_grad():
            for batch in batches:
                model(batch)

    calls = {"forwards": forwards, "recalibrate": lambda: bnkit.recalibrate(model, batches)}
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    processor: dict[str, list[float]] = {name: [] for name in calls}
    for call in calls.values():  # what is compiled or allocated once
        timed(call)
    for _ in range(options.rounds):
        for name, call in calls.items():
            elapsed, busy = timed(call)
            seconds[name].append(elapsed)
            processor[name].append(busy)
    rows = [
        {"bar": "largest relative error of a statistic", "required": "<= 1e-6", "measured": near},
        {"bar": "the same at mean/std = 1e4", "required": "<= 1e-6", "measured": far_error},
        {
            "bar": f"recalibrate on {BATCHES} batches of {SHAPE}, in training forwards",
            "required": "<= 1.25",
            "measured": ratio_of(seconds),
            "measured_in_processor_time": ratio_of(processor),
            "threads": torch.get_num_threads(),
            "seconds": {name: spread(times) for name, times in seconds.items()},
            "processor_seconds": {name: spread(times) for name, times in processor.items()},
        },
    ]
    write_rows("recalibrate", [{**row, **measured_on()} for row in rows], options.out)


if __name__ == "__main__":
    main()
