"""What goes into a worked example: a batch and the settings of the layer, checked."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bnkit.errors import ArgumentError, DataError, TensorMismatchError, TensorShapeError

Array = NDArray[np.float64]

EPS = 1e-5
MOMENTUM = 0.1

SHAPES = "(N, C), (N, C, L) or (N, C, H, W)"
EXAMPLE_CHANNEL_NAMES = ("red", "green", "blue")


@dataclass(frozen=True, eq=False)
class Batch:
    """A checked batch with the layer's settings, absent ones filled in with torch's initial values.

    Attributes:
        x: float64, shape (N, C), (N, C, L) or (N, C, H, W).
        weight, bias, running_mean, running_var: float64, shape (C,).
        eps: added to the variance, above 0.
        momentum: weight of this batch in the running statistics, in [0, 1].
    """

    x: Array
    weight: Array
    bias: Array
    eps: float
    momentum: float
    running_mean: Array
    running_var: Array

    @property
    def axes(self) -> tuple[int, ...]:
        """The axes that statistics run over: all but the channels'."""
        return (0, *range(2, self.x.ndim))

    @property
    def values_per_channel(self) -> int:
        """The number of values that each statistic is made of, m."""
        return int(self.x.size // self.x.shape[1])


def make_batch(
    x: ArrayLike,
    *,
    weight: ArrayLike | None = None,
    bias: ArrayLike | None = None,
    eps: float = EPS,
    momentum: float = MOMENTUM,
    running_mean: ArrayLike | None = None,
    running_var: ArrayLike | None = None,
    where: str = "",
) -> Batch:
    """Check a batch and its settings, and fill in torch's initial values for those left out.

    Args:
        x: shape (N, C), (N, C, L) or (N, C, H, W), finite, at least two values per channel.
        weight, bias, running_mean, running_var: shape (C,); default 1, 0, 0 and 1.
        eps, momentum: as in `torch.nn.BatchNorm2d`.
        where: what an error message begins with, such as the name of a file.

    Raises:
        TensorShapeError: a rank that no layer takes, no values, or one value per channel.
        TensorMismatchError: a vector whose length is not the number of channels.
        ArgumentError, DataError: a value that is not a finite number, or out of its range.
    """
    values = _as_numbers("x", x, where)
    _check_shape(values.shape, where)
    _check_finite("x", values, where)
    channels = values.shape[1]
    vectors = {
        name: _as_vector(name, given, initial, channels, where)
        for name, given, initial in (
            ("weight", weight, 1.0),
            ("bias", bias, 0.0),
            ("running_mean", running_mean, 0.0),
            ("running_var", running_var, 1.0),
        )
    }
    if (vectors["running_var"] < 0).any():
        channel = int(np.argmax(vectors["running_var"] < 0))
        raise ArgumentError(
            f"running_var[{channel}] is {vectors['running_var'][channel]:g}",
            required="a variance is never below 0",
            remedy="Give the running_var of a trained layer, or leave it out to start from 1",
            where=where,
        )
    return Batch(
        x=values,
        eps=_check_eps(eps, where),
        momentum=_check_momentum(momentum, where),
        **vectors,
    )


def example_batch() -> Batch:
    """Return the example of `bnkit explain`: two 3×3 images in red, green and blue.

    Red has mean 200 and standard deviation 10, green 20 and 2, blue 0.5 and 0.1, so that the
    normalized values are easy to check in one's head, and blue's variance, 0.01, is small enough
    to show what eps does.
    """
    first: list[list[list[float]]] = [
        [[210, 210, 220], [200, 210, 210], [200, 200, 210]],
        [[17, 19, 22], [20, 24, 18], [21, 19, 23]],
        [[0.5, 0.4, 0.6], [0.6, 0.5, 0.3], [0.5, 0.6, 0.5]],
    ]
    second: list[list[list[float]]] = [
        [[190, 200, 190], [180, 190, 200], [190, 190, 200]],
        [[18, 19, 20], [21, 22, 17], [18, 20, 22]],
        [[0.7, 0.4, 0.5], [0.4, 0.5, 0.6], [0.4, 0.6, 0.4]],
    ]
    return make_batch([first, second], weight=[1.5, 1.0, 0.5], bias=[0.0, 1.0, -1.0])


def _as_numbers(name: str, value: ArrayLike, where: str) -> Array:
    """Return a float64 copy, refusing what numpy would only turn into numbers by guessing."""
    try:
        given = np.asarray(value)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ArgumentError(
            f"{name} cannot be read as an array ({error})",
            required="it must be a rectangular array of numbers",
            remedy="Give nested lists of equal lengths, a numpy array or a detached CPU tensor",
            where=where,
        ) from error
    # A nested list without any entry has no type of its own; its shape is what is wrong with it.
    if given.dtype.kind not in "iuf" and given.size:
        raise ArgumentError(
            f"{name} holds values of type {given.dtype}",
            required="it must hold real numbers",
            remedy="Convert it to floating point first",
            where=where,
        )
    return np.array(given, dtype=np.float64)


def _check_shape(shape: tuple[int, ...], where: str) -> None:
    if len(shape) not in (2, 3, 4):
        axes = "1 axis" if len(shape) == 1 else f"{len(shape)} axes"
        remedy = (
            "Join depth and height, as in x.reshape(N, C, D * H, W): the statistics run over all "
            "positions of a channel, so the numbers stay the same"
            if len(shape) == 5
            else "Give one row per example, and within it one entry per channel"
        )
        raise TensorShapeError(
            f"x has shape {shape}, {axes}",
            required=f"it must have shape {SHAPES}",
            remedy=remedy,
            where=where,
        )
    if 0 in shape:
        raise TensorShapeError(
            f"x has shape {shape}, no values at all",
            required="a mean needs values",
            remedy="Give at least two values per channel",
            where=where,
        )
    if math.prod(shape) == shape[1]:
        raise TensorShapeError(
            f"x has shape {shape}, one value per channel",
            required="training statistics need at least two: one value is its own mean and has "
            "variance 0, so every output would be the bias, and torch refuses it too",
            remedy="Give more examples or positions",
            where=where,
        )


def _check_finite(name: str, values: Array, where: str) -> None:
    wrong = np.argwhere(~np.isfinite(values))
    if len(wrong):
        place = tuple(int(index) for index in wrong[0])
        raise DataError(
            f"{name}[{', '.join(map(str, place))}] is {values[place]}",
            required="every value must be a finite number, as one such value makes the mean and "
            "with it the whole channel NaN",
            remedy="Replace or leave out what holds it",
            where=where,
        )


def _as_vector(
    name: str, given: ArrayLike | None, initial: float, channels: int, where: str
) -> Array:
    if given is None:
        return np.full(channels, initial)
    vector = _as_numbers(name, given, where)
    if vector.shape != (channels,):
        found = f"{len(vector)} values" if vector.ndim == 1 else f"shape {vector.shape}"
        raise TensorMismatchError(
            f"{name} has {found}, and x has {channels} channels (its axis 1)",
            required="one value per channel is needed",
            remedy=f"Give {name} as a list of length {channels}, or leave it out to take "
            f"{initial:g} for every channel",
            where=where,
        )
    _check_finite(name, vector, where)
    return vector


def _check_eps(eps: Any, where: str) -> float:
    if not _is_real_number(eps) or not 0 < eps < math.inf:
        raise ArgumentError(
            f"got eps = {eps!r}",
            required="it must be a finite number above 0, because it keeps 1/√(var + eps) finite "
            "in a channel whose values are all equal",
            remedy=f"Leave it out to take torch's default, {EPS:g}",
            where=where,
        )
    return float(eps)


def _check_momentum(momentum: Any, where: str) -> float:
    if momentum is None:
        raise ArgumentError(
            "got no number as momentum, which in torch means a cumulative average",
            required="its weight is 1/k for the k-th batch, and a single batch does not tell k",
            remedy="Give momentum = 1/k, which is 1 for the first batch",
            where=where,
        )
    if not _is_real_number(momentum) or not 0 <= momentum <= 1:
        raise ArgumentError(
            f"got momentum = {momentum!r}",
            required="it must lie between 0 and 1, as it is the weight of the new batch; torch "
            "takes any number without a word, and outside this range running_var can turn "
            "negative and inference NaN",
            remedy=f"Use torch's default, {MOMENTUM:g}, or 1 − decay for a decay of Keras or Flax",
            where=where,
        )
    return float(momentum)


def _is_real_number(value: Any) -> bool:
    return isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool)
