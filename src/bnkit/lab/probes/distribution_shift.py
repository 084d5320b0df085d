"""How far a step moves the distribution of what layers receive."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from bnkit.lab.probes.channels import channel_axis, channels_second, check_channel_axis
from bnkit.lab.probes.moment import Moment
from bnkit.lab.probes.places import Place, watched
from bnkit.lab.probes.probe import Cost, Measured, Probe
from bnkit.lab.probes.step_start import RandomState

# Of each layer: the values of each of its calls, (C, m).
_Values = dict[str, list[NDArray[Any]]]
_KEYS = ("mean", "std", "wasserstein")
_AS_TRAINED, _EQUAL_DRAWS = "distribution shift", "distribution shift at equal draws"


class DistributionShift(Probe):
    """The shift of a layer's input from step t to t + 1: the same batch at w_t and at w_{t+1}.

    Both times in training mode, on the step's batches, with the random draws that the step had.
    Three series per layer, each a mean over the channels, in units of the channel's standard
    deviation at t (divided by m): "mean", |Δ mean|; "std", |Δ std|; "wasserstein", the
    1-Wasserstein distance between the values at t and at t + 1, Σ|x₍ᵢ₎ − x′₍ᵢ₎|/m over the values
    in order of size.

    "distribution shift" has the arm's noise in it: at t + 1 layers with noise of their own (those
    with an attribute `adds_noise`, as `NoisyBatchNorm`) draw anew, as they do from step to step;
    all other draws, such as a dropout's, stay those of step t. "distribution shift at equal draws"
    keeps the noise of step t too, so only the weights have changed; without noise it is the same.

    A channel that is constant at t has no unit and is left out; where all are, and where there are
    NaN activations, the shift is NaN.

    Options:
        channel_axis: where the channels lie; default the last axis for linear, embedding, recurrent
            and attention layers and layer norm, the second for all else.

    Source: studies.md, Definitions of the probes.
    """

    kind = "distribution-shift"
    needs = frozenset({"update"})

    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        check_channel_axis(self.options["channel_axis"])

    def cost(self) -> Cost:
        """Two forwards; three where there is noise."""
        return Cost(
            forwards=2, copies=1, note="one forward more with noise; inputs of the layers are kept"
        )

    def measure(self, moment: Moment) -> Iterator[Measured]:
        """Yield each layer's shift, as trained and at equal draws."""
        assert moment.step is not None
        with moment.step.before_update():
            before = self._inputs(moment)
        after = self._inputs(moment)
        shifts = _shifts(before, after)
        noise = [module for module in moment.network.modules() if _is_noisy(module)]
        as_trained = shifts
        if noise:
            del after
            with noise_drawn_anew(noise):
                as_trained = _shifts(before, self._inputs(moment))
        for path in before:
            for metric, found in ((_AS_TRAINED, as_trained), (_EQUAL_DRAWS, shifts)):
                for key, value in zip(_KEYS, found[path], strict=True):
                    yield Measured(metric, value, path, key)

    def _inputs(self, moment: Moment) -> _Values:
        assert moment.step is not None
        found: _Values = {}

        def see(place: Place, tensor: Tensor) -> None:
            if not tensor.is_floating_point():  # indices, as an embedding takes
                return
            axis = self.options["channel_axis"]
            if axis is None:
                axis = channel_axis(moment.network.get_submodule(place.path))
            values = channels_second(tensor.detach(), axis, place.path).transpose(0, 1).flatten(1)
            wide = values if values.dtype.itemsize >= 4 else values.float()
            # A copy: what follows may work in place on what it is given.
            found.setdefault(place.path, []).append(wide.to("cpu", copy=True).numpy())

        places = self.places_of(moment.network)
        with watched(moment.network, places, see):
            moment.step.run()
        return {place.path: found[place.path] for place in places if place.path in found}


def _shifts(before: _Values, after: _Values) -> dict[str, tuple[float, float, float]]:
    nothing = (math.nan, math.nan, math.nan)
    return {
        path: shift_of(values, after[path]) if path in after else nothing
        for path, values in before.items()
    }


def shift_of(
    before: Sequence[NDArray[Any]], after: Sequence[NDArray[Any]]
) -> tuple[float, float, float]:
    """Return |Δ mean|, |Δ std| and Wasserstein distance in units of std before, channels' means.

    Args:
        before, after: values of each call of a layer, (C, m) each; calls with the same number of
            channels are taken together.
    """
    parts = []
    first, second = _joined(before), _joined(after)
    for channels, old in first.items():
        if channels in second:
            parts.append(_of_channels(old, second[channels]))
    found = np.concatenate(parts, axis=1) if parts else np.empty((3, 0))
    return tuple(found.mean(axis=1).tolist()) if found.size else (math.nan,) * 3


def _joined(calls: Sequence[NDArray[Any]]) -> dict[int, NDArray[Any]]:
    by_channels: dict[int, list[NDArray[Any]]] = {}
    for values in calls:
        if values.size:
            by_channels.setdefault(len(values), []).append(values)
    return {number: np.concatenate(values, axis=1) for number, values in by_channels.items()}


def _of_channels(old: NDArray[Any], new: NDArray[Any]) -> NDArray[np.float64]:
    """Return the three shifts of each channel that is not constant in `old`, (3, C)."""
    with np.errstate(invalid="ignore", over="ignore"):
        has_unit = ~(old.max(axis=1) == old.min(axis=1))  # NaN stays
        old, new = old[has_unit], new[has_unit]
        std = old.std(axis=1, dtype=np.float64)
        shifts = (
            np.abs(new.mean(axis=1, dtype=np.float64) - old.mean(axis=1, dtype=np.float64)),
            np.abs(new.std(axis=1, dtype=np.float64) - std),
            _wasserstein(np.sort(old, axis=1), np.sort(new, axis=1)),
        )
        return np.asarray(np.stack(shifts) / std)


def _wasserstein(old: NDArray[Any], new: NDArray[Any]) -> NDArray[np.float64]:
    """Return the 1-Wasserstein distance between sorted values of each channel, (C,).

    It is ∫ |F⁻¹(u) − G⁻¹(u)| du over the quantiles u, which are constant between the multiples of
    1/m and 1/n.
    """
    if old.shape == new.shape:
        return np.asarray(np.abs(old - new).mean(axis=1, dtype=np.float64))
    m, n = old.shape[1], new.shape[1]
    ends = np.union1d(np.arange(1, m + 1) * n, np.arange(1, n + 1) * m)  # in units of 1/(m·n)
    widths = np.diff(ends, prepend=0) / (m * n)
    distance = np.abs(old[:, (ends - 1) // n].astype(np.float64) - new[:, (ends - 1) // m])
    return np.asarray((distance * widths).sum(axis=1))


def _is_noisy(module: nn.Module) -> bool:
    return module.training and getattr(module, "adds_noise", False) is True


@contextmanager
def noise_drawn_anew(noise: Sequence[nn.Module]) -> Iterator[None]:
    """Let some layers draw from the random state of now on; all other draws are as without this.

    Each runs twice: once for what it takes from the stream that the others draw from, and once for
    its output.
    """
    own = [RandomState()]

    def draw_anew(module: nn.Module, args: Any, kwargs: Any, _: Any) -> Any:
        others = RandomState()
        own[0].restore()
        output = module.forward(*args, **kwargs)
        own[0] = RandomState()
        others.restore()
        return output

    handles = [
        module.register_forward_hook(draw_anew, prepend=True, with_kwargs=True) for module in noise
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
