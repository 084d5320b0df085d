"""What bnkit does on a GPU: layers against the float64 reference, and probes that leave no mark.

On a GPU the layers run torch's own operators. Each row is a layer in a dtype and a layout with its
largest errors, or a probe with whether training was the same with it as without, to the last bit.
"""

from __future__ import annotations

import argparse
import copy
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import bnkit
from bnkit.lab.probes import PROBES

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from result_rows import write_rows

SHAPES = {
    "BatchNorm1d": (64, 32),
    "BatchNorm2d": (16, 32, 14, 14),
    "BatchNorm3d": (4, 8, 6, 6, 6),
    "BatchNormAct2d": (16, 32, 14, 14),
}
DTYPES = (torch.float32, torch.bfloat16, torch.float16)
# These need weights to be named, or record times.
LEFT_OUT = ("weight-trajectory", "step-time")
STEPS = 6


def layer_rows(device: str) -> Iterator[dict[str, Any]]:
    """Yield the largest errors of output, gradient and running variance against float64."""
    for kind, shape in SHAPES.items():
        for dtype in DTYPES:
            for is_channels_last in (False, True) if len(shape) == 4 else (False,):
                found = _errors(kind, shape, dtype, is_channels_last, device)
                layout = "channels-last" if is_channels_last else "contiguous"
                yield {"layer": kind, "dtype": str(dtype), "layout": layout, **found}


def _errors(
    kind: str, shape: tuple[int, ...], dtype: torch.dtype, is_channels_last: bool, device: str
) -> dict[str, float]:
    torch.manual_seed(0)
    layer = getattr(bnkit, kind)(shape[1]).to(device)
    reference = copy.deepcopy(layer).cpu().double()
    x = torch.randn(*shape, device=device).to(dtype)
    if is_channels_last:
        x = x.contiguous(memory_format=torch.channels_last)
    x.requires_grad_()
    exact = x.detach().cpu().double().contiguous().requires_grad_()
    y = layer(x)
    gradient = torch.randn_like(y)
    y.backward(gradient)
    with bnkit.use_kernel("reference"):
        expected = reference(exact)
        expected.backward(gradient.cpu().double())
    pairs = {
        "output": (y, expected),
        "gradient": (x.grad, exact.grad),
        "running variance": (layer.running_var, reference.running_var),
    }
    return {name: (a.cpu().double() - b).abs().max().item() for name, (a, b) in pairs.items()}


def network(device: str) -> nn.Module:
    """Return two conv blocks with batch norm and a dropout, always the same."""
    torch.manual_seed(0)
    blocks = (
        *(nn.Conv2d(3, 16, 3, bias=False), nn.BatchNorm2d(16), nn.ReLU()),
        *(nn.Conv2d(16, 16, 3), nn.BatchNorm2d(16), nn.ReLU(), nn.Dropout(0.2)),
    )
    head = nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 4)
    return nn.Sequential(*blocks, *head).to(device)


def probe_rows(device: str) -> Iterator[dict[str, Any]]:
    """Yield whether a training with a probe is the same as without it, in float32 and autocast."""
    torch.backends.cudnn.deterministic = True
    for is_lowered in (False, True):
        plain = trained(device, [], is_lowered).state_dict()
        for kind in sorted(PROBES.keys() - {*LEFT_OUT}):
            when: Any = [3] if PROBES[kind].when == "end" else 2
            probed = trained(device, [{"kind": kind, "when": when}], is_lowered).state_dict()
            same = all(torch.equal(probed[name], value) for name, value in plain.items())
            precision = "bfloat16 autocast" if is_lowered else "float32"
            yield {"probe": kind, "precision": precision, "training is the same": same}


def trained(device: str, probes: list[dict[str, Any]], is_lowered: bool) -> nn.Module:
    """Train the network for a few steps, with or without probes."""
    model, generator = network(device), torch.Generator().manual_seed(3)
    torch.manual_seed(1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    loss_function = nn.functional.cross_entropy
    batches = [_batch(generator, device) for _ in range(STEPS)]
    with bnkit.lab.Recorder(
        model,
        probes,
        loss=loss_function,
        optimizer=optimizer,
        held_out=batches[:2],
        training=batches,
    ) as recorder:
        for batch in batches:
            optimizer.zero_grad()
            with torch.autocast(torch.device(device).type, torch.bfloat16, enabled=is_lowered):
                loss = loss_function(model(batch[0]), batch[1])
            loss.backward()
            optimizer.step()
            recorder.step(batch)
    return model


def _batch(generator: torch.Generator, device: str) -> tuple[Tensor, Tensor]:
    images = torch.randn(16, 3, 16, 16, generator=generator)
    return images.to(device), torch.randint(4, (16,), generator=generator).to(device)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--out", type=Path, help="folder for gpu.json")
    options = parser.parse_args()
    rows = [*layer_rows(options.device), *probe_rows(options.device)]
    write_rows("gpu", rows, options.out)


if __name__ == "__main__":
    main()
