"""What `recalibrate` and `adapt` share: the pass, the new statistics, and the account."""

from __future__ import annotations

from collections.abc import Callable
from itertools import chain
from typing import Any

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from bnkit.errors import RewriteError
from bnkit.inspection.preserve import kept_random_state
from bnkit.rewrite.acceleration.layer_check import deviation, largest_finite
from bnkit.rewrite.edits import Edits, rewriting
from bnkit.rewrite.inference_tensors import refuse_inference_tensors
from bnkit.rewrite.output_difference import largest_difference
from bnkit.rewrite.result import Skipped
from bnkit.rewrite.statistics.batch_source import BatchSource
from bnkit.rewrite.statistics.channel_moments import merge
from bnkit.rewrite.statistics.layer_statistics import (
    Recalibration,
    as_stored,
    layers_to_estimate,
    shift_of,
)
from bnkit.rewrite.statistics.pass_progress import PassProgress
from bnkit.rewrite.statistics.rank_exchange import on_all_ranks
from bnkit.rewrite.statistics.sequential_passes import Found, SequentialPasses
from bnkit.rewrite.statistics.statistics_pass import StatisticsPass, prepared, without_wrappers

# From how many samples the target data have → the weight of their statistics.
Weight = Callable[[int], float]
_Stored = dict[str, dict[str, Tensor]]


def estimate(
    name: str,
    model: nn.Module,
    source: BatchSource,
    *,
    layers: Any,
    inplace: bool,
    sequential: bool,
    progress: PassProgress,
    weight_of: Weight | None = None,
) -> Recalibration:
    """Estimate statistics anew, on a model or a copy of it.

    Args:
        name: of the rewrite.
        model, source, layers, inplace, sequential: see `recalibrate`.
        progress: is told of batches.
        weight_of: see above; None: the new statistics take the place of the old, and count
            batches.
    """
    to_write, _ = layers_to_estimate(model, layers)
    if inplace:
        held = {f"{path}.{key}": b for path, m in to_write.items() for key, b in m._buffers.items()}
        refuse_inference_tensors(
            ((name.lstrip("."), b) for name, b in held.items() if b is not None),
            f"{name.capitalize()} a copy, with inplace=False",
        )
    with (
        rewriting(name, model, inplace=inplace, kind=Recalibration) as edits,
        kept_random_state(),
        progress.opened(),
    ):
        taken, left = layers_to_estimate(edits.model, layers)
        for path, reason in left.items():
            edits.skipped(path, reason)
        if taken:
            found, stored = _measured(edits, taken, source, progress, sequential, weight_of)
            _write(edits, taken, found, stored, weight_of)
    assert isinstance(edits.rewrite, Recalibration)
    return edits.rewrite


def _measured(
    edits: Edits,
    layers: dict[str, _BatchNorm],
    source: BatchSource,
    progress: PassProgress,
    sequential: bool,
    weight_of: Weight | None,
) -> tuple[Found, _Stored]:
    """Return what the layers received and will store, and fill in how far that moves outputs.

    The model is left as it was.
    """
    model = without_wrappers(edits.model)
    comparison = _Comparison(model, source)
    own = [
        (layer, name, buffer, buffer.clone())
        for layer in layers.values()
        for name, buffer in layer._buffers.items()
        if buffer is not None
    ]
    # Prepared once for all: putting a small model back takes as long as a forward of it.
    with prepared(model):
        measure = _sequential if sequential else _at_once
        found = measure(comparison, layers, source, progress)
        _refuse_empty(found, edits)
        weight = 1.0 if weight_of is None else weight_of(found.samples)
        # A subclass with a forward of its own may have moved them, or put others in their place.
        for layer, name, buffer, value in own:
            layer._buffers[name] = buffer.copy_(value)
        # All are looked at before the first is changed.
        stored = {
            path: as_stored(path, layers[path], moments, weight)
            for path, moments in found.moments.items()
        }
        for path, values in stored.items():
            for name, value in values.items():
                layers[path]._buffers[name].copy_(value)  # type: ignore[union-attr]
        comparison.fill(edits)
    return found, stored


class _Comparison:
    """Outputs on the first samples of the first batch, before and after, of a prepared model."""

    def __init__(self, model: nn.Module, source: BatchSource) -> None:
        self.model, self._source = model, source
        self._sample: Any = None
        self._before: list[Tensor] | str = "outputs not compared: this rank has no data"

    def begin(self, first: Any) -> None:
        """Run the model as it is."""
        self._sample = self._source.beginning(first)
        self._before = self._source.outputs(self.model, self._sample)
        if isinstance(self._before, str) and self._sample is not first:
            self._sample = first
            self._before = self._source.outputs(self.model, first)

    def fill(self, edits: Edits) -> None:
        """Run the model with what it will store, and fill in how far its outputs moved."""
        before: list[Tensor] | str = self._before
        after: list[Tensor] | str = []
        if not isinstance(before, str):
            after = self._source.outputs(self.model, self._sample)
        for failure in (before, after):
            if isinstance(failure, str):
                edits.rewrite.skipped.append(Skipped("", failure))
                return
        edits.rewrite.difference = largest_difference(before, after)  # type: ignore[arg-type]
        pairs = zip(before, after, strict=True)
        relative = [deviation(a, b) / (largest_finite(a) or 1.0) for a, b in pairs]  # type: ignore[arg-type]
        edits.rewrite.relative_difference = max(relative) if relative else None


def _at_once(
    comparison: _Comparison,
    layers: dict[str, _BatchNorm],
    source: BatchSource,
    progress: PassProgress,
) -> Found:
    def one_pass() -> Found:
        passed = StatisticsPass(comparison.model, layers, source, progress)
        batches = iter(source)
        for first in batches:
            comparison.begin(first)
            passed.run(chain([first], batches))
            break
        moments = {path: part.cpu() for path, part in passed.moments.items()}
        return Found(moments, passed.batches, passed.samples, 1)

    progress.start("passing over the data", source.length)
    parts = on_all_ranks(one_pass)
    paths = dict.fromkeys(path for part in parts for path in part.moments)
    return Found(
        {path: merge([p.moments[path] for p in parts if path in p.moments]) for path in paths},
        sum(part.batches for part in parts),
        sum(part.samples for part in parts),
        1,
    )


def _sequential(
    comparison: _Comparison,
    layers: dict[str, _BatchNorm],
    source: BatchSource,
    progress: PassProgress,
) -> Found:
    def begin() -> None:
        for first in source:
            comparison.begin(first)
            break

    on_all_ranks(begin)
    return SequentialPasses(comparison.model, layers, source, progress).run()


def _refuse_empty(found: Found, edits: Edits) -> None:
    if not found.batches and not found.moments:
        raise RewriteError(
            "data holds no batch",
            required="at least one",
            remedy="A generator that was used before is empty: make a new one",
        )
    if not found.moments:
        raise RewriteError(
            f"none of the batch norms ran in {found.batches} batches of data",
            required="the forward must run those of the model that is recalibrated",
            remedy="forward_fn(model, batch) has to run the model that it is given"
            if not edits.rewrite.skipped
            else "Choose layers that run",
        )


def _write(
    edits: Edits,
    layers: dict[str, _BatchNorm],
    found: Found,
    stored: _Stored,
    weight_of: Weight | None,
) -> None:
    assert isinstance(edits.rewrite, Recalibration)
    for path, values in stored.items():
        layer, moments = layers[path], found.moments[path]
        shift = shift_of(path, layer, moments)
        edits.rewrite.shifts.append(shift)
        for name, value in values.items():
            edits.set_buffer(layer, name, value)
        # Within `frozen_statistics` the attribute is a copy.
        counter = layer._buffers.get("num_batches_tracked")
        if weight_of is None and counter is not None:
            edits.set_values(counter, counter.new_tensor(moments.calls))
        taken = "" if weight_of is None else f"; {weight_of(found.samples):.3g} of that taken"
        edits.changed(path, f"{shift}{taken}")
    for path in layers:
        if path not in stored:
            edits.skipped(path, "it did not run, and keeps its statistics")
    if found.passes > 1:
        edits.rewrite.notes.append(
            f"{found.passes} passes over {found.batches} batches, each up to its layer"
        )
