"""Probes made from what a study file or a user names."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from importlib import import_module

from torch import nn

from bnkit.errors import ProbeError
from bnkit.lab.probes.names import PROBES
from bnkit.lab.probes.probe import Probe
from bnkit.lab.probes.settings import ProbeSettings


def make_probes(tables: Iterable[ProbeSettings], network: nn.Module) -> list[Probe]:
    """Return the probes, with their layers chosen on a network.

    Args:
        tables: what to make.
        network: as it was built, before any rewrite: all arms then look at the same layers.

    Raises:
        ProbeError: an option or a layer that does not exist; the message names the probe.
    """
    return [_prepared(make_probe(table), network) for table in tables]


def make_probe(table: ProbeSettings) -> Probe:
    """Return the probe that a table describes, its layers not chosen yet."""
    module, _, name = PROBES[table.kind].home.rpartition(":")
    made: Probe = getattr(import_module(module), name)(
        when=table.when, layers=table.layers, **table.options
    )
    return made


@cache
def unit_of(kind: str, metric: str) -> str:
    """Return the unit of a metric that a probe records."""
    return {each.name: each.unit for each in PROBES[kind].metrics}[metric]


def _prepared(probe: Probe, network: nn.Module) -> Probe:
    try:
        probe.prepare(network)
    except ProbeError as error:
        error.where = error.where or f"probe {probe.kind}"
        raise
    return probe
