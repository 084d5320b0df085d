"""What is wrong with the arguments of a batch norm, in the user's terms.

Nothing here runs while all is well: the operator complains first, and its complaint is then
explained. Kernels that would not complain are guarded by the same function beforehand.

Each error is of the built-in type that torch raises for the same mistake.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor

from bnkit.errors import (
    ArgumentError,
    ArgumentTypeError,
    BnkitError,
    TensorAxisError,
    TensorDtypeError,
    TensorMismatchError,
    TensorShapeError,
    TensorTypeError,
    UnusableArgumentError,
)
from bnkit.functional.unchecked import no_type_check

_TAKEN = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
_PARAMETERS = ("running_mean", "running_var", "weight", "bias")


class Arguments(NamedTuple):
    """What `batch_norm` was given: anything at all."""

    x: Any
    running_mean: Any
    running_var: Any
    weight: Any
    bias: Any
    training: bool
    momentum: Any
    eps: Any


@no_type_check
def explain(arguments: Arguments, error: BaseException | None = None) -> BnkitError | None:
    """Return the error that says what is wrong with these arguments, or None.

    Args:
        arguments: what `batch_norm` was given.
        error: what torch raised. Its explanation is an instance of the same built-in type; where
            none is found the caller lets torch's error through. None asks for the first mistake.
    """
    for mistake in _mistakes(arguments):
        if error is None or isinstance(mistake, _builtin_type(error)):
            return mistake
    return None


def _builtin_type(error: BaseException) -> type[BaseException]:
    """Return the built-in type of an error: torch's own subclasses stand for their base."""
    return next(kind for kind in type(error).__mro__ if kind.__module__ == "builtins")


def _mistakes(arguments: Arguments) -> Iterator[BnkitError]:
    """Yield the mistakes in the order in which torch looks for them."""
    x, *channel_values, training, momentum, eps = arguments
    parameters = dict(zip(_PARAMETERS, channel_values, strict=True))
    no_tensors = list(_no_tensors(x, parameters))
    yield from no_tensors
    if no_tensors:
        return
    if x.dim() < 2:
        yield TensorAxisError(
            f"got x of shape {_shape(x)}",
            required="batch norm needs (N, C, ...), the channels on the second axis",
        )
        return
    given = {name: value for name, value in parameters.items() if value is not None}
    if x.shape[1] == 0 and ("weight" in given or "bias" in given):
        yield TensorAxisError(
            f"got x of shape {_shape(x)}, without channels",
            required="torch scales and shifts one channel at least",
        )
    yield from _too_few_values(x, training)
    yield from _wrong_numbers(training, momentum, eps)
    yield from _wrong_running_statistics(parameters, training)
    yield from _wrong_dtype(x)
    yield from _wrong_device(x, given)
    yield from _wrong_channels(x, given)
    yield from _mixed_dtypes(x, given)


def _no_tensors(x: Any, parameters: dict[str, Any]) -> Iterator[BnkitError]:
    if not isinstance(x, Tensor):
        yield TensorTypeError(
            f"got x of type {_type_name(x)}",
            required="batch norm needs a torch.Tensor",
            remedy="Convert it with torch.as_tensor",
        )
    for name, value in parameters.items():
        if value is not None and not isinstance(value, Tensor):
            yield TensorTypeError(
                f"got {name} of type {_type_name(value)}",
                required="it must be a torch.Tensor or None",
            )


def _too_few_values(x: Tensor, training: bool) -> Iterator[BnkitError]:
    values = x.shape[0]
    for size in x.shape[2:]:
        values *= size
    if training and values == 1:
        yield TensorShapeError(
            f"got x of shape {_shape(x)}, one value per channel",
            required="training statistics need at least two",
            remedy="Use a larger batch, or put this layer in eval mode with running statistics",
        )


def _wrong_numbers(training: bool, momentum: Any, eps: Any) -> Iterator[BnkitError]:
    for name, value in (("eps", eps), ("momentum", momentum)):
        if not is_number(value):
            yield ArgumentTypeError(
                f"got {name}={value!r} of type {_type_name(value)}", required="it must be a number"
            )
    if is_number(eps):
        if training and eps <= 0:
            yield ArgumentError(
                f"got eps={eps!r}",
                required="training needs eps > 0, or a constant channel divides by zero",
                remedy="torch's default is 1e-05",
            )
        elif eps < 0:
            yield ArgumentError(f"got eps={eps!r}", required="eps must not be negative")


def _wrong_running_statistics(parameters: dict[str, Any], training: bool) -> Iterator[BnkitError]:
    absent = [name for name in ("running_mean", "running_var") if parameters[name] is None]
    if not training and absent:
        yield UnusableArgumentError(
            f"got {' and '.join(absent)} None in eval mode",
            required="normalizing with running statistics needs both",
            remedy="Give both, or pass training=True to normalize with the batch's own",
        )
    elif len(absent) == 1:
        yield ArgumentError(
            f"got {absent[0]} None, but not the other running statistic",
            required="running_mean and running_var must both be given or both be None",
        )
    for name in ("running_mean", "running_var"):
        if parameters[name] is not None and parameters[name].requires_grad:
            yield UnusableArgumentError(
                f"got {name} with requires_grad",
                required="running statistics pass no gradient on",
                remedy=f"Give {name}.detach()",
            )


def _wrong_dtype(x: Tensor) -> Iterator[BnkitError]:
    if x.dtype not in _TAKEN:
        yield TensorDtypeError(
            f"got x of dtype {_short(x.dtype)}",
            required=f"batch norm is defined for {', '.join(map(_short, _TAKEN))}",
            remedy="Convert it with x.float()",
        )


def _wrong_device(x: Tensor, given: dict[str, Tensor]) -> Iterator[BnkitError]:
    elsewhere = {name: value.device for name, value in given.items() if value.device != x.device}
    if elsewhere:
        device = next(iter(elsewhere.values()))
        yield TensorMismatchError(
            f"got x on {x.device}, but {_listed(elsewhere)} on {device}",
            required="they must be on one device",
            remedy=f'Move one with .to("{x.device}") or .to("{device}")',
        )


def _wrong_channels(x: Tensor, given: dict[str, Tensor]) -> Iterator[BnkitError]:
    channels = x.shape[1]
    wrong = {name: value.numel() for name, value in given.items() if value.numel() != channels}
    if wrong:
        expected = next(iter(wrong.values()))
        yield TensorMismatchError(
            f"got x of shape {_shape(x)}, {channels} channels on its second axis, "
            f"but {_listed(wrong)} of {expected}",
            required="there must be one value for each channel",
            remedy=_channels_remedy(x, expected),
        )


def _channels_remedy(x: Tensor, expected: int) -> str:
    if x.dim() > 2 and x.shape[-1] == expected:
        return "The last axis has that size: if the channels are last, use x.movedim(-1, 1)"
    return ""


def _mixed_dtypes(x: Tensor, given: dict[str, Tensor]) -> Iterator[BnkitError]:
    # Channel values share one dtype: that of x, or float32 under a narrower x.
    allowed = {x.dtype}
    if x.dtype in (torch.float16, torch.bfloat16):
        allowed.add(torch.float32)
    found = {value.dtype for value in given.values()}
    if found - allowed or len(found) > 1:
        dtypes = ", ".join(f"{name} {_short(value.dtype)}" for name, value in given.items())
        yield TensorMismatchError(
            f"got x of dtype {_short(x.dtype)} with {dtypes}",
            required=f"these must all be {' or all '.join(map(_short, sorted(allowed, key=str)))}",
            remedy=f"Convert x, or the layer with .to(torch.{_short(x.dtype)})",
        )


def is_number(value: Any) -> bool:
    """Return whether a value orders against 0, as numbers and tensors of one number do."""
    try:
        return isinstance(bool(value < 0), bool)
    except (TypeError, ValueError, RuntimeError):
        return False


def _listed(names: Iterable[str]) -> str:
    return ", ".join(names)


def _shape(x: Tensor) -> str:
    return str(tuple(x.shape))


def _short(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _type_name(value: Any) -> str:
    kind = type(value)
    return f"{kind.__module__}.{kind.__qualname__}".removeprefix("builtins.")
