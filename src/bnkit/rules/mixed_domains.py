"""BN206 mixed-domains: one set of statistics for domains that are far apart."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import isfinite, log
from statistics import fmean, median

from bnkit.inspection.facts.data import Domain, Population
from bnkit.inspection.facts.model import LayerFacts
from bnkit.inspection.facts.whole import Facts
from bnkit.rules.rule import Finding, Rule
from bnkit.rules.wording import listed


def find(facts: Facts) -> Iterator[Finding]:
    """Split each layer's variance into that between and that within the domains."""
    assert facts.data is not None
    assert facts.data.domains is not None
    for layer in facts.model.batch_norms:
        if not facts.is_trained(layer):
            continue
        ran = _populations(facts.data.domains, layer)
        if len(ran) < 2:
            continue  # it ran on one domain alone: the domains have layers of their own
        within, between = _split(ran)
        shares = [b / (w + b) for w, b in zip(within, between, strict=True) if w + b > 0]
        share = median(shares or [0.0])
        if not share > RULE.threshold(facts, "share"):
            continue
        pooled = ""
        if _was_trained_per_domain(layer, within, between):
            pooled = (
                "; its running_var is that within a domain, so it was trained on batches of one "
                "domain each, and in eval mode it normalizes all by their average"
            )
        yield RULE.finding(
            layer.path,
            f"{share:.0%} of the variance of its input lies between the domains "
            f"{listed([domain.name for domain, _ in ran])} (median over the channels){pooled}",
        )


def _populations(domains: Sequence[Domain], layer: LayerFacts) -> list[tuple[Domain, Population]]:
    return [
        (domain, population)
        for domain in domains
        for population in domain.populations
        if population.layer == layer.path
    ]


def _split(ran: Sequence[tuple[Domain, Population]]) -> tuple[list[float], list[float]]:
    """Return variance within and between domains per channel; domains count alike.

    What the means of so many samples differ by chance is taken off the variance between.
    """
    within, between = [], []
    for channel in range(len(ran[0][1].mean)):
        means = [population.mean[channel] for _, population in ran]
        variances = [population.var[channel] for _, population in ran]
        noise = fmean(
            var / max(domain.samples - 1, 1)
            for (domain, _), var in zip(ran, variances, strict=True)
        )
        middle = fmean(means)
        spread = fmean((mean - middle) ** 2 for mean in means)
        within.append(fmean(variances))
        between.append(max(0.0, spread - noise * (1 - 1 / len(ran))))
    return within, between


def _was_trained_per_domain(
    layer: LayerFacts, within: Sequence[float], between: Sequence[float]
) -> bool:
    """Return whether running_var is nearer to the variance within a domain than to the whole."""
    assert layer.running_var is not None
    votes = [
        abs(log(stored / inner)) < abs(log(stored / (inner + outer)))
        for stored, inner, outer in zip(layer.running_var.values, within, between, strict=True)
        if stored > 0 and inner > 0 and outer > 0 and isfinite(stored)
    ]
    return 2 * sum(votes) > len(votes)


def _lacks(facts: Facts) -> str:
    assert facts.data is not None
    count = len(facts.data.domains or ())
    return "" if count > 1 else f"needs data of several domains (domains=), not of {count}"


RULE = Rule(
    code="BN206",
    name="mixed-domains",
    severity="W",
    needs="D",
    requires=("data.domains",),
    lacks=_lacks,
    thresholds={"share": 0.5},
    find=find,
    flags="Of the variance of a batch norm's input more than half lies between the domains that "
    "were given, in the median over the channels. The message says if the layer was trained on "
    "batches of one domain each.",
    why="A mixed batch is normalized by the distance between the domains, so that what differs "
    "within one is squeezed. Batches of one domain are normalized well in training; in eval mode "
    "the average of the domains' means and variances fits none of them.",
    fine="Where the difference between the domains is what the model has to tell.",
    before="""
for photo, drawing in zip(photos, drawings):
    loss = model(photo).mean() + model(drawing).mean()  # one set of running statistics
""",
    after="""
norms = nn.ModuleDict({"photo": nn.BatchNorm2d(64), "drawing": nn.BatchNorm2d(64)})
""",
    remedy="Keep a set of statistics per domain; train on batches of one domain, and evaluate each "
    "with its own.",
    source="Chang et al. 2019, “Domain-Specific Batch Normalization for Unsupervised Domain "
    "Adaptation”; Xie et al. 2020, “Adversarial Examples Improve Image Recognition” (AdvProp).",
)
