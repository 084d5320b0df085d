"""Why does batch norm help here? Two probes in a training loop of your own, and the page they make.

Run it with `python examples/probe_your_own_loop.py`; records and page go to runs/own-loop.
"""

from __future__ import annotations

import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import bnkit

PROBES = [
    {"kind": "gradient-norms", "when": 10},
    {"kind": "activation-percentiles", "when": "epoch", "layers": "output of every activation"},
]


def network(*, with_batch_norm: bool) -> nn.Module:
    torch.manual_seed(0)
    layers: list[nn.Module] = [nn.Flatten()]
    for inputs in (64, 32, 32):
        norm = nn.BatchNorm1d(32) if with_batch_norm else nn.Identity()
        layers += [nn.Linear(inputs, 32), norm, nn.Sigmoid()]
    return nn.Sequential(*layers, nn.Linear(32, 10))


def train(arm: str, model: nn.Module, data: TensorDataset, held_out: tuple[Tensor, Tensor]) -> None:
    loader = DataLoader(data, batch_size=60, shuffle=True)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    loss_function = nn.functional.cross_entropy
    with bnkit.lab.Recorder(
        model,
        PROBES,
        loss=loss_function,
        optimizer=optimizer,
        held_out=held_out,
        steps_per_epoch=len(loader),
        out="runs/own-loop",
        arm=arm,
    ) as recorder:
        for _ in range(3):
            for batch in loader:
                optimizer.zero_grad()
                loss = loss_function(model(batch[0]), batch[1])
                loss.backward()
                optimizer.step()
                recorder.step(batch, loss=loss)
    ratio = recorder.frame().filter(metric="gradient norm ratio")["value"].mean()
    print(f"{arm}: the first layer's gradient is {ratio:.3f} times as long as the last one's")
    print("the page:", recorder.report())


def main() -> None:
    digits = load_digits()
    images = torch.tensor(digits.images / 16, dtype=torch.float32)
    labels = torch.tensor(digits.target)
    data, held_out = TensorDataset(images[:1400], labels[:1400]), (images[1400:], labels[1400:])
    train("without", network(with_batch_norm=False), data, held_out)
    train("with", network(with_batch_norm=True), data, held_out)


if __name__ == "__main__":
    main()
