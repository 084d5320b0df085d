"""Passes over data that see what each batch norm receives: one for all, or one for each layer."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, distributed, nn

from bnkit.errors import BnkitError, ForwardError, RewriteError
from bnkit.inspection.call_order import in_call_order
from bnkit.inspection.preserve import preserve
from bnkit.inspection.trace import uncompiled
from bnkit.rewrite.statistics.batch_source import BatchSource
from bnkit.rewrite.statistics.channel_moments import Moments, moments_of
from bnkit.rewrite.statistics.pass_progress import PassProgress

Layers = Mapping[str, nn.Module]
# Called with the path of a layer and its input, before the layer runs.
See = Callable[[str, Tensor], None]
_WRAPPERS = ("DataParallel", "DistributedDataParallel")


class Stop(BaseException):
    """Ends a forward from within a layer. No Exception, which the user's code may catch."""


def without_wrappers(model: nn.Module) -> nn.Module:
    """Return the module within DataParallel and DistributedDataParallel.

    The one runs copies of the layers, the other communicates in each forward: ranks that have
    different numbers of batches would wait for each other.
    """
    while type(model).__name__ in _WRAPPERS:
        model = model.module  # type: ignore[assignment]
    return model


class StatisticsPass:
    """Puts batches through a model and adds up what its layers receive.

    Args:
        model: the model, without wrappers.
        layers: path → layer, of those that are seen.
        source: the data.
        progress: is told of each batch.

    Attributes:
        moments: path → what the layer received, in the order in which they first ran.
        batches, samples: how many there were.
    """

    def __init__(
        self, model: nn.Module, layers: Layers, source: BatchSource, progress: PassProgress
    ) -> None:
        self.moments: dict[str, Moments] = {}
        self.batches = self.samples = 0
        self._model, self._layers = model, layers
        self._source, self._progress = source, progress
        self._seen: list[str] = []
        self._refusal: RewriteError | None = None

    def run(self, batches: Iterable[Any]) -> None:
        """Pass over batches with the layers normalizing by the batch; the model is prepared.

        Raises:
            RewriteError: a layer received a single value per channel, NaN or infinity.
            ForwardError: the forward raised.
        """
        with normalizing_by_batch(self._layers), watched_inputs(self._layers, self._see):
            for batch in batches:
                self.put_through(batch)
                self._refuse_nonfinite()
                self._progress.advance()

    def put_through(self, batch: Any) -> None:
        """Run one batch; what the forward raises names the layer and the batch."""
        self.batches += 1
        self.samples += self._source.samples(batch)
        self._seen.clear()
        try:
            self._source.run(self._model, batch)
        except Stop:
            pass
        except Exception as error:
            if self._refusal is None:
                raise self._failed(error) from error
        if self._refusal is not None:
            raise self._refusal

    def add(self, path: str, x: Tensor) -> None:
        """Add up what a layer received."""
        found, former = moments_of(x), self.moments.get(path)
        self.moments[path] = found if former is None else former.merged(found)

    def _see(self, path: str, x: Tensor) -> None:
        if x.dim() < 2 or not x.numel():  # the layer says what is wrong with it
            return
        if x.numel() == x.shape[1]:
            self._refusal = RewriteError(
                f"received one value per channel in batch {self.batches} of data, of shape "
                f"{tuple(x.shape)}",
                required="it normalizes by the batch in the pass, which takes two at least",
                remedy="Give larger batches, drop_last=True, or sequential=True, where no layer "
                "normalizes by the batch",
                where=path or "(model)",
            )
            raise Stop
        self.add(path, x)
        self._seen.append(path)

    def _refuse_nonfinite(self) -> None:
        for path in self._seen:
            refuse_nonfinite(path, self.moments[path], self.batches)

    def _failed(self, error: Exception) -> BnkitError:
        line = str(error).strip().split("\n", 1)[0]
        return ForwardError(
            f"forward raised {type(error).__name__} on batch {self.batches} of data: {line}",
            required="the model must run on every batch",
            remedy="Give batches as its forward takes them, inputs first, or forward_fn",
            where=_failing_path(self._model, error) or "(model)",
        )


def refuse_nonfinite(path: str, moments: Moments, batch: int) -> None:
    """Raise if NaN or infinity is among what a layer has received."""
    if not moments.are_finite:
        raise RewriteError(
            f"received NaN or infinite values in batch {batch} of data",
            required="statistics are those of finite numbers",
            remedy="Look for what makes them: the data, or weights that have diverged",
            where=path or "(model)",
        )


@contextmanager
def prepared(model: nn.Module) -> Iterator[None]:
    """Put a model into eval mode, and put everything back afterwards."""
    with preserve(model), torch.no_grad(), uncompiled():
        try:
            model.eval()
        except NotImplementedError as error:
            raise RewriteError(
                f"is a {type(model).__name__} whose mode cannot be changed: {error}",
                remedy="Recalibrate the model before it is exported",
                where="(model)",
            ) from error
        yield


@contextmanager
def normalizing_by_batch(layers: Layers) -> Iterator[None]:
    """Let layers normalize by the batch without moving their statistics."""
    chosen = list({id(layer): layer for layer in layers.values()}.values())
    # Its own mode alone: what is within a layer, such as a dropout, stays in eval mode. What is not
    # tracked torch's and bnkit's layers neither read nor move, in training mode.
    # A noisy layer adds its noise in training mode only, and statistics are those of eval mode.
    values = {"training": True, "track_running_stats": False, "adds_noise": False}
    former = [(layer, {n: vars(layer)[n] for n in values if n in vars(layer)}) for layer in chosen]
    for layer in chosen:
        vars(layer).update(values)
    try:
        yield
    finally:
        for layer, held in former:
            for name in values:
                del vars(layer)[name]
            vars(layer).update(held)


@contextmanager
def watched_inputs(layers: Layers, see: See) -> Iterator[None]:
    """Call a function with what each layer receives.

    The layers' own `forward` is wrapped, and no hook registered: it is also run where it is called
    past `__call__`, and after every hook of the user's that replaces the input.
    """
    own = {path: vars(layer).get("forward") for path, layer in layers.items()}
    for path, layer in layers.items():
        vars(layer)["forward"] = _watched(path, layer, see)
    try:
        yield
    finally:
        for path, layer in layers.items():
            if own[path] is None:
                del vars(layer)["forward"]
            else:
                vars(layer)["forward"] = own[path]


def _watched(path: str, layer: nn.Module, see: See) -> Callable[..., Any]:
    former = _without_communication(layer)

    def forward(*args: Any, **kwargs: Any) -> Any:
        x = next(iter([*args, *in_call_order(former, kwargs).values()]), None)
        if isinstance(x, Tensor):
            see(path, x)
        return former(*args, **kwargs)

    return forward


def _without_communication(layer: nn.Module) -> Callable[..., Any]:
    """Return the forward of a layer; of a synchronised one in a group, that of a plain one.

    Ranks need not have the same number of batches, and gloo's SyncBatchNorm does not run at all.
    """
    is_plain = type(layer).forward is not nn.SyncBatchNorm.forward
    is_alone = not (distributed.is_available() and distributed.is_initialized())
    if is_plain or is_alone or not isinstance(layer, nn.SyncBatchNorm):
        return layer.forward

    def normalize(input: Tensor) -> Tensor:
        uses_batch = layer.training
        mean, var = (None, None) if uses_batch else (layer.running_mean, layer.running_var)
        weight, bias = layer.weight, layer.bias
        return nn.functional.batch_norm(input, mean, var, weight, bias, uses_batch, 0.0, layer.eps)

    return normalize


def _failing_path(model: nn.Module, error: BaseException) -> str:
    """Return the path of the innermost module that was running when an error was raised."""
    paths = {id(module): path for path, module in model.named_modules()}
    found, step = "", error.__traceback__
    while step is not None:
        path = paths.get(id(step.tb_frame.f_locals.get("self")))
        found = found if path is None else path
        step = step.tb_next
    return found
