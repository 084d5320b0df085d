"""The probes by name: what each measures, records and can be told; imports no torch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any, Literal, NamedTuple

Part = Literal["layer", "key"]


class RecordedMetric(NamedTuple):
    """A metric that trials record.

    Attributes:
        name: as claims and figures name it.
        unit: of its values; "" for a plain number.
        per: what tells its series apart: nothing (one value per measurement), the `layer`, the
            `key` (a percentile, a step size …), or both.
    """

    name: str
    unit: str
    per: tuple[Part, ...] = ()


class ProbeEntry(NamedTuple):
    """A probe that a study file or a recorder can name.

    Attributes:
        what: what it measures, in words.
        home: `module:class`.
        metrics: what it records.
        when: when it runs, if it is not told.
        layers: where it looks, if it is not told; "" for probes of the whole network.
        options: what else it can be told → what holds otherwise.
    """

    what: str
    home: str
    metrics: tuple[RecordedMetric, ...]
    when: int | str = "epoch"
    layers: str = ""
    options: Mapping[str, Any] = MappingProxyType({})


TRAINING_METRICS = (
    RecordedMetric("train loss", "nat"),
    RecordedMetric("train accuracy", "share"),
    RecordedMetric("test loss", "nat"),
    RecordedMetric("test accuracy", "share"),
)

PROBES = {
    "activation-percentiles": ProbeEntry(
        "percentiles of what layers put out on held-out data in eval mode, and how steady they are",
        "bnkit.lab.probes.activation_percentiles:ActivationPercentiles",
        (
            RecordedMetric("activation percentile", "", ("layer", "key")),
            RecordedMetric("activation unsteadiness", "", ("layer",)),
        ),
        when="checkpoint",
        layers="output of every activation",
        options={"percentiles": (15.0, 50.0, 85.0), "examples": 1000},
    ),
    "gradient-norms": ProbeEntry(
        "the l2 norm of the gradient of each layer's weight, and the first layer's over the last's",
        "bnkit.lab.probes.gradient_norms:GradientNorms",
        (
            RecordedMetric("gradient norm", "", ("layer",)),
            RecordedMetric("gradient norm ratio", ""),
        ),
        when="epoch",
        layers="every weight",
    ),
    "generalization-gap": ProbeEntry(
        "loss and accuracy on held-out data against those on training data, both in eval mode",
        "bnkit.lab.probes.generalization_gap:GeneralizationGap",
        (
            RecordedMetric("loss gap", "nat"),
            RecordedMetric("accuracy gap", "share"),
            RecordedMetric("train loss in eval mode", "nat"),
            RecordedMetric("train accuracy in eval mode", "share"),
        ),
        when="end",
        options={"examples": None},
    ),
    "variance-shift": ProbeEntry(
        "the running variance of batch norms against the variance they meet in eval mode",
        "bnkit.lab.probes.variance_shift:VarianceShift",
        (
            RecordedMetric("variance shift", "", ("layer",)),
            RecordedMetric("mean variance shift", ""),
        ),
        when="end",
        layers="input of every batch norm",
        options={"examples": None},
    ),
    "train-mode-accuracy": ProbeEntry(
        "accuracy in training mode by batch size, and the share of predictions that depend on the "
        "batch, in both modes",
        "bnkit.lab.probes.train_mode_accuracy:TrainModeAccuracy",
        (
            RecordedMetric("train-mode accuracy", "share", ("key",)),
            RecordedMetric("accuracy lost in train mode", "share", ("key",)),
            RecordedMetric("train-mode changed predictions", "share", ("key",)),
            RecordedMetric("eval-mode changed predictions", "share", ("key",)),
        ),
        when="end",
        options={"batch_sizes": (1, 2, 4, 8, 16, 32, 64, 128, 256), "examples": 2000},
    ),
    "shifted-accuracy": ProbeEntry(
        "accuracy on held-out images of another contrast and brightness, with stored statistics "
        "and with those of the changed images",
        "bnkit.lab.probes.shifted_accuracy:ShiftedAccuracy",
        (
            RecordedMetric("shifted accuracy", "share", ("key",)),
            RecordedMetric("accuracy lost to the shift", "share"),
            RecordedMetric("accuracy recovered", "share"),
        ),
        when="end",
        options={"contrast": 0.5, "brightness": 0.5, "examples": None},
    ),
}


def recorded_metrics(kinds: Iterable[str]) -> dict[str, RecordedMetric]:
    """Return name → metric of all that a training with these probes records."""
    found = [*TRAINING_METRICS]
    for kind in kinds:
        found += PROBES[kind].metrics
    return {metric.name: metric for metric in found}
