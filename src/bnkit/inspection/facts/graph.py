"""Facts about one traced forward: who feeds whom (need G)."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from math import prod

from bnkit.inspection.facts.model import Scalar


@dataclass(frozen=True)
class TensorForm:
    """Shape and dtype of a tensor that went into a call or came out of it."""

    shape: tuple[int, ...]
    dtype: str

    @property
    def size(self) -> int:
        """Number of values."""
        return prod(self.shape)

    @property
    def bytes(self) -> int:
        """Bytes that its values take: by the bits in the name of the dtype; bool takes one."""
        bits = "".join(re.findall(r"\d+", self.dtype.partition("_")[0])[:1])
        return self.size * max(int(bits or 8) // 8, 1)


@dataclass(frozen=True)
class CallFacts:
    """One call of a module or function, in the order in which the calls ended.

    Attributes:
        number: its place in `GraphFacts.calls`.
        name: path of the module, or the function's full name, such as
            "torch.nn.functional.relu".
        is_module: whether a module was called.
        family: what it does, one of `inspection.families`: "batch-norm", "norm" (every other
            normalization), "conv", "linear", "dropout", "activation", "reshape", "permute" …;
            functions have the families of their modules.
        inside: path of the innermost module whose forward was running.
        sources: for each tensor that went in, in order, the number of the call that made it; None
            if it came from outside: the example, a parameter, a constant.
        held: for each of them, its first name if it is a parameter or buffer of the model; else "".
        has_unseen_source: whether a tensor went in that no recorded call made and that neither
            the model nor the example holds.
        inputs: forms of the tensors that went in, as in `sources`.
        outputs: forms of the tensors that came out.
        options: what a function was called with beside tensors: by name, or by position as
            "1", "2" …; of a module see `ModuleFacts.options`.
    """

    number: int
    name: str
    is_module: bool
    family: str
    inside: str
    sources: tuple[int | None, ...]
    has_unseen_source: bool
    inputs: tuple[TensorForm, ...]
    outputs: tuple[TensorForm, ...]
    options: Mapping[str, Scalar] = field(default_factory=dict)
    held: tuple[str, ...] = ()

    @property
    def place(self) -> str:
        """Path of the layer, or of the module in which a function was called."""
        return self.name if self.is_module else self.inside

    @property
    def function(self) -> str:
        """Short name of the function, such as "relu"; empty for a module."""
        if self.is_module:
            return ""
        # A property such as mT has the name "torch.Tensor.mT.__get__".
        return self.name.removesuffix(".__get__").rsplit(".", 1)[-1].strip("_")

    @property
    def values_per_channel(self) -> int:
        """m = N·|S| of the first input, whose channel axis is its second; 0 if it has none."""
        shape = self.inputs[0].shape if self.inputs else ()
        return prod(shape[:1] + shape[2:]) if len(shape) > 1 else 0


@dataclass(frozen=True)
class GraphFacts:
    """One forward in eval mode.

    Attributes:
        calls: what was called.
        output_sources: for each tensor that the model returned, the number of the call that made
            it; None if it came from outside.
        example_size: N of the example: the length of its first tensor; None if it has no tensor.
        on_real_data: whether the example was the first batch of the user's data.
    """

    calls: tuple[CallFacts, ...]
    output_sources: tuple[int | None, ...]
    example_size: int | None
    on_real_data: bool = False

    @cached_property
    def norm_calls(self) -> tuple[CallFacts, ...]:
        """The calls of batch norms, modules and functions."""
        return tuple(call for call in self.calls if call.family == "batch-norm")

    @cached_property
    def calls_of(self) -> Mapping[str, tuple[CallFacts, ...]]:
        """Path of a module → its calls; a module that never ran is missing."""
        found: dict[str, list[CallFacts]] = {}
        for call in self.calls:
            if call.is_module:
                found.setdefault(call.name, []).append(call)
        return {path: tuple(calls) for path, calls in found.items()}

    @cached_property
    def takers(self) -> Mapping[int, tuple[CallFacts, ...]]:
        """Number of a call → the calls that took what it made; one that nobody took is missing."""
        found: dict[int, list[CallFacts]] = {}
        for call in self.calls:
            for source in set(call.sources):
                if source is not None:
                    found.setdefault(source, []).append(call)
        return {number: tuple(calls) for number, calls in found.items()}

    def is_output(self, call: CallFacts) -> bool:
        """Return whether the model returned what this call made, as it was made."""
        return call.number in self.output_sources

    def source(self, call: CallFacts) -> CallFacts | None:
        """Return the call that made the first input; None if it came from outside."""
        number = call.sources[0] if call.sources else None
        return None if number is None else self.calls[number]

    def upstream(
        self, call: CallFacts, stop: Callable[[CallFacts], bool] = lambda _: False
    ) -> Iterator[CallFacts]:
        """Yield each call whose output reached this one, once, the nearest first.

        Args:
            call: where to begin; it is not among what is yielded.
            stop: of a call for which it returns true, yielded too, nothing upstream is visited.
        """
        seen: set[int] = set()
        waiting = [number for number in call.sources if number is not None]
        while waiting:
            number = waiting.pop(0)
            if number in seen:
                continue
            seen.add(number)
            found = self.calls[number]
            yield found
            if not stop(found):
                waiting += [source for source in found.sources if source is not None]

    def training_values_per_channel(self, call: CallFacts, batch_size: int) -> float | None:
        """Return m of a batch norm's call for a training batch; None without N of the example.

        m grows with the batch, also where other axes were folded into the first: the example's m
        is scaled by batch_size / N.
        """
        if not self.example_size:
            return None
        return call.values_per_channel * batch_size / self.example_size
