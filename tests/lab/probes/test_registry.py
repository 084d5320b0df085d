"""Every probe can be had by its class's name, and names its own entry."""

from __future__ import annotations

import pytest

from bnkit.lab import probes
from bnkit.lab.probes import PROBES
from bnkit.lab.probes.listing import listed_probes, probe_lines


@pytest.mark.parametrize("kind", PROBES)
def test_a_probe_is_exported_under_its_class_name(kind: str) -> None:
    made = getattr(probes, PROBES[kind].home.rpartition(":")[2])
    assert issubclass(made, probes.Probe)
    assert made.kind == kind
    assert made.__doc__


def test_no_two_probes_record_one_metric() -> None:
    names = [metric.name for entry in PROBES.values() for metric in entry.metrics]
    assert len(names) == len({*names})


def test_the_listing_names_every_probe() -> None:
    assert {row["kind"] for row in listed_probes()} == PROBES.keys()
    assert PROBES.keys() <= set(probe_lines())
