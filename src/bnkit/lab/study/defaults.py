"""What a study file may leave out: the two arms, the two claims, five seeds."""

from __future__ import annotations

from typing import Any

DEFAULT_SEEDS = [0, 1, 2, 3, 4]

DEFAULT_ARMS: dict[str, dict[str, Any]] = {
    "without": {"norm": "none"},
    "with": {"norm": "batch"},
}

DEFAULT_CLAIMS: list[dict[str, Any]] = [
    {
        "id": "accuracy",
        "text": "test accuracy at the end is higher with batch norm",
        "kind": "higher",
        "metric": "test accuracy",
        "better": "with",
        "than": "without",
    },
    {
        "id": "training-loss",
        "text": "training loss at the end is lower with batch norm",
        "kind": "lower",
        "metric": "train loss",
        "better": "with",
        "than": "without",
    },
]
