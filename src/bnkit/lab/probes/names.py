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
    "landscape": ProbeEntry(
        "the loss and its gradient along the gradient of a step: variation, predictiveness, "
        "effective smoothness",
        "bnkit.lab.probes.landscape:Landscape",
        (
            RecordedMetric("loss at step", "nat"),
            RecordedMetric("loss along gradient", "nat", ("key",)),
            RecordedMetric("loss variation", "nat"),
            RecordedMetric("gradient predictiveness", "", ("key",)),
            RecordedMetric("relative gradient predictiveness", "", ("key",)),
            RecordedMetric("gradient predictiveness cosine", "", ("key",)),
            RecordedMetric("effective smoothness", ""),
        ),
        when=100,
        options={"multiples": (0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 3.5, 4.0)},
    ),
    "gradient-shift": ProbeEntry(
        "how far a layer's gradient moves when only the layers before it take their step",
        "bnkit.lab.probes.gradient_shift:GradientShift",
        (
            RecordedMetric("gradient shift", "", ("layer",)),
            RecordedMetric("relative gradient shift", "", ("layer",)),
            RecordedMetric("gradient cosine", "", ("layer",)),
            RecordedMetric("mean relative gradient shift", ""),
            RecordedMetric("mean gradient cosine", ""),
        ),
        when=100,
        layers="every weight",
    ),
    "loss-surface": ProbeEntry(
        "the loss on a plane through the weights, along random directions normalized by filters",
        "bnkit.lab.probes.loss_surface:LossSurface",
        (RecordedMetric("loss surface", "nat", ("key",)),),
        when="end",
        options={"span": 1.0, "points": 11, "examples": 500, "statistics": "kept", "seed": 0},
    ),
    "sharpness": ProbeEntry(
        "the largest eigenvalue of the loss's Hessian",
        "bnkit.lab.probes.sharpness:Sharpness",
        (RecordedMetric("sharpness", ""), RecordedMetric("sharpness residual", "")),
        when="epoch",
        options={"iterations": 30, "tolerance": 0.001, "seed": 0},
    ),
    "activation-moments": ProbeEntry(
        "mean and variance per channel of what layers receive, and how far channels' scales differ",
        "bnkit.lab.probes.activation_moments:ActivationMoments",
        (
            RecordedMetric("activation mean", "", ("layer", "key")),
            RecordedMetric("activation var", "", ("layer", "key")),
            RecordedMetric("channel scales", "", ("layer",)),
        ),
        layers="input of every weight",
        options={"per_channel": False, "examples": 1000, "channel_axis": None},
    ),
    "saturation": ProbeEntry(
        "the share of saturated outputs of sigmoid and tanh, and of dead units of ReLU",
        "bnkit.lab.probes.saturation:Saturation",
        (
            RecordedMetric("saturation", "share", ("layer",)),
            RecordedMetric("dead units", "share", ("layer",)),
        ),
        when="checkpoint",
        layers="output of every activation",
        options={"examples": 1000, "channel_axis": None},
    ),
    "distribution-shift": ProbeEntry(
        "how far a step moves the distribution of what layers receive, in standard deviations",
        "bnkit.lab.probes.distribution_shift:DistributionShift",
        (
            RecordedMetric("distribution shift", "std", ("layer", "key")),
            RecordedMetric("distribution shift at equal draws", "std", ("layer", "key")),
        ),
        when=100,
        layers="input of every weight",
        options={"channel_axis": None},
    ),
    "weight-trajectory": ProbeEntry(
        "chosen weights and the loss after each epoch, and how jagged their path is",
        "bnkit.lab.probes.weight_trajectory:WeightTrajectory",
        (
            RecordedMetric("weight", "", ("layer", "key")),
            RecordedMetric("trajectory loss", "nat"),
            RecordedMetric("jaggedness", ""),
            RecordedMetric("path turning", "rad"),
        ),
        options={"weights": (), "examples": 1000},
    ),
    "train-eval-gap": ProbeEntry(
        "loss and accuracy on training examples in training mode and in eval mode",
        "bnkit.lab.probes.train_eval_gap:TrainEvalGap",
        (
            RecordedMetric("loss by mode", "nat", ("key",)),
            RecordedMetric("loss gap between modes", "nat"),
            RecordedMetric("accuracy by mode", "share", ("key",)),
            RecordedMetric("accuracy gap between modes", "share"),
        ),
        options={"examples": 1000},
    ),
    "statistics-distance": ProbeEntry(
        "how far running statistics are from those of the population",
        "bnkit.lab.probes.statistics_distance:StatisticsDistance",
        (
            RecordedMetric("running mean distance", "std", ("layer",)),
            RecordedMetric("running variance distance", "", ("layer",)),
        ),
        layers="every batch norm",
        options={"examples": 1000},
    ),
    "pruned-accuracy": ProbeEntry(
        "accuracy on held-out data after channels are pruned by the size of γ, by weight norm and "
        "at random",
        "bnkit.lab.probes.pruned_accuracy:PrunedAccuracy",
        (
            RecordedMetric("pruned accuracy", "share", ("key",)),
            RecordedMetric("accuracy lost to pruning", "share", ("key",)),
        ),
        when="end",
        options={
            "amounts": (0.25, 0.5),
            "draws": 3,
            "scope": "layer",
            "examples": None,
        },
    ),
    "step-time": ProbeEntry(
        "the median wall-clock time of a training step, without validation and probes",
        "bnkit.lab.probes.step_time:StepTime",
        (RecordedMetric("step time", "ms"),),
        when="epoch",
    ),
}


def recorded_metrics(kinds: Iterable[str]) -> dict[str, RecordedMetric]:
    """Return name → metric of all that a training with these probes records."""
    found = [*TRAINING_METRICS]
    for kind in kinds:
        found += PROBES[kind].metrics
    return {metric.name: metric for metric in found}
