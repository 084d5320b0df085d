"""BN104 stale-statistics: stored statistics that are not those of the current weights."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import exp, log, sqrt

from bnkit.inspection.facts.data import Population
from bnkit.inspection.facts.model import LayerFacts
from bnkit.inspection.facts.whole import Facts
from bnkit.rules.distance import Distance, distance
from bnkit.rules.rule import Finding, Rule
from bnkit.rules.shared_layer import calls_differ


@dataclass(frozen=True)
class _Stale:
    layer: LayerFacts
    severity: str
    distance: Distance


def find(facts: Facts) -> Iterator[Finding]:
    """Compare stored with population statistics; each layer was measured without staleness before.

    Not judged are layers that are kept frozen: their statistics belong to other data on purpose;
    and shared layers whose calls differ: no one set of statistics fits those (BN205).
    """
    assert facts.data is not None
    stale = []
    for population in facts.data.populations:
        layer = facts.model.layer(population.layer)
        if layer is None or not facts.is_trained(layer):
            continue
        if facts.is_kept_frozen(layer) or calls_differ(facts, layer):
            continue
        found = _compare(layer, population)
        severity = _severity(facts, found)
        if severity:
            stale.append(_Stale(layer, severity, found))
    for number, item in enumerate(stale):
        place = "" if len(stale) == 1 else f"; {_ordinal(number)} of {len(stale)} stale layers"
        yield RULE.finding(item.layer.path, _message(item) + place, severity=item.severity)


def _compare(layer: LayerFacts, population: Population) -> Distance:
    assert layer.running_mean is not None
    assert layer.running_var is not None
    return distance(
        layer.running_mean.values,
        layer.running_var.values,
        population.mean,
        population.var,
        sigma_var=population.var,
        eps=layer.eps,
    )


def _severity(facts: Facts, found: Distance) -> str:
    """Return "E", "W" or "", by the medians over the channels.

    Statistics of n samples are themselves off by 1/√n of σ, and variances by √(2/n): what such
    noise explains, three times the median that it would give, is no finding. From 64 samples on
    that is less than the thresholds.
    """
    assert facts.data is not None
    noise = 1 / sqrt(max(facts.data.samples, 1))
    for severity, mean, variance in (
        ("E", "error_mean", "error_log_variance"),
        ("W", "mean", "log_variance"),
    ):
        if found.median_z > max(RULE.threshold(facts, mean), 2 * noise):
            return severity
        if found.median_log_ratio > max(RULE.threshold(facts, variance), 2.9 * noise):
            return severity
    return ""


def _message(item: _Stale) -> str:
    found = item.distance
    worst = max(range(len(found.z)), key=lambda index: found.z[index])
    ratio = max(found.log_ratio)
    tracked = item.layer.batches_tracked
    young = ""
    if tracked and item.layer.momentum and tracked < 3 / item.layer.momentum:
        young = f"; it has counted {tracked} batches, too few for momentum {item.layer.momentum:g}"
    return (
        f"stored mean and population mean are up to {found.z[worst]:.3g}σ apart (channel "
        f"{found.channels[worst]}; median {found.median_z:.2g}σ), the variances by factors up to "
        f"{exp(min(ratio, 99)):.3g} (median {exp(min(found.median_log_ratio, 99)):.3g}){young}"
    )


def _ordinal(number: int) -> str:
    return "the first" if number == 0 else f"number {number + 1}"


RULE = Rule(
    code="BN104",
    name="stale-statistics",
    severity="W",
    severities=("E", "W"),
    needs="D",
    thresholds={
        "mean": 0.25,
        "log_variance": log(1.5),
        "error_mean": 1.0,
        "error_log_variance": log(4),
    },
    find=find,
    flags="The running statistics are not those that the current weights give on the data: over "
    "the channels, the median of |Δmean|/σ is above 0.25 or that of |ln variance ratio| above "
    "ln 1.5; an error above 1 or ln 4. Of fewer than 64 samples more is asked.",
    why="Running statistics follow the weights with a delay, and averaging, pruning, quantizing or "
    "editing weights leaves them behind altogether. Eval mode then computes another function than "
    "the one that was trained.",
    fine="Where the data given are not those the model was trained for: adaptation to them is a "
    "decision of its own.",
    before="""
model.load_state_dict(average_of(checkpoints))  # the weights' average, not their statistics
model.eval()
""",
    after="""
model.load_state_dict(average_of(checkpoints))
for layer in model.modules():
    if isinstance(layer, torch.nn.BatchNorm2d):
        layer.reset_running_stats()
        layer.momentum = None  # the plain average of what follows
model.train()
with torch.no_grad():
    for x, _ in loader:
        model(x)
model.eval()
""",
    remedy="Recalibrate the running statistics on training data: bnkit.recalibrate.",
    source="Wu and Johnson 2021, “Rethinking ‘Batch’ in BatchNorm”, section 3; Izmailov et al. "
    "2018, “Averaging Weights Leads to Wider Optima”, section 3.2.",
)
