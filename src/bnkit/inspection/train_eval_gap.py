"""Train mode against eval mode on the same batches: what each layer and the output differ by."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from bnkit.inspection.batches import Batch
from bnkit.inspection.facts.data import LayerGap, TrainEvalGap
from bnkit.inspection.nested_tensors import tensors_in

# Enough to know a gap of half the norm by; each batch costs two forwards.
_SAMPLES = 1024


@dataclass
class _Norms:
    """Σ (y_train − y_eval)² and Σ y_eval² of what has been seen."""

    difference: float = 0.0
    reference: float = 0.0

    def add(self, difference: float, reference: float) -> None:
        self.difference += difference
        self.reference += reference

    @property
    def relative(self) -> float:
        if self.difference == 0:
            return 0.0
        return (self.difference / self.reference) ** 0.5 if self.reference else float("inf")


class GapMeasurement:
    """Runs each batch twice, batch norms in training and in eval mode, everything else in eval.

    Both runs draw the same random numbers.

    Attributes:
        error: why there is no result, as a clause; empty if there is one.
    """

    def __init__(self) -> None:
        self.error = ""
        self._samples = 0
        self._output = _Norms()
        self._layers: dict[str, _Norms] = {}
        self._own: dict[str, _Norms] = {}
        self._losses: list[tuple[float, float, int]] | None = []

    def measure(self, model: nn.Module, batch: Batch) -> None:
        """Run the model on a batch in both modes and add what they differ by.

        Cost: two forwards; the outputs of all batch norms are kept from one to the other.
        """
        if self.error or self._samples >= _SAMPLES:
            return
        kept: dict[str, list[Tensor]] = {}
        with torch.random.fork_rng(devices=[]), self._keeping(model, kept):
            trained = _floats(model(*batch.args, **batch.kwargs), copied=True)
        try:
            with _all_in_eval(model), self._comparing(model, kept):
                evaluated = _floats(model(*batch.args, **batch.kwargs))
        except Exception as error:
            self.error = f"forward raised {type(error).__name__} in eval mode"
            return
        if [t.shape for t in trained] != [t.shape for t in evaluated] or not trained:
            self.error = "what the model returns has other shapes in eval mode, or is no floats"
            return
        for one, other in zip(trained, evaluated, strict=True):
            self._output.add(*_squares(one, other))
        self._samples += batch.size
        self._add_loss(trained, evaluated, batch)

    def result(self) -> TrainEvalGap | None:
        """Return the gap; None if it could not be measured."""
        if self.error or not self._samples:
            return None
        losses = self._losses or []
        count = sum(size for *_, size in losses)
        return TrainEvalGap(
            self._samples,
            tuple(
                LayerGap(path, norms.relative, self._own[path].relative)
                for path, norms in self._layers.items()
            ),
            self._output.relative,
            *(
                sum(loss[mode] * loss[2] for loss in losses) / count if count else None
                for mode in (0, 1)
            ),
        )

    @contextmanager
    def _keeping(self, model: nn.Module, kept: dict[str, list[Tensor]]) -> Iterator[None]:
        """Keep what each batch norm returns, and add what it does by itself."""

        def before(path: str, layer: _BatchNorm, x: Tensor) -> None:
            self._layers.setdefault(path, _Norms())
            self._own.setdefault(path, _Norms()).add(*_own_squares(layer, x))

        def after(path: str, y: Tensor) -> None:
            kept.setdefault(path, []).append(y.detach().clone())

        with _hooked(model, before, after):
            yield

    @contextmanager
    def _comparing(self, model: nn.Module, kept: dict[str, list[Tensor]]) -> Iterator[None]:
        """Add what each batch norm's output differs by from the one that was kept."""

        def after(path: str, y: Tensor) -> None:
            earlier = kept.get(path)
            if earlier and earlier[0].shape == y.shape:
                self._layers[path].add(*_squares(earlier.pop(0), y.detach()))

        with _hooked(model, lambda *_: None, after):
            yield

    def _add_loss(self, trained: list[Tensor], evaluated: list[Tensor], batch: Batch) -> None:
        pair = [_cross_entropy(outputs, batch.labels) for outputs in (trained, evaluated)]
        if self._losses is None or pair[0] is None or pair[1] is None:
            self._losses = None
        else:
            self._losses.append((pair[0], pair[1], batch.size))


@contextmanager
def _hooked(
    model: nn.Module,
    before: Callable[[str, _BatchNorm, Tensor], None],
    after: Callable[[str, Tensor], None],
) -> Iterator[None]:
    """Call a function with the input of each batch norm, and one with its output."""
    handles = []

    def watch(path: str, layer: _BatchNorm) -> None:
        # Before it runs, because it may write its output over its input.
        def enter(_: nn.Module, args: tuple[Any, ...]) -> None:
            if args and isinstance(args[0], Tensor) and args[0].numel():
                before(path, layer, args[0].detach())

        def leave(_: nn.Module, __: Any, output: Any) -> None:
            if isinstance(output, Tensor):
                after(path, output)

        handles.append(layer.register_forward_pre_hook(enter))
        handles.append(layer.register_forward_hook(leave))

    for path, module in model.named_modules():
        if isinstance(module, _BatchNorm):
            watch(path, module)
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def _all_in_eval(model: nn.Module) -> Iterator[None]:
    training = [module for module in model.modules() if module.training]
    for module in training:
        module.training = False
    try:
        yield
    finally:
        for module in training:
            module.training = True


def _floats(output: Any, *, copied: bool = False) -> list[Tensor]:
    found = [tensor.detach() for tensor in tensors_in(output) if tensor.is_floating_point()]
    return [tensor.clone() for tensor in found] if copied else found


def _squares(trained: Tensor, evaluated: Tensor) -> tuple[float, float]:
    difference = torch.linalg.vector_norm(trained - evaluated, dtype=torch.float64)
    reference = torch.linalg.vector_norm(evaluated, dtype=torch.float64)
    return float(difference) ** 2, float(reference) ** 2


def _own_squares(layer: _BatchNorm, x: Tensor) -> tuple[float, float]:
    """Return Σ (y_train − y_eval)² and Σ y_eval² of a layer for one input.

    Both outputs are affine in x, so that mean and variance of x give the sums.
    """
    stored_mean, stored_var = layer.running_mean, layer.running_var
    if not layer.training or stored_mean is None or stored_var is None or x.dim() < 2:
        return 0.0, 0.0
    var, mean = torch.var_mean(x.transpose(0, 1).flatten(1).double(), 1, correction=0)
    ones = torch.ones_like(mean)
    gamma = ones if layer.weight is None else layer.weight.double()
    beta = ones * 0 if layer.bias is None else layer.bias.double()
    by_batch = (var + layer.eps).rsqrt()
    by_stored = (stored_var.double() + layer.eps).rsqrt()
    shift = gamma * (mean - stored_mean.double()) * by_stored
    difference = shift.square() + gamma.square() * var * (by_batch - by_stored).square()
    evaluated = (shift + beta).square() + gamma.square() * var * by_stored.square()
    m = x.numel() / len(mean)
    return float(difference.sum()) * m, float(evaluated.sum()) * m


def _cross_entropy(outputs: list[Tensor], labels: Any) -> float | None:
    """Return the mean cross-entropy of the first output that class labels fit, if any."""
    if not isinstance(labels, Tensor) or labels.is_floating_point() or labels.numel() == 0:
        return None
    labels = labels.long()
    for logits in outputs:
        fits = logits.dim() > 1 and (logits.shape[0], *logits.shape[2:]) == labels.shape
        if fits and logits.shape[1] > max(1, int(labels.max())) and int(labels.min()) >= 0:
            return float(nn.functional.cross_entropy(logits.float(), labels.to(logits.device)))
    return None
