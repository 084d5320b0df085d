"""Probes made from what a study file or a user names."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache
from importlib import import_module
from typing import Any

from pydantic import ValidationError
from torch import nn
from torch.nn.parameter import is_lazy

from bnkit.errors import ProbeError
from bnkit.lab.probes.names import PROBES
from bnkit.lab.probes.probe import Probe
from bnkit.lab.probes.settings import ProbeSettings

_A_PROBE = 'a kind such as "gradient-norms", or a table {"kind": …, "when": …}'


def make_probes(tables: Iterable[ProbeSettings], network: nn.Module) -> list[Probe]:
    """Return the probes, with their layers chosen on a network.

    Args:
        tables: what to make.
        network: as it was built, before any rewrite: all arms then look at the same layers.

    Raises:
        ProbeError: an option or a layer that does not exist; the message names the probe.
    """
    return [_prepared(make_probe(table), network) for table in tables]


def make_prepared(wanted: str | Mapping[str, Any] | Probe, network: nn.Module) -> Probe:
    """Return a probe by its kind, as a table says, or as given, with its layers chosen.

    Raises:
        ProbeError: there is no such probe, option or layer.
    """
    if isinstance(wanted, Probe):
        return _prepared(wanted, network)
    if not isinstance(wanted, str | Mapping):
        raise ProbeError(f"{wanted!r} is no probe", required=_A_PROBE)
    table = {"kind": wanted} if isinstance(wanted, str) else dict(wanted)
    try:
        return _prepared(make_probe(ProbeSettings.model_validate(table)), network)
    except ValidationError as error:
        cause = error.errors(include_url=False)[0]
        inner = cause.get("ctx", {}).get("error")
        if isinstance(inner, ProbeError):
            raise inner from None
        key = ".".join(map(str, cause["loc"])) or "probe"
        raise ProbeError(f"{key}: {cause['msg']}", required=_A_PROBE) from error


def as_table(probe: Probe) -> dict[str, Any]:
    """Return a probe as a study file states it, with all that holds where it was told nothing."""
    when = probe.when.at or probe.when.every or probe.when.moment
    table = {"kind": probe.kind, "when": when, "layers": probe.layers, **probe.options}
    return {
        key: list(value) if isinstance(value, tuple) else value
        for key, value in table.items()
        if value not in (None, "")
    }


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
        if probe.needs_step or probe.looks_at_weights:
            _refuse_lazy(network)
        probe.prepare(network)
    except ProbeError as error:
        error.where = error.where or f"probe {probe.kind}"
        raise
    return probe


def _refuse_lazy(network: nn.Module) -> None:
    for name, parameter in network.named_parameters():
        if is_lazy(parameter):
            raise ProbeError(
                f"the network's {name} has no values yet",
                required="a network whose lazy layers are initialized",
                remedy="Run it on a batch first",
            )
