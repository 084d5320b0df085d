"""How long the first forward and backward of a process take, beyond importing torch and bnkit.

Run as a program, it is that process: it prints the seconds.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from result_rows import spread

SHAPE = (32, 64, 56, 56)
# One configuration each, as a user's first layer would be.
CONFIGURATIONS = (("bn-relu", "contiguous"), ("bn-add-relu", "channels-last"))


def first_call_rows(repeats: int) -> list[dict[str, Any]]:
    """Return seconds with an empty cache folder, and with what that left in it."""
    rows = []
    for operation, layout in CONFIGURATIONS:
        seconds: dict[str, list[float]] = {"cold": [], "warm": []}
        for _ in range(repeats):
            with tempfile.TemporaryDirectory() as folder:
                for values in seconds.values():
                    values.append(_seconds_in_a_process(folder, operation, layout))
        rows += [
            {
                "cache": cache,
                "operation": operation,
                "layout": layout,
                "shape": list(SHAPE),
                "seconds": spread(values),
            }
            for cache, values in seconds.items()
        ]
    return rows


def _seconds_in_a_process(cache: str, operation: str, layout: str) -> float:
    done = subprocess.run(
        [sys.executable, __file__, operation, layout],
        env=os.environ | {"NUMBA_CACHE_DIR": cache},
        capture_output=True,
        text=True,
        check=True,
    )
    return float(done.stdout)


def main(operation: str, layout: str) -> None:
    import torch

    import bnkit

    x = torch.randn(SHAPE)
    if layout == "channels-last":
        x = x.contiguous(memory_format=torch.channels_last)
    grad_output = torch.randn_like(x)
    # torch's own pages and threads are not what is measured.
    torch.nn.BatchNorm2d(SHAPE[1])(x.requires_grad_()).backward(grad_output)
    start = time.perf_counter()
    layer = bnkit.BatchNormAct2d(SHAPE[1])
    residual = torch.randn_like(x).requires_grad_() if operation == "bn-add-relu" else None
    layer(x, residual).backward(grad_output)
    print(time.perf_counter() - start)


if __name__ == "__main__":
    main(*sys.argv[1:])
