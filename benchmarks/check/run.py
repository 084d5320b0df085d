"""What `bnkit.check` costs on a model of ResNet-152's size.

Bars: a static check under 2 s beyond imports; a check with one traced forward under the time of
four plain forwards; and memory beyond the model of at most its own size and one forward.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import bnkit

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from result_rows import measured_on, spread, write_rows

MIB = 2**20
BLOCKS = (3, 8, 36, 3)
SHAPE = (4, 3, 224, 224)


class Bottleneck(nn.Module):
    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            *(nn.Conv2d(inputs, width, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU()),
            *(nn.Conv2d(width, width, 3, stride, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU()),
            *(nn.Conv2d(width, 4 * width, 1, bias=False), nn.BatchNorm2d(4 * width)),
        )
        self.shortcut = nn.Identity() if inputs == 4 * width else _projection(inputs, width, stride)

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.body(x) + self.shortcut(x))


def _projection(inputs: int, width: int, stride: int) -> nn.Module:
    convolution = nn.Conv2d(inputs, 4 * width, 1, stride, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(4 * width))


def resnet152() -> nn.Module:
    layers: list[nn.Module] = [nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64)]
    layers += [nn.ReLU(), nn.MaxPool2d(3, 2, 1)]
    inputs = 64
    for stage, blocks in enumerate(BLOCKS):
        width = 64 * 2**stage
        for block in range(blocks):
            layers.append(Bottleneck(inputs, width, 2 if stage and not block else 1))
            inputs = 4 * width
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(inputs, 1000))


def seconds(call: Any, repeats: int) -> dict[str, float]:
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return spread(times)


# glibc then gives back at once what is freed, so that what is resident is what somebody holds.
GIVE_BACK = {"MALLOC_MMAP_THRESHOLD_": "131072", "MALLOC_TRIM_THRESHOLD_": "131072"}


def peak_mib(call: Any) -> float | None:
    """Return what a call holds at its peak beyond what is resident; None where Linux tells not."""
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
        before = _status_mib("VmRSS")
        call()
        return round(_status_mib("VmHWM") - before, 1)
    except OSError:
        return None


def _status_mib(key: str) -> float:
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(f"{key}:"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--out", type=Path, help="folder for the result as JSON")
    options = parser.parse_args()
    if not GIVE_BACK.items() <= os.environ.items():
        os.execve(sys.executable, [sys.executable, *sys.argv], os.environ | GIVE_BACK)
    model, x = resnet152().eval(), torch.randn(SHAPE)
    model_mib = sum(p.numel() * p.element_size() for p in model.parameters()) / MIB
    bnkit.check(nn.Sequential(nn.BatchNorm2d(1)), torch.zeros(2, 1, 2, 2))  # imports

    def forward() -> None:
        with torch.no_grad():
            model(x)

    forward_seconds = seconds(forward, options.repeats)
    static = seconds(lambda: bnkit.check(model), options.repeats)
    traced = seconds(lambda: bnkit.check(model, x), options.repeats)
    forward_mib, check_mib = peak_mib(forward), peak_mib(lambda: bnkit.check(model, x))
    rows = [
        {"bar": "static check, s", "required": "< 2", "measured": static["median"]},
        {
            "bar": "check with one traced forward, in plain forwards",
            "required": "< 4",
            "measured": round(traced["median"] / forward_seconds["median"], 3),
        },
        {
            "bar": "peak memory of that check, MiB",
            "required": f"<= {model_mib:.1f} + {forward_mib}, the model's own and one forward's",
            "measured": check_mib,
        },
    ]
    write_rows("check", [{**row, **measured_on()} for row in rows], options.out)


if __name__ == "__main__":
    main()
