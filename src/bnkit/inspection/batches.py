"""The user's data → batches that the model's forward takes, with their labels if there are any.

Data is what stands for a whole data set: a tensor or array; a tuple of them, inputs first, of equal
length; a mapping of them; a `Dataset`; or anything that yields batches, such as a `DataLoader`, a
list or a generator. What the forward does not take is taken for the labels.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Iterator, Mapping, Sequence, Sized
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, IterableDataset

from bnkit.errors import CheckError
from bnkit.inspection.nested_tensors import tensors_in

BATCH_SIZE = 64
_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
_NAMED = (inspect.Parameter.KEYWORD_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
_WRAPPERS = ("DataParallel", "DistributedDataParallel", "AveragedModel")


@dataclass(frozen=True)
class Batch:
    """One batch.

    Attributes:
        args, kwargs: what the model's forward is called with.
        labels: what came with it and the forward does not take; None if nothing did.
    """

    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    labels: Any = None

    @property
    def size(self) -> int:
        """N, the length of the first axis of the first tensor; 0 if there is none."""
        tensors = tensors_in((self.args, dict(self.kwargs)))
        return next((len(tensor) for tensor in tensors if tensor.dim()), 0)

    @property
    def example(self) -> Any:
        """The batch as `trace` takes an example."""
        return dict(self.kwargs) if self.kwargs else self.args


def batches_of(model: nn.Module, data: Any, batch_size: int | None = None) -> Iterator[Batch]:
    """Yield the batches of the user's data, one by one, without keeping them.

    Args:
        model: whose forward's signature tells inputs from labels.
        data: see above.
        batch_size: of data that is not in batches yet; None for `BATCH_SIZE`.

    Raises:
        CheckError: it is none of what data can be, or holds no batch.
    """
    size = batch_size or BATCH_SIZE
    count = 0
    for value in raw_batches(data, size):
        count += 1
        yield as_batch(model, value)
    if not count:
        raise CheckError("data holds no batch", required="at least one")


def raw_batches(data: Any, size: int = BATCH_SIZE) -> Iterable[Any]:
    """Return the batches of the user's data as they are, not yet taken apart.

    Raises:
        CheckError: it is none of what data can be.
    """
    if isinstance(data, Tensor | np.ndarray):
        return _slices(torch.as_tensor(data), size)
    if isinstance(data, tuple) and all(isinstance(part, Tensor | np.ndarray) for part in data):
        parts = [torch.as_tensor(part) for part in data]
        _check_lengths({str(index): part for index, part in enumerate(parts)})
        return zip(*(_slices(part, size) for part in parts), strict=True)
    if isinstance(data, Mapping):
        columns = {key: torch.as_tensor(value) for key, value in data.items()}
        _check_lengths(columns)
        rows = zip(*(_slices(column, size) for column in columns.values()), strict=True)
        return (dict(zip(columns, row, strict=True)) for row in rows)
    if isinstance(data, Dataset):
        return _loader(data, size)
    if isinstance(data, Iterable) and not isinstance(data, str | bytes | nn.Module):
        return data
    raise CheckError(
        f"data is a {type(data).__name__}",
        required="a tensor or array, a tuple or mapping of them, a data set, or batches",
    )


def _slices(tensor: Tensor, size: int) -> Iterable[Tensor]:
    """Return the samples in batches, in an order that is the same for all tensors of a length.

    It is not the given one: data are often sorted by class, and a batch of one class has
    statistics of its own.
    """
    if tensor.dim() == 0:
        raise CheckError("data holds a tensor without axes", required="samples on the first axis")
    if not len(tensor):
        return ()
    # One sample left over joins the batch before it: alone it would have no statistics.
    ends = list(range(size, len(tensor), size))
    if ends and len(tensor) - ends[-1] == 1:
        ends.pop()
    order = torch.randperm(len(tensor), generator=_generator())
    return (tensor[part.to(tensor.device)] for part in order.tensor_split(ends))


def _loader(data: Dataset[Any], size: int) -> DataLoader[Any]:
    if isinstance(data, IterableDataset) or not isinstance(data, Sized):
        return DataLoader(data, batch_size=size, generator=_generator())
    while len(data) > size and len(data) % size == 1 and size > 1:
        size += 1
    return DataLoader(data, batch_size=size, shuffle=True, generator=_generator())


def _generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def _check_lengths(parts: Mapping[str, Tensor]) -> None:
    lengths = {key: len(part) if part.dim() else 0 for key, part in parts.items()}
    if len(set(lengths.values())) != 1:
        raise CheckError(
            "data holds tensors of lengths "
            + ", ".join(f"{length} ({key})" for key, length in lengths.items()),
            required="as many samples in each; batches belong into a list or a loader",
        )


def as_batch(model: nn.Module, value: Any) -> Batch:
    """Take a batch apart into what the model's forward is called with, and the labels."""
    signature = _signature(model)
    if isinstance(value, Mapping):
        taken = {key: item for key, item in value.items() if signature.takes(str(key))}
        if not taken:  # a forward that takes the mapping itself
            return Batch((value,), {})
        others = [item for key, item in value.items() if key not in taken]
        return Batch((), taken, _only(others))
    if isinstance(value, tuple | list):
        count = signature.positions
        return Batch(tuple(value[:count]), {}, _only(value[count:]))
    return Batch((value,), {})


def _only(values: Sequence[Any]) -> Any:
    return None if not values else values[0] if len(values) == 1 else tuple(values)


@dataclass(frozen=True)
class _Signature:
    """What a forward takes.

    Attributes:
        names: arguments that can be given by name.
        positions: how many of a tuple are inputs: the arguments without a default, at least one.
            One with a default is not filled from a tuple, or labels would land in it.
        takes_any_name: whether there is a `**kwargs`.
    """

    names: frozenset[str]
    positions: int
    takes_any_name: bool

    def takes(self, name: str) -> bool:
        return name in self.names or self.takes_any_name


def _signature(model: nn.Module) -> _Signature:
    while type(model).__name__ in _WRAPPERS:
        model = model.module  # type: ignore[assignment]
    parameters = inspect.signature(model.forward).parameters.values()
    required = [p for p in parameters if p.kind in _POSITIONAL and p.default is p.empty]
    return _Signature(
        frozenset(p.name for p in parameters if p.kind in _NAMED),
        max(1, len(required)),
        any(p.kind is p.VAR_KEYWORD for p in parameters),
    )
