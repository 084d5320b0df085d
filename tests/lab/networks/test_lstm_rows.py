from __future__ import annotations

import pytest
import torch

from bnkit.errors import NetworkError
from bnkit.lab.networks.lstm_rows import lstm_rows


def test_rows_are_read_from_the_top_each_with_all_channels() -> None:
    network = lstm_rows((2, 5, 3), 4, hidden=6).eval()
    x = torch.randn(1, 2, 5, 3)
    rows = torch.stack([torch.cat([x[0, 0, row], x[0, 1, row]]) for row in range(5)])
    outputs, _ = network.lstm(rows.unsqueeze(0))
    expected = network.linear(network.norm(outputs[:, 4]))
    torch.testing.assert_close(network(x), expected)


def test_layers_can_be_stacked_and_counts_are_checked() -> None:
    assert lstm_rows((1, 8, 8), 4, layers=2).lstm.num_layers == 2
    with pytest.raises(NetworkError, match="hidden = 0"):
        lstm_rows((1, 8, 8), 4, hidden=0)
    with pytest.raises(NetworkError, match="needs images"):
        lstm_rows((64,), 4)
