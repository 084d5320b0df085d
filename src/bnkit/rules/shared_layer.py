"""BN205 shared-layer: one set of statistics for inputs of different statistics."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise
from math import exp, hypot, log

from bnkit.inspection.facts.data import InputValues
from bnkit.inspection.facts.model import LayerFacts
from bnkit.inspection.facts.whole import Facts
from bnkit.rules.distance import Distance, distance
from bnkit.rules.rule import Finding, Rule


@dataclass(frozen=True)
class _Pair:
    """Two calls, and by how much their inputs differ.

    Attributes:
        calls: which of the layer's calls, counted from 0.
        distance: of all channels.
        mean_is_certain, var_is_certain: per channel of `distance`, whether means or variances
            differ by more than the differences between samples explain.
    """

    calls: tuple[int, int]
    distance: Distance
    mean_is_certain: tuple[bool, ...]
    var_is_certain: tuple[bool, ...]

    def share(self, mean: float, log_variance: float) -> float:
        """Return the larger share of channels whose means, or whose variances, are so far apart."""
        if not self.mean_is_certain:
            return 0.0
        means = zip(self.distance.z, self.mean_is_certain, strict=True)
        ratios = zip(self.distance.log_ratio, self.var_is_certain, strict=True)
        far = sum(z > mean and certain for z, certain in means)
        wide = sum(ratio > log_variance and certain for ratio, certain in ratios)
        return max(far, wide) / len(self.mean_is_certain)


def find(facts: Facts) -> Iterator[Finding]:
    """Compare the inputs of each layer's calls pair by pair."""
    for layer in facts.model.norms:
        calls = _calls(facts, layer)
        if len(calls) < 2 or _is_recurrent(facts, calls):
            continue
        found = _worst(facts, layer, calls)
        if found is None:
            continue
        severity, pair = found
        yield RULE.finding(layer.path, _message(facts, calls, pair), severity=severity)


def calls_differ(facts: Facts, layer: LayerFacts) -> bool:
    """Return whether a layer is called with inputs of different statistics, recurrently or not."""
    calls = _calls(facts, layer)
    return len(calls) > 1 and _worst(facts, layer, calls) is not None


def _calls(facts: Facts, layer: LayerFacts) -> list[InputValues]:
    if facts.forward is None or facts.graph is None:
        return []
    return [
        values
        for values in facts.forward.inputs
        if values.layer in layer.paths
        and facts.trained_norm(facts.graph.calls[values.call]) is layer
    ]


def _is_recurrent(facts: Facts, calls: Sequence[InputValues]) -> bool:
    """Return whether an output of one call reaches an input of the next (BN408)."""
    graph = facts.graph
    assert graph is not None
    return any(
        any(reached.number == one.call for reached in graph.upstream(graph.calls[next_.call]))
        for one, next_ in pairwise(calls)
    )


def _worst(
    facts: Facts, layer: LayerFacts, calls: Sequence[InputValues]
) -> tuple[str, _Pair] | None:
    assert facts.forward is not None
    pairs = [
        _pair(layer, facts.forward.samples, (i, calls[i]), (j, calls[j]))
        for i, j in combinations(range(len(calls)), 2)
        if len(calls[i].mean) == len(calls[j].mean)
    ]
    least = RULE.threshold(facts, "channels")
    for severity, mean, variance in (
        ("E", "error_mean", "error_log_variance"),
        ("W", "mean", "log_variance"),
    ):
        limits = RULE.threshold(facts, mean), RULE.threshold(facts, variance)
        worst = max(pairs, key=lambda pair: pair.share(*limits), default=None)
        if worst is not None and worst.share(*limits) >= least:
            return severity, worst
    return None


def _pair(
    layer: LayerFacts, samples: int, one: tuple[int, InputValues], two: tuple[int, InputValues]
) -> _Pair:
    (i, a), (j, b) = one, two
    sigma = [(v + w) / 2 for v, w in zip(a.var, b.var, strict=True)]
    found = distance(a.mean, a.var, b.mean, b.var, sigma_var=sigma, eps=layer.eps)
    # Three standard errors; of few samples the errors themselves are uncertain, and more are asked.
    width = 3 * (1 + 4 / max(samples, 1))
    means, variances = [], []
    for channel, ratio in zip(found.channels, found.log_ratio, strict=True):
        error = hypot(a.mean_error[channel], b.mean_error[channel])
        means.append(abs(a.mean[channel] - b.mean[channel]) > width * error)
        relative = (v.var_error[channel] / (v.var[channel] + layer.eps or 1) for v in (a, b))
        variances.append(ratio > width * hypot(*relative))
    return _Pair((i, j), found, tuple(means), tuple(variances))


def _message(facts: Facts, calls: Sequence[InputValues], pair: _Pair) -> str:
    graph = facts.graph
    assert graph is not None
    i, j = pair.calls
    first, second = (graph.calls[calls[k].call].inputs[0].shape for k in (i, j))
    shapes = f" {first} and {second}" if first != second else f", both {first},"
    quarter = max(1, len(pair.distance.z) // 4)
    z = sorted(pair.distance.z, reverse=True)[quarter - 1]
    ratio = sorted(pair.distance.log_ratio, reverse=True)[quarter - 1]
    return (
        f"it is called {len(calls)} times per forward, with inputs of different statistics: those "
        f"of calls {i + 1} and {j + 1}{shapes} differ in a quarter of the channels by "
        f"{z:.2g}σ or more in the mean, and by a factor of {exp(min(ratio, 99)):.2g} or more in "
        "the variance"
    )


RULE = Rule(
    code="BN205",
    name="shared-layer",
    severity="W",
    severities=("E", "W"),
    needs="F",
    thresholds={
        "mean": 0.25,
        "log_variance": log(1.5),
        "error_mean": 1.0,
        "error_log_variance": log(4),
        "channels": 0.25,
    },
    find=find,
    flags="One batch norm is called more than once per forward, with inputs whose means or "
    "variances differ, in a quarter of the channels, by more than 0.25σ or a factor of 1.5; an "
    "error from 1σ or a factor of 4 on. Differences that the spread between samples explains do "
    "not count.",
    why="In training each call is normalized by its own batch; in eval mode all of them by one "
    "running average, which fits none. Detection heads shared between scales, and networks shared "
    "between domains, lose accuracy in eval mode alone.",
    fine="Where the calls see the same kind of input, as in siamese networks; there nothing is "
    "reported. Recurrent use is BN408's.",
    before="""
class Head(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(64, 64, 3, padding=1), nn.BatchNorm2d(64)

    def forward(self, levels):
        return [self.norm(self.conv(x)) for x in levels]
""",
    after="""
class Head(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(64, 64, 3, padding=1)
        self.norms = nn.ModuleList(nn.BatchNorm2d(64) for _ in range(5))

    def forward(self, levels):
        return [norm(self.conv(x)) for norm, x in zip(self.norms, levels)]
""",
    remedy="Give each call a batch norm of its own, with shared γ and β if they are to be shared, "
    "or use group norm here.",
    source="Wu and Johnson 2021, “Rethinking ‘Batch’ in BatchNorm”, section 5: RetinaNet's head "
    "shared between scales; Tan et al. 2020, “EfficientDet”, whose heads have a norm per level.",
)
