"""The user's data, and how a batch of it is put through a model."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sized
from typing import Any

import numpy as np
from torch import Tensor, nn
from torch.utils._pytree import tree_flatten, tree_map, tree_unflatten
from torch.utils.data import Dataset

from bnkit.errors import ArgumentError, ArgumentTypeError, CheckError, RewriteError
from bnkit.inspection.batches import BATCH_SIZE, as_batch, raw_batches
from bnkit.inspection.nested_tensors import tensors_in

ForwardFunction = Callable[[nn.Module, Any], Any]
# Samples of the first batch on which the outputs before and after are compared.
_SAMPLES = 2


class BatchSource:
    """Batches of the user's data, as often as they are asked for.

    Args:
        data: see `recalibrate`.
        forward_fn: puts a batch through a model; None: its forward, on what it takes.
        batch_size: of data that is not in batches yet.
        repeated: whether the data is passed over more than once.

    Raises:
        ArgumentError: an argument is of a type or value that it must not have.
        RewriteError: data can be passed over only once, and is to be passed over repeatedly.
    """

    def __init__(
        self,
        data: Any,
        forward_fn: ForwardFunction | None,
        batch_size: int | None,
        *,
        repeated: bool,
    ) -> None:
        if forward_fn is not None and not callable(forward_fn):
            raise ArgumentTypeError(
                f"forward_fn is a {type(forward_fn).__name__}",
                required="a function of the model and a batch, which runs the model on it",
            )
        if batch_size is not None and (not isinstance(batch_size, int) or batch_size < 1):
            raise ArgumentError(f"batch_size={batch_size!r}", required="a whole number from 1 on")
        if repeated and isinstance(data, Iterator):
            raise RewriteError(
                f"data is a {type(data).__name__}, which can be passed over only once",
                required="sequential=True passes over it once for each layer",
                remedy="Give a list of the batches, or a DataLoader",
            )
        self._data, self._forward = data, forward_fn
        self._batch_size = batch_size or BATCH_SIZE

    def __iter__(self) -> Iterator[Any]:
        try:
            return iter(raw_batches(self._data, self._batch_size))
        except CheckError as error:
            raise RewriteError(error.given, required=error.required, remedy=error.remedy) from error

    @property
    def length(self) -> int | None:
        """Number of batches; None if it is not known beforehand."""
        data: Any = self._data
        is_whole = isinstance(data, Tensor | np.ndarray | dict | Dataset) or (
            isinstance(data, tuple) and all(isinstance(p, Tensor | np.ndarray) for p in data)
        )
        try:
            if not is_whole:
                return len(data) if isinstance(data, Sized) else None
            first = next(iter(data.values())) if isinstance(data, dict) else data
            first = first[0] if isinstance(first, tuple) else first
            return -(-len(first) // self._batch_size)
        except (TypeError, StopIteration, NotImplementedError):
            return None

    def run(self, model: nn.Module, batch: Any) -> Any:
        """Put a copy of a batch through a model, which may write into its input."""
        batch = tree_map(lambda leaf: leaf.clone() if isinstance(leaf, Tensor) else leaf, batch)
        if self._forward is not None:
            return self._forward(model, batch)
        taken = as_batch(model, batch)
        return model(*taken.args, **taken.kwargs)

    def samples(self, batch: Any) -> int:
        """Return N: the length of the first axis of the first tensor of a batch."""
        return next((len(tensor) for tensor in tensors_in(batch) if tensor.dim()), 0)

    def outputs(self, model: nn.Module, batch: Any) -> list[Tensor] | str:
        """Return the tensors that a model returns as it is prepared, or why there are none."""
        try:
            return [tensor.detach().clone() for tensor in tensors_in(self.run(model, batch))]
        except Exception as error:
            line = str(error).partition("\n")[0].rstrip(".")
            return f"outputs not compared: in eval mode {type(error).__name__} was raised: {line}"

    def beginning(self, batch: Any) -> Any:
        """Return the first few samples of a batch, or the whole if that cannot be told."""
        leaves, form = tree_flatten(batch)
        lengths = {len(leaf) if leaf.dim() else 0 for leaf in leaves if isinstance(leaf, Tensor)}
        if self._forward is not None or len(lengths) != 1 or not form.num_leaves:
            return batch
        parts = [leaf[:_SAMPLES] if isinstance(leaf, Tensor) else leaf for leaf in leaves]
        return tree_unflatten(parts, form)
