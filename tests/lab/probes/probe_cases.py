"""One case per probe, which the contract suite runs."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple


class ProbeCase(NamedTuple):
    """How the contract suite asks for a probe.

    Attributes:
        kind: a key of `PROBES`.
        table: further keys of its `[[probes]]` table.
    """

    kind: str
    table: Mapping[str, Any] = MappingProxyType({})


PROBE_CASES = (
    ProbeCase("activation-percentiles", {"when": 2, "examples": 20}),
    ProbeCase("activation-moments", {"when": 3, "examples": 20, "per_channel": True}),
    ProbeCase("distribution-shift", {"when": 2}),
    ProbeCase("gradient-norms", {"when": 1}),
    ProbeCase("generalization-gap", {"when": 3}),
    ProbeCase("variance-shift", {"when": 3}),
    ProbeCase("train-mode-accuracy", {"when": 3, "batch_sizes": [1, 4]}),
    ProbeCase("shifted-accuracy", {"when": 3}),
    ProbeCase("landscape", {"when": 3, "multiples": [0.5, 4.0]}),
    ProbeCase("gradient-shift", {"when": 3}),
    ProbeCase("loss-surface", {"points": 2, "examples": 20, "statistics": "recomputed"}),
    ProbeCase("sharpness", {"when": 3, "iterations": 2}),
    ProbeCase("saturation", {"when": 3}),
    ProbeCase("statistics-distance", {"when": 3, "examples": 20}),
    ProbeCase("train-eval-gap", {"when": 3}),
    ProbeCase("weight-trajectory", {"when": 2}),
    ProbeCase("pruned-accuracy", {"when": [3], "amounts": [0.5], "draws": 1}),
    ProbeCase("step-time", {"when": 3}),
)
