"""A worked example as text for a person, and as JSON for a program."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Sequence
from itertools import count

import numpy as np

from bnkit.explain.batch import Array
from bnkit.explain.tables import INDENT, WIDTH, blocks, format_numbers, table
from bnkit.explain.worked_example import WorkedExample


def render_json(example: WorkedExample) -> str:
    """Return the example as a JSON object, one key per line; every number round-trips."""
    lines = [
        f"  {json.dumps(key)}: {json.dumps(value, allow_nan=False)}"
        for key, value in example.to_dict().items()
    ]
    return "{\n" + ",\n".join(lines) + "\n}"


def render_text(example: WorkedExample, channel_names: Sequence[str] = ()) -> str:
    """Return the example as numbered steps: formula, numbers, and why, 80 columns wide.

    Args:
        channel_names: shown beside the channels' numbers; empty for none.
    """
    labels = [f"channel {c}" for c in range(example.shape[1])]
    if channel_names:
        labels = [f"{a} ({b})" for a, b in zip(labels, channel_names, strict=True)]
    number = count(1)
    steps = [
        _values(example, labels),
        _mean(example, labels),
        _variance(example, labels),
        _reshape(example),
        _normalize(example, labels),
        _scale_and_shift(example, labels),
        _check(example, labels),
        _running_statistics(example, labels),
        _inference(example, labels),
        _agreement(example),
    ]
    parts = [_introduction(example)]
    parts += [[f"{next(number)}. {head}", *body] for head, *body in steps]
    return "\n\n".join("\n".join(part) for part in parts)


def _paragraph(text: str, indent: str = INDENT) -> list[str]:
    return textwrap.wrap(text, WIDTH, initial_indent=indent, subsequent_indent=indent)


def _introduction(example: WorkedExample) -> list[str]:
    title = "Batch normalization, step by step"
    examples, channels, *positions = example.shape
    size = f"{_counted(examples, 'example')}, {_counted(channels, 'channel')}"
    if positions:
        size += f", {' × '.join(map(str, positions))} positions"
    text = (
        f"x has shape {example.shape}: {size}. eps = {example.eps:g} and "
        f"momentum = {example.momentum:g}. Steps 1 to 8 are what {example.agreement.layer} does "
        "in training mode, step 9 what it does in eval mode."
    )
    return [title, "=" * len(title), *_paragraph(text, "")]


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _values(example: WorkedExample, labels: list[str]) -> list[str]:
    examples, _, *positions = example.shape
    axes = f"axes {example.axes}" if positions else "axis 0"
    names = "N" if not positions else "N·L" if len(positions) == 1 else "N·H·W"
    product = "·".join(map(str, (examples, *positions)))
    m = f"{names} = {product} = {example.values_per_channel}" if positions else f"N = {examples}"
    return [
        "Take the values of each channel together",
        f"{INDENT}statistics run over {axes}",
        f"{INDENT}m = {m} values per channel",
        *_paragraph(
            "Why: all values of a channel, from every example and position, measure the same thing "
            "on the same scale. Channels are never mixed."
        ),
        f"{INDENT}x =",
        *blocks(example.x, labels, _resolutions(np.sqrt(example.var))),
    ]


def _mean(example: WorkedExample, labels: list[str]) -> list[str]:
    resolution = _smallest(np.sqrt(example.var))
    total = example.x.sum(axis=example.axes)
    return [
        "Mean of each channel",
        f"{INDENT}mean = Σ x / m",
        *_paragraph("Why: it says where the channel's values lie; step 5 moves it to 0."),
        *table(
            ["", "Σ x", "mean"],
            [
                labels,
                format_numbers(total, resolution),
                format_numbers(example.mean, resolution),
            ],
        ),
    ]


def _variance(example: WorkedExample, labels: list[str]) -> list[str]:
    squares = example.var * example.values_per_channel
    return [
        "Variance of each channel",
        f"{INDENT}var = Σ (x − mean)² / m",
        *_paragraph(
            "Why: √var is the channel's scale; step 5 makes it 1. Dividing by m, and not by m − 1, "
            "is the biased variance: it describes exactly the values at hand, so that these come "
            "out with variance 1, but for eps."
        ),
        *table(
            ["", "Σ (x − mean)²", "var", "√var"],
            [
                labels,
                format_numbers(squares, keep_small=True),
                format_numbers(example.var, keep_small=True),
                format_numbers(np.sqrt(example.var), keep_small=True),
            ],
        ),
    ]


def _reshape(example: WorkedExample) -> list[str]:
    shape = example.mean_reshaped.shape
    letters = ", ".join("C" if axis == 1 else "1" for axis in range(len(shape)))
    why = (
        "Why: broadcasting lines shapes up from the last axis, so one number per channel must "
        "stand on axis 1, with 1 on every other axis, to meet its own channel"
    )
    if len(shape) > 2:
        why += f"; shape ({shape[1]},) would be laid along the last axis, the positions"
    resolution = _smallest(np.sqrt(example.var))
    mean = format_numbers(example.mean, resolution)
    return [
        "Reshape the statistics",
        f"{INDENT}from shape (C,) to ({letters}) = {shape}",
        *_paragraph(f"{why}."),
        f"{INDENT}mean = {_nested(mean, len(shape))}",
        f"{INDENT}var  = {_nested(format_numbers(example.var, keep_small=True), len(shape))}",
    ]


def _nested(numbers: list[str], rank: int) -> str:
    """Write per-channel numbers in shape (1, C), (1, C, 1) or (1, C, 1, 1)."""
    opening, closing = "[" * (rank - 2), "]" * (rank - 2)
    entries = [f"{opening}{number}{closing}" for number in numbers]
    room = WIDTH - len(INDENT) - len("mean = [[, …]]")
    shown: list[str] = []
    while len(shown) < len(entries) and len(", ".join([*shown, entries[len(shown)]])) <= room:
        shown.append(entries[len(shown)])
    return f"[[{', '.join(shown)}{', …' if len(shown) < len(entries) else ''}]]"


def _normalize(example: WorkedExample, labels: list[str]) -> list[str]:
    first = (0,) * len(example.shape)
    std = float(np.sqrt(example.var[0]))
    mean, x = format_numbers([example.mean[0], example.x[first]], std * 1e-4)
    invstd = format_numbers(example.invstd, keep_small=True)
    (x_hat,) = format_numbers([example.x_hat[first]])
    place = ", ".join(map(str, first))
    return [
        "Normalize",
        f"{INDENT}invstd = 1 / √(var + eps)",
        f"{INDENT}x_hat = (x − mean) · invstd",
        *_paragraph(
            "Why: every channel now has mean 0 and variance var / (var + eps), just below 1, "
            "whatever its scale was. eps keeps the division possible when all values of a channel "
            "are equal."
        ),
        *table(["", "invstd"], [labels, invstd]),
        *_paragraph(f"x_hat[{place}] = ({x} − {mean}) · {invstd[0]} = {x_hat}"),
        f"{INDENT}x_hat =",
        *blocks(example.x_hat, labels, [1e-4] * len(labels)),
    ]


def _scale_and_shift(example: WorkedExample, labels: list[str]) -> list[str]:
    initial = bool((example.weight == 1).all() and (example.bias == 0).all())
    start = " A new layer starts with weight 1 and bias 0, as here: y = x_hat." if initial else ""
    return [
        "Scale and shift",
        f"{INDENT}y = weight · x_hat + bias          (weight is γ, bias is β)",
        *_paragraph(
            "Why: training learns one weight and one bias per channel, so that the network can "
            "choose each channel's scale and centre itself, and could even undo step 5." + start
        ),
        *table(
            ["", "weight", "bias"],
            [
                labels,
                format_numbers(example.weight, keep_small=True),
                format_numbers(example.bias, keep_small=True),
            ],
        ),
        f"{INDENT}y =",
        *blocks(example.y, labels, _resolutions(np.abs(example.weight))),
    ]


def _check(example: WorkedExample, labels: list[str]) -> list[str]:
    weight = _smallest(np.abs(example.weight))
    largest = float(np.max(np.abs(example.y)))
    # A mean that should be 0 comes out as rounding error, some 1e-17 of the values it is made of.
    y_mean = np.where(np.abs(example.y_mean) < 1e-12 * largest, 0.0, example.y_mean)
    # Squared last: weight² alone may overflow where y, of a constant channel, does not.
    expected = (example.weight * np.sqrt(example.var) * example.invstd) ** 2
    both = format_numbers(np.concatenate([example.y_var, expected]), keep_small=True)
    return [
        "Check the output",
        f"{INDENT}the mean of y is bias; its variance is weight² · var / (var + eps)",
        *_paragraph(
            "Why: this is what steps 5 and 6 promise, computed here once more from y itself."
        ),
        *table(
            ["", "mean of y", "bias", "variance of y", "promised"],
            [
                labels,
                format_numbers(y_mean, weight),
                format_numbers(example.bias, weight),
                both[: len(labels)],
                both[len(labels) :],
            ],
        ),
    ]


def _running_statistics(example: WorkedExample, labels: list[str]) -> list[str]:
    resolution = _smallest(np.sqrt(example.var)) * (example.momentum or 1)
    m = example.values_per_channel
    means = np.concatenate([example.running_mean_before, example.running_mean])
    mean_texts = format_numbers(means, resolution)
    channels = len(labels)
    return [
        "Update the running statistics",
        f"{INDENT}unbiased_var = Σ (x − mean)² / (m − 1) = var · {m}/{m - 1}",
        f"{INDENT}running_mean ← (1 − momentum) · running_mean + momentum · mean",
        f"{INDENT}running_var  ← (1 − momentum) · running_var  + momentum · unbiased_var",
        *_paragraph(
            "Why: they stand in for the statistics of all data, of which a batch is a sample. A "
            "sample lies closer to its own mean than to the true one, so var is too small by the "
            "factor (m − 1)/m on average; dividing by m − 1 makes up for it. momentum is the "
            "weight of the new batch."
        ),
        *table(
            ["running_mean:", "mean", "before", "after"],
            [
                labels,
                format_numbers(example.mean, _smallest(np.sqrt(example.var))),
                mean_texts[:channels],
                mean_texts[channels:],
            ],
        ),
        "",
        *table(
            ["running_var:", "unbiased_var", "before", "after"],
            [
                labels,
                format_numbers(example.unbiased_var, keep_small=True),
                format_numbers(example.running_var_before, keep_small=True),
                format_numbers(example.running_var, keep_small=True),
            ],
        ),
    ]


def _inference(example: WorkedExample, labels: list[str]) -> list[str]:
    slope = np.abs(example.weight) / np.sqrt(example.running_var + example.eps)
    return [
        "Inference: the same batch in eval mode",
        f"{INDENT}{example.inference.formula}",
        *_paragraph(
            "Why: a prediction must not depend on which other examples share its batch, so the "
            "running statistics of step 8 take the place of the batch's. After k batches they "
            "still hold (1 − momentum)^k of what they started from, so y resembles step 6 only "
            "when enough batches have gone by."
        ),
        f"{INDENT}y =",
        *blocks(example.inference.y, labels, _resolutions(slope * np.sqrt(example.var))),
    ]


def _agreement(example: WorkedExample) -> list[str]:
    agreement = example.agreement
    names = list(agreement.max_abs_difference)
    verdict = (
        "They agree: no difference is larger than float64 rounding explains."
        if agreement.agrees
        else "They disagree: a difference is larger than float64 rounding explains."
    )
    return [
        f"Agreement with {agreement.layer}",
        f"{INDENT}largest |difference| from the layer itself, run on this batch in float64",
        *table(
            ["", "largest |difference|", "rounding explains up to"],
            [
                names,
                [f"{agreement.max_abs_difference[name]:.1e}" for name in names],
                [f"{agreement.rounding_bound[name]:.1e}" for name in names],
            ],
        ),
        *_paragraph(verdict),
    ]


def _resolutions(scales: Array) -> list[float]:
    """Return 1/10000 of each channel's scale, 0 (no wish) for a channel without one."""
    return [float(scale) * 1e-4 for scale in scales]


def _smallest(scales: Array) -> float:
    """Return 1/10000 of the smallest scale above 0, or 0."""
    positive = scales[scales > 0]
    return float(positive.min()) * 1e-4 if len(positive) else 0.0
