"""Give a network's batch norms the statistics of the data, and adapt them to other data."""

from __future__ import annotations

import torch
from torch import nn

import bnkit


def main() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(
        *(nn.Conv2d(3, 8, 3, bias=False), nn.BatchNorm2d(8), nn.ReLU(), nn.Dropout(0.2)),
        *(nn.Conv2d(8, 8, 3), nn.BatchNorm2d(8), nn.ReLU()),
    )
    # Batches as a DataLoader gives them: images with labels, and a smaller one at the end.
    batches = [(torch.randn(n, 3, 16, 16), torch.zeros(n)) for n in (32, 32, 7)]
    print(bnkit.recalibrate(model, batches))

    # Layer by layer: whatever the batches' sizes, the model comes out the same.
    exact = bnkit.recalibrate(model, batches, sequential=True)
    print(exact.notes[0])

    # Brighter images, without labels: half of their statistics, and back.
    brighter = [images + 1 for images, _ in batches]
    adapted = bnkit.adapt(exact.model, brighter, weight=0.5, inplace=True)
    print(f"largest shift: {max(shift.mean_shift for shift in adapted.shifts):.1f} std")
    adapted.undo()


if __name__ == "__main__":
    main()
