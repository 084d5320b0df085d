"""What batch norm adds to a training step: bnkit's share of what torch's layer adds.

share = (bnkit − none)/(torch − none), each the time of forward, loss, backward and an SGD step of
one network; the median over rounds. Bars: 0.35 for the three-conv network at batch 256, 0.4 for a
stack of depthwise and 1×1 convolutions like MobileNetV2's.

bnkit comes in through three doors: its layers by hand, `bnkit.accelerate`, and
`torch.compile(backend="bnkit")`. Each is held against torch's network before it is timed.
"""

from __future__ import annotations

import argparse
import copy
import gc
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import bnkit

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from networks import NETWORKS, Norm, batch_of, same_weights
from result_rows import measured_on, spread, write_rows

DOORS = ("layers", "accelerate", "compile")
LAYOUTS = {"contiguous": torch.contiguous_format, "channels-last": torch.channels_last}
WARM_UP_ROUNDS = 3
TIMES_TORCH_ERROR = 4


class Step:
    """One network and its optimizer."""

    def __init__(self, model: Callable[[Tensor], Tensor], parameters: Any) -> None:
        self.model = model
        self.parameters = list(parameters)
        self.optimizer = torch.optim.SGD(self.parameters, lr=1e-4)

    def loss(self, x: Tensor, labels: Tensor) -> Tensor:
        return nn.functional.cross_entropy(self.model(x), labels)

    def __call__(self, x: Tensor, labels: Tensor) -> None:
        self.optimizer.zero_grad(set_to_none=True)
        self.loss(x, labels).backward()
        self.optimizer.step()


def door(name: str, build: Callable[[Norm], nn.Module], source: nn.Module, x: Tensor) -> Step:
    """Return the network with bnkit's batch norm, through one of the doors."""
    if name == "layers":
        model = build("bnkit")
        same_weights(source, model)
        model.to(memory_format=_format_of(x))
        return Step(model, model.parameters())
    model = build("torch")
    same_weights(source, model)
    model.to(memory_format=_format_of(x))
    if name == "accelerate":
        model = bnkit.accelerate(model, example_args=x).model
        return Step(model, model.parameters())
    return Step(torch.compile(model, backend="bnkit"), model.parameters())


def _format_of(x: Tensor) -> torch.memory_format:
    is_contiguous = x.is_contiguous()
    return torch.contiguous_format if is_contiguous else torch.channels_last


def validate(step: Step, torchs: Step, reference: Step, x: Tensor, labels: Tensor) -> None:
    """Raise unless loss and gradients are as near to those in float64 as torch's are.

    Rounding decides some of the signs that a ReLU sees, for torch's network as for ours, so the
    whole gradient's error counts, relative to its norm: at most 4 times torch's own.
    """

    def results(each: Step, images: Tensor) -> Tensor:
        loss = each.loss(images, labels)
        gradients = torch.autograd.grad(loss, each.parameters)
        return torch.cat([loss.detach().view(1), *(g.flatten() for g in gradients)]).double()

    truth = results(reference, x.double())
    own, torchs_own = (
        float((results(each, x) - truth).norm() / truth.norm()) for each in (step, torchs)
    )
    if not own <= TIMES_TORCH_ERROR * torchs_own:
        raise AssertionError(
            f"gradients are off by {own:.3g} of their norm, torch's {torchs_own:.3g}"
        )


def measure(network: str, layout: str, door_name: str, rounds: int) -> dict[str, Any]:
    """Return one row: without batch norm, with torch's, with bnkit's, in turn."""
    build, shape, bar = NETWORKS[network]
    x, labels = batch_of(shape)
    x = x.contiguous(memory_format=LAYOUTS[layout])
    torch.manual_seed(0)
    source = build("torch")
    without, torchs = build("none"), build("torch")
    for model in (without, torchs):
        same_weights(source, model)
        model.to(memory_format=_format_of(x))
    steps = {
        "none": Step(without, without.parameters()),
        "torch": Step(torchs, torchs.parameters()),
        "bnkit": door(door_name, build, source, x),
    }
    reference = copy.deepcopy(torchs).double()
    validate(steps["bnkit"], steps["torch"], Step(reference, reference.parameters()), x, labels)
    times = interleaved(steps, x, labels, rounds)
    in_rounds = list(zip(*(times[name] for name in ("none", "torch", "bnkit")), strict=True))
    added_torch = statistics.median(torchs - none for none, torchs, _ in in_rounds)
    added_bnkit = statistics.median(ours - none for none, _, ours in in_rounds)
    return {
        "network": network,
        "batch": list(shape),
        "layout": layout,
        "door": door_name,
        "threads": torch.get_num_threads(),
        "unit": "ms",
        **{name: spread(values) for name, values in times.items()},
        "torch adds": round(added_torch, 3),
        "bnkit adds": round(added_bnkit, 3),
        "share": round(added_bnkit / added_torch, 4),
        "step vs torch": round(statistics.median(t / b for _, t, b in in_rounds), 3),
        "bar": bar,
        "within bar": added_bnkit / added_torch <= bar,
        **measured_on(),
    }


def interleaved(
    steps: dict[str, Step], x: Tensor, labels: Tensor, rounds: int
) -> dict[str, list[float]]:
    """Return each network's times in ms, one for each round, in an order that changes."""
    times: dict[str, list[float]] = {name: [] for name in steps}
    names = list(steps)
    gc.collect()
    gc.disable()
    for turn in range(rounds + WARM_UP_ROUNDS):
        order = names[turn % 3 :] + names[: turn % 3]
        for name in reversed(order) if turn % 2 else order:
            start = time.perf_counter()
            steps[name](x, labels)
            if turn >= WARM_UP_ROUNDS:
                times[name].append((time.perf_counter() - start) * 1e3)
    gc.enable()
    return times


def missing_door(name: str) -> str:
    """Return why a door cannot be taken; empty if it can."""
    if name == "accelerate" and not hasattr(bnkit, "accelerate"):
        return "bnkit.accelerate is not there"
    if name == "compile" and "bnkit" not in torch._dynamo.list_backends():
        return 'torch.compile knows no backend "bnkit"; install bnkit anew'
    return ""


def row_or_reason(network: str, layout: str, door_name: str, rounds: int) -> dict[str, Any]:
    """Return one row; where a door refuses the network, why, and that the bar is not met."""
    reason = missing_door(door_name)
    try:
        if not reason:
            return measure(network, layout, door_name, rounds)
    except bnkit.BnkitError as error:
        reason = str(error)
    row = {"network": network, "layout": layout, "door": door_name}
    return {**row, "not measured": reason, "within bar": False, **measured_on()}


def line_of(row: dict[str, Any]) -> str:
    """Return a row as text."""
    head = f"{row['network']:11} {row['layout']:13} {row['door']:10}"
    if "not measured" in row:
        return f"{head} not measured: {row['not measured']}"
    times = "  ".join(f"{name} {row[name]['median']:7.1f}" for name in ("none", "torch", "bnkit"))
    met = "met" if row["within bar"] else "not met"
    return f"{head} {times} ms  share {row['share']:6.3f}, bar {row['bar']}: {met}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, help="folder for training_step.json")
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--network", choices=list(NETWORKS), action="append")
    parser.add_argument("--door", choices=DOORS, action="append")
    parser.add_argument("--layout", choices=list(LAYOUTS), action="append")
    options = parser.parse_args()
    rows = []
    for door_name in options.door or DOORS:
        for network in options.network or NETWORKS:
            for layout in options.layout or LAYOUTS:
                row = row_or_reason(network, layout, door_name, options.rounds)
                rows.append(row)
                print(line_of(row), file=sys.stderr)
    write_rows("training_step", rows, options.out)


if __name__ == "__main__":
    main()
