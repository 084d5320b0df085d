"""Whether a model gives, after a change, what it gave before."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import nn

from bnkit.errors import RewriteError
from bnkit.inspection.trace import Example
from bnkit.rewrite.acceleration.layer_check import deviation, largest_finite
from bnkit.rewrite.called_layers import calls_noted
from bnkit.rewrite.network_run import NetworkRun, run_network
from bnkit.rewrite.output_difference import largest_difference, relative_difference
from bnkit.rewrite.result import Rewrite, Skipped

# An output may differ by so many units in the last place of its largest value, or by so many times
# what moving the changed layers' inputs by some rounding units changes it.
_UNITS, _TIMES_NUDGED, _NUDGED_RUNS = 64, 8, 4
_MODES = {"eval": False, "training": True}


class OutputCheck:
    """The outputs of a model on an example before it is changed.

    Args:
        model: as given; left as it is.
        example: what its forward takes; None if nothing can be compared.
        modes: "eval" and "training", or one of them.

    Attributes:
        skipped: what cannot be compared, with the reason.

    Cost: a forward for each mode.
    """

    def __init__(
        self, model: nn.Module, example: Example | None, modes: Sequence[str] = tuple(_MODES)
    ) -> None:
        self.skipped: list[Skipped] = []
        self._model = model
        self._example = example
        self._before: dict[str, NetworkRun] = {}
        if example is None:
            self.skipped.append(Skipped("", "outputs were not compared: give example_args"))
            return
        for mode in modes:
            try:
                self._before[mode] = self._run(model, _MODES[mode])
            except Exception as error:
                line = str(error).partition("\n")[0].rstrip(".")
                reason = f"outputs not compared in {mode} mode, where the model raised: {line}"
                self.skipped.append(Skipped("", reason))

    def excess(self, model: nn.Module, layers: Sequence[nn.Module], *, in_training: bool) -> str:
        """Return what differs by more than rounding explains, as a clause; empty if nothing does.

        Args:
            model: as changed.
            layers: whose arithmetic changed.
            in_training: whether training mode has to agree too.

        Cost: a forward for each mode, and up to four more where rounding is amplified.
        """
        for mode, before in self._before.items():
            if mode == "training" and not in_training:
                continue
            try:
                clause = self._excess(model, layers, mode, before)
            except Exception as error:
                clause = f"the model then raises {type(error).__name__} in {mode} mode: {error}"
            if clause:
                return clause
        return ""

    def _excess(
        self, model: nn.Module, layers: Sequence[nn.Module], mode: str, before: NetworkRun
    ) -> str:
        after = self._run(model, _MODES[mode])
        found = _deviations(before, after)
        allowed = [_floor(before, number) for number in range(len(found))]
        for seed in range(_NUDGED_RUNS):
            if len(found) == len(allowed) and _is_within(found, allowed):
                return ""
            nudged = self._run(model, _MODES[mode], layers, seed)
            moved = _deviations(after, nudged)
            allowed = [
                max(old, _TIMES_NUDGED * new) for old, new in zip(allowed, moved, strict=False)
            ]
        if _is_within(found, allowed):
            return ""
        return f"an output in {mode} mode then differs by {max(found):.3g}, more than by rounding"

    def difference(self, model: nn.Module) -> float | None:
        """Return the largest difference of the outputs in eval mode; None if not measured."""
        before = self._before.get("eval")
        if before is None:
            return None
        return largest_difference(before.outputs, self._run(model, False).outputs)

    def measure(self, rewrite: Rewrite) -> None:
        """Fill in a rewrite's differences of the outputs in eval mode, if they can be measured.

        Cost: a forward.

        Raises:
            RewriteError: the changed model returns tensors of other shapes, or raises; a copy runs
                layers of the given model, which the rewrite did not change.
        """
        before = self._before.get("eval")
        if before is None:
            return
        others = {} if rewrite.model is self._model else _modules_beside(self._model, rewrite.model)
        try:
            with calls_noted(others) as ran:
                after = self._run(rewrite.model, False)
        except Exception as error:
            raise RewriteError(
                f"after {rewrite.name} the network raised {type(error).__name__}: {error}",
                required="one forward in eval mode must run on the example",
            ) from error
        if ran and rewrite.changes:
            raise RewriteError(
                "the copy that was changed runs the given model's layer, which was not",
                required="a copy must hold all that its forward runs; closures are not copied",
                remedy="Give inplace=True, or keep the layer as an attribute and not in a closure",
                where=min(ran) or "(model)",
            )
        rewrite.difference = largest_difference(before.outputs, after.outputs)
        rewrite.relative_difference = relative_difference(before.outputs, after.outputs)

    def _run(
        self, model: nn.Module, training: bool, nudged: Sequence[nn.Module] = (), seed: int = 0
    ) -> NetworkRun:
        assert self._example is not None
        return run_network(
            model,
            self._example,
            training=training,
            with_gradients=False,
            nudged=nudged,
            seed=seed,
        )


def _modules_beside(model: nn.Module, other: nn.Module) -> dict[nn.Module, str]:
    """Return module → path for those of a model that another does not hold."""
    held = set(other.modules())
    return {module: path for path, module in model.named_modules() if module not in held}


def _deviations(one: NetworkRun, other: NetworkRun) -> list[float]:
    if len(one.outputs) != len(other.outputs):
        return [math.inf]
    pairs = zip(one.outputs, other.outputs, strict=True)
    return [math.inf if a.dtype != b.dtype else deviation(a, b) for a, b in pairs]


def _floor(run: NetworkRun, number: int) -> float:
    value = run.outputs[number] if number < len(run.outputs) else None
    if value is None or not value.is_floating_point():
        return 0.0
    return _UNITS * torch.finfo(value.dtype).eps * largest_finite(value)


def _is_within(found: Sequence[float], allowed: Sequence[float]) -> bool:
    return all(value <= limit for value, limit in zip(found, allowed, strict=False))
