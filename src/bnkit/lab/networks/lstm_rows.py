"""An LSTM that reads an image row by row."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from bnkit.lab.networks.blocks import check_counts, check_image
from bnkit.layers import BatchNorm1d


class LstmRows(nn.Module):
    """Rows → LSTM → batch norm of its last output → Linear."""

    def __init__(self, row: int, classes: int, hidden: int, layers: int) -> None:
        super().__init__()
        self.lstm = nn.LSTM(row, hidden, num_layers=layers, batch_first=True)
        self.norm = BatchNorm1d(hidden)
        self.linear = nn.Linear(hidden, classes)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits (N, K) of images (N, C, H, W), read from the top row to the bottom."""
        rows = images.transpose(1, 2).flatten(2)
        outputs, _ = self.lstm(rows)
        return self.linear(self.norm(outputs[:, -1]))  # type: ignore[no-any-return]


def lstm_rows(
    input_shape: Sequence[int], classes: int, hidden: int = 128, layers: int = 1
) -> LstmRows:
    """Build an LSTM over an image's rows, each with all of its channels.

    Args:
        input_shape: (C, H, W) of one image: H steps of C·W values.
        classes: number of classes.
        hidden: width of the LSTM.
        layers: LSTM layers on top of each other.

    Raises:
        NetworkError: `input_shape` is not that of an image, or a count is below 1.
    """
    check_image("lstm-rows", input_shape, 1)
    check_counts("lstm-rows", hidden=hidden, layers=layers)
    channels, _, width = input_shape
    return LstmRows(channels * width, classes, hidden, layers)
