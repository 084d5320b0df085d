"""A folded ResNet-50 beside what torch.fx's fuse makes of it: eval forwards, interleaved.

Bars: every output within 1e-5 of the largest of the unfolded network's; and an eval forward at most
1.03 times as long as that of the network which `torch.fx.experimental.optimization.fuse` gives.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import torch
from torch import nn
from torch.fx.experimental.optimization import fuse

import bnkit

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests"))

from result_rows import measured_on, spread, write_rows

from helpers.healthy_architectures import ResNet50

SHAPE = (1, 3, 224, 224)


def drawn(model: nn.Module) -> nn.Module:
    """Give every batch norm statistics, γ and β as after training."""
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.running_mean.normal_()
                module.running_var.uniform_(0.5, 2.0)
                module.weight.uniform_(0.5, 1.5)
                module.bias.normal_()
    return model.eval()


def interleaved(
    networks: dict[str, nn.Module], x: torch.Tensor, rounds: int
) -> dict[str, list[float]]:
    """Return name → seconds of each round, in which every network runs once, in turn first."""
    times: dict[str, list[float]] = {name: [] for name in networks}
    names = list(networks)
    with torch.inference_mode():
        for number in range(rounds + 2):
            turn = number % len(names)
            for name in names[turn:] + names[:turn]:
                start = time.perf_counter()
                networks[name](x)
                if number >= 2:  # the first rounds fill caches
                    times[name].append(time.perf_counter() - start)
    return times


def identity_us(rounds: int = 100_000) -> float:
    """Return what calling an identity costs, in µs."""
    identity, x = nn.Identity(), torch.zeros(1)
    start = time.perf_counter()
    for _ in range(rounds):
        identity(x)
    return round(1e6 * (time.perf_counter() - start) / rounds, 3)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, help="folder for the result as JSON")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    model, x = drawn(ResNet50()), torch.randn(SHAPE)
    start = time.perf_counter()
    rewrite = bnkit.fold(model, x)
    fold_seconds = time.perf_counter() - start
    networks = {"unfolded": model, "torch.fx fuse": fuse(model), "bnkit.fold": rewrite.model}
    with torch.inference_mode():
        outputs = {name: network(x) for name, network in networks.items()}
    largest = outputs["unfolded"].abs().max()
    times = interleaved(networks, x, options.rounds)
    ratios = [a / b for a, b in zip(times["bnkit.fold"], times["torch.fx fuse"], strict=True)]
    rows: list[dict[str, object]] = [
        {
            "bar": f"eval forward of ResNet-50 at {SHAPE}, folded, in those of torch.fx's fuse",
            "required": "<= 1.03",
            "measured": spread(ratios)["median"],
            "of medians": round(
                spread(times["bnkit.fold"])["median"] / spread(times["torch.fx fuse"])["median"], 4
            ),
        },
        *(
            {
                "network": name,
                "forward_s": spread(times[name]),
                "difference_of_largest": float((outputs[name] - outputs["unfolded"]).abs().max())
                / float(largest),
            }
            for name in networks
        ),
        {
            "batch norms folded": sum("folded into" in c.what for c in rewrite.changes),
            "fold_s": round(fold_seconds, 2),
            "identity_us": identity_us(),
        },
    ]
    shared = {**measured_on(), "threads": options.threads, "rounds": options.rounds}
    write_rows("fold", [{**row, **shared} for row in rows], options.out)


if __name__ == "__main__":
    main()
