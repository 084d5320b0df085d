"""A network traced in eval and in training mode, since either may run what the other does not."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from bnkit.errors import BnkitError, RewriteError
from bnkit.inspection.trace import Example, Trace, trace


@dataclass(frozen=True)
class DoubleTrace:
    """Both traces of one network.

    Attributes:
        evaluation: the trace in eval mode.
        training: the trace in training mode, or None if the network did not run in it.
        training_error: what it raised then, as a clause; else empty.
    """

    evaluation: Trace
    training: Trace | None
    training_error: str

    @property
    def traces(self) -> list[Trace]:
        """The traces that there are."""
        return [self.evaluation] if self.training is None else [self.evaluation, self.training]


def trace_as_given(model: nn.Module, example: Example) -> DoubleTrace:
    """Trace a network before it is changed; that it runs in training mode is not required.

    Raises:
        RewriteError: it does not run in eval mode.

    Cost: two forwards.
    """
    try:
        evaluation = trace(model, example)
    except BnkitError:
        raise
    except Exception as error:
        raise RewriteError(
            f"the network raised {type(error).__name__} on the example: {error}",
            required="one forward in eval mode must run",
            remedy="Give an example input of the shape and dtype it takes",
        ) from error
    try:
        return DoubleTrace(evaluation, trace(model, example, training=True), "")
    except Exception as error:
        # Some networks need more in training, such as the labels. Whoever finds something
        # unknown for want of this trace says so.
        failure = f"in training mode the network raised {type(error).__name__}"
        return DoubleTrace(evaluation, None, failure)


def trace_as_changed(model: nn.Module, example: Example, before: DoubleTrace) -> DoubleTrace:
    """Trace a network without its batch norms, in the modes in which it ran before.

    Raises:
        RewriteError: it does not run in one of them.

    Cost: one forward for each mode in which it ran before.
    """
    try:
        evaluation = trace(model, example)
        training = None if before.training is None else trace(model, example, training=True)
    except Exception as error:
        raise RewriteError(
            f"without batch norm the network raised {type(error).__name__}: {error}",
            required="the network must not read a batch norm's parameters or buffers elsewhere",
            remedy="Call the batch norm as a module and nothing else",
        ) from error
    return DoubleTrace(evaluation, training, before.training_error)
