"""Statistics layer by layer: each pass ends at its layer, those before it are right already."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from torch import Tensor, nn

from bnkit.rewrite.statistics.batch_source import BatchSource
from bnkit.rewrite.statistics.channel_moments import Moments, merge
from bnkit.rewrite.statistics.layer_statistics import as_stored
from bnkit.rewrite.statistics.pass_progress import PassProgress
from bnkit.rewrite.statistics.rank_exchange import on_all_ranks
from bnkit.rewrite.statistics.statistics_pass import (
    Layers,
    StatisticsPass,
    Stop,
    refuse_nonfinite,
    watched_inputs,
)


@dataclass
class Found:
    """What the passes found.

    Attributes:
        moments: path → what the layer received, in the order of the passes.
        batches, samples: of one pass, over all ranks.
        passes: how many passes there were.
    """

    moments: dict[str, Moments] = field(default_factory=dict)
    batches: int = 0
    samples: int = 0
    passes: int = 0


@dataclass
class _OnePass:
    """What one pass on one rank found: of the target, and layers nobody had known of."""

    moments: Moments | None
    before: list[str]
    after: list[str]
    batches: int
    samples: int


class SequentialPasses:
    """Goes through the layers in execution order, all of the model in eval mode.

    A layer that runs k times in a forward takes k passes: in each it normalizes by the statistics
    of one call more. A layer that runs only in later batches is taken in when it is met.

    Args:
        model: the model, without wrappers.
        layers: path → layer.
        source: the data, which can be passed over repeatedly.
        progress: is told of passes and batches.
    """

    def __init__(
        self, model: nn.Module, layers: Layers, source: BatchSource, progress: PassProgress
    ) -> None:
        self._model, self._layers = model, layers
        self._source, self._progress = source, progress
        self._target, self._last_call = "", 0
        self._pass = self._new_pass()
        self._calls: dict[str, int] = {}
        self._known: dict[str, int] = {}
        self._before: list[str] = []
        self._after: list[str] = []
        self._found = Found()

    def run(self) -> Found:
        """Make all passes on a prepared model, whose layers then hold the new statistics.

        Raises:
            RewriteError, ForwardError: as of `StatisticsPass.run`.
        """
        with watched_inputs(self._layers, self._see):
            for calls in on_all_ranks(self._first_order):
                for path, count in calls.items():
                    self._known[path] = max(count, self._known.get(path, 0))
            self._announce()
            pending = list(self._known)
            while pending:
                pending = self._take(pending)
        return self._found

    def _announce(self) -> None:
        passes, length = sum(self._known.values()), self._source.length
        text = f"{len(self._known)} layers, {passes} passes over the data, each up to its layer"
        self._progress.announce(text)
        self._progress.start("", None if length is None else passes * length)

    def _first_order(self) -> dict[str, int]:
        """Return path → calls of the layers that run in the first batch, in order."""
        self._target = ""
        for batch in self._source:
            self._calls = {}
            self._pass.put_through(batch)
            return dict(self._calls)
        return {}

    def _take(self, pending: list[str]) -> list[str]:
        """Find the statistics of the first of the pending layers; return who is pending then."""
        target, calls = pending[0], self._known[pending[0]]
        after: list[str] = []
        for call in range(1, calls + 1):
            self._progress.name(f"layer {len(self._found.moments) + 1}, {target}")
            # The last of a layer that runs repeatedly sees calls that the first batch did not have;
            # the last of all sees layers behind it that the first batch did not reach.
            is_whole = call == calls and (calls > 1 or len(pending) == 1)
            found = self._pass_over(target, 0 if is_whole else call)
            before = _distinct(path for one in found for path in one.before)
            after += _distinct(path for one in found for path in one.after)
            if before:
                self._known |= dict.fromkeys(before, 1)
                return [*before, *pending]
            parts = [one.moments for one in found if one.moments is not None]
            if parts:
                self._found.moments[target] = merge(parts)
                self._store(target)
        after = _distinct(after)
        self._known |= dict.fromkeys(after, 1)
        return [*pending[1:], *after]

    def _pass_over(self, target: str, last_call: int) -> list[_OnePass]:
        found = on_all_ranks(lambda: self._one_pass(target, last_call))
        self._found.passes += 1
        self._found.batches = sum(one.batches for one in found)
        self._found.samples = sum(one.samples for one in found)
        return found

    def _one_pass(self, target: str, last_call: int) -> _OnePass:
        self._pass = self._new_pass()
        self._target, self._last_call = target, last_call
        self._before, self._after = [], []
        for batch in self._source:
            self._calls = {}
            self._pass.put_through(batch)
            if target in self._calls:
                refuse_nonfinite(target, self._pass.moments[target], self._pass.batches)
            self._progress.advance()
        moments = self._pass.moments.get(target)
        return _OnePass(
            None if moments is None else moments.cpu(),
            _distinct(self._before),
            _distinct(self._after),
            self._pass.batches,
            self._pass.samples,
        )

    def _see(self, path: str, x: Tensor) -> None:
        if not x.numel() or x.dim() < 2:
            return
        self._calls[path] = self._calls.get(path, 0) + 1
        if not self._target:  # the first order is being looked for
            return
        if path not in self._known:
            (self._after if self._target in self._calls else self._before).append(path)
        if path != self._target:
            return
        if self._last_call and self._calls[path] > self._last_call:
            raise Stop  # the user's code went on after the stop
        self._pass.add(path, x)
        if self._calls[path] == self._last_call:
            raise Stop

    def _store(self, path: str) -> None:
        """Let a layer normalize by what was found; `prepared` puts its own statistics back."""
        layer = self._layers[path]
        for name, value in as_stored(path, layer, self._found.moments[path]).items():
            layer._buffers[name].copy_(value)  # type: ignore[union-attr]

    def _new_pass(self) -> StatisticsPass:
        return StatisticsPass(self._model, self._layers, self._source, self._progress)


def _distinct(paths: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(paths))
