"""Does batch norm help this network on this data? Asked from Python, answered with verdicts.

Run it with `python examples/own_network.py`; results go to runs/own-network.
"""

from __future__ import annotations

from sklearn.datasets import load_digits
from torch import Tensor, nn

import bnkit


class SmallResidual(nn.Module):
    """Two residual blocks; its convolutions have no biases, because batch norm follows them."""

    def __init__(self, input_shape: tuple[int, int, int], classes: int) -> None:
        super().__init__()
        self.stem = self._block(input_shape[0])
        self.blocks = nn.ModuleList([self._block(16), self._block(16)])
        self.head = nn.Linear(16, classes)

    @staticmethod
    def _block(in_channels: int) -> nn.Sequential:
        convolution = nn.Conv2d(in_channels, 16, 3, padding=1, bias=False)
        return nn.Sequential(convolution, nn.BatchNorm2d(16), nn.ReLU())

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for block in self.blocks:
            x = x + block(x)
        return self.head(x.mean((2, 3)))


def main() -> None:
    digits = load_digits()
    result = bnkit.lab.run(
        {
            "study": {"name": "own-network", "question": "Does batch norm help my network?"},
            "training": {"epochs": 2, "optimizer": {"name": "sgd", "lr": 0.02, "momentum": 0.9}},
        },
        network=SmallResidual,
        data=((digits.images / 16).astype("float32"), digits.target),
        seeds=3,
    )
    print(result)
    for verdict in result.verdicts:
        print(verdict.id, verdict.outcome, verdict.low, verdict.high)
    print(result.metrics.filter(metric="test accuracy", epoch=2).select("arm", "seed", "value"))


if __name__ == "__main__":
    main()
