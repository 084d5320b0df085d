"""A process of its own: the memory of one forward and backward above its inputs, as JSON.

Two measures. The process's resident memory counts everything, cached memory and what an allocator
keeps too: its peak is VmHWM, set back through /proc/self/clear_refs; where that is not to be had,
the largest that getrusage has seen. torch's profiler counts what torch's allocator hands out.
"""

from __future__ import annotations

import argparse
import json
import resource
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import bnkit

MIB = 2**20
STEPS = 3
OPERATIONS = ("bn", "bn-relu", "bn-add-relu")
LAYOUTS = {"contiguous": torch.contiguous_format, "channels-last": torch.channels_last}

Tensors = tuple[Tensor, Tensor | None, Tensor]
Forward = Callable[[Tensor, Tensor | None], Tensor]


def forward_of(peer: str, operation: str, channels: int) -> Forward:
    """Return (x, residual) → y, by bnkit's layer or torch's with what follows it."""
    if peer == "bnkit":
        return bnkit.BatchNormAct2d(channels, None if operation == "bn" else "relu")
    layer = nn.BatchNorm2d(channels)

    def forward(x: Tensor, residual: Tensor | None) -> Tensor:
        y = layer(x)
        if residual is not None:
            y = y + residual
        return y if operation == "bn" else nn.functional.relu(y)

    return forward


def status_mib(key: str) -> float | None:
    """Return VmRSS or VmHWM; None where the system does not tell."""
    try:
        lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    found = [line.split()[1] for line in lines if line.startswith(f"{key}:")]
    return int(found[0]) / 1024 if found else None


def resident_mib() -> float:
    now = status_mib("VmRSS")
    return peak_mib() if now is None else now


def peak_mib() -> float:
    peak = status_mib("VmHWM")
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024 if peak is None else peak


def set_back_peak() -> bool:
    """Make the peak that of now; return whether the system lets us."""
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    except OSError:
        return False
    return True


def step(forward: Forward, x: Tensor, residual: Tensor | None, grad_output: Tensor) -> float:
    """Run forward and backward as a training step does, and return what is resident between."""
    y = forward(x, residual)
    between = resident_mib()
    # Both gradients at once, as a network behind has them; a leaf's .grad would be one copy more.
    wanted = [x] if residual is None else [x, residual]
    gradients = torch.autograd.grad(y, wanted, grad_output)
    del y, gradients
    return between


def resident(forward: Forward, tensors: Tensors) -> dict[str, Any]:
    """Return peak, held between forward and backward, and held afterwards, in MiB."""
    was_set_back = set_back_peak()
    before = resident_mib()
    between = max(step(forward, *tensors) for _ in range(STEPS))
    return {
        "peak_mib": peak_mib() - before,
        "between_mib": between - before,
        "after_mib": resident_mib() - before,
        "measure": "VmHWM" if was_set_back else "largest since start",
    }


def allocated(forward: Forward, tensors: Tensors) -> dict[str, float]:
    """Return the peak of what torch's allocator handed out, in MiB."""
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        step(forward, *tensors)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "trace.json"
        profiler.export_chrome_trace(str(path))
        events = json.loads(path.read_text(encoding="utf-8"))["traceEvents"]
    changes = [event for event in events if event.get("name") == "[memory]"]
    changes.sort(key=lambda event: event["ts"])
    now = peak = 0
    for change in changes:
        now += change["args"]["Bytes"]
        peak = max(peak, now)
    return {"allocated_peak_mib": peak / MIB}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("peer", choices=["bnkit", "torch"])
    parser.add_argument("operation", choices=OPERATIONS)
    parser.add_argument("layout", choices=list(LAYOUTS))
    parser.add_argument("dtype")
    parser.add_argument("shape", help="such as 32x64x56x56")
    options = parser.parse_args()
    shape = tuple(map(int, options.shape.split("x")))
    dtype = getattr(torch, options.dtype)

    def tensors(*sizes: int) -> Tensors:
        drawn = (
            torch.randn(sizes).to(dtype).contiguous(memory_format=LAYOUTS[options.layout])
            for _ in range(3)
        )
        x, residual, grad_output = drawn
        adds = options.operation == "bn-add-relu"
        return x.requires_grad_(), residual.requires_grad_() if adds else None, grad_output

    forward = forward_of(options.peer, options.operation, shape[1])
    # What a first call loads and compiles is not memory of a step.
    inputs = tensors(*shape)
    step(forward, *inputs)
    bnkit.empty_cache()
    found = resident(forward, inputs) | allocated(forward, inputs)
    found["tensor_mib"] = inputs[0].numel() * inputs[0].element_size() / MIB
    print(json.dumps(found))


if __name__ == "__main__":
    main()
