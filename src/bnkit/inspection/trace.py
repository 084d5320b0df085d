"""One real forward, watched: which module or function made the tensors that another one took.

It works on any model whatever its control flow, because it watches a run instead of reading code.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from bnkit.errors import ArgumentTypeError, ForwardError, RewriteError
from bnkit.inspection.nested_tensors import tensors_in
from bnkit.inspection.preserve import modules_within, preserve, tensors_of
from bnkit.inspection.recorder import (
    Call,
    FunctionWatch,
    Observer,
    Recorder,
    Trace,
    watched_modules,
)

__all__ = [
    "Call",
    "Example",
    "Trace",
    "as_call",
    "refuse_uninitialized",
    "trace",
    "trace_or_explain",
]

Example = Tensor | Sequence[Any] | Mapping[str, Any]


def trace(
    model: nn.Module,
    example_args: Example,
    *,
    training: bool = False,
    observe: Observer | None = None,
) -> Trace:
    """Run the model once on an example, without gradients, and record who feeds whom.

    Functions that a primitive module calls inside its own forward are not recorded; the module is.
    Primitive are torch's and bnkit's modules without children, batch norms of anybody's, linear
    and convolutional layers of anybody's, and torch's multi-head attention.

    A function or module that writes into a tensor becomes the maker of what lies in that storage:
    of the tensor, of its base and of its other views. The former maker is among its sources.

    The model, the example and the random state are left as they were.

    Args:
        model: any module.
        example_args: what its forward takes: a tensor, positional arguments in a tuple or list, or
            keyword arguments in a mapping.
        training: run in training mode, with the batch norms alone in eval mode: they then take any
            batch, also one with a single value per channel.
        observe: called with the place and the input of every batch norm, modules and functions,
            before it runs; what it returns stands in `Trace.observed`.

    Raises:
        RewriteError: parameters or buffers are uninitialized; the model is not touched.

    Cost: one forward, and a copy of the model while it runs.
    """
    refuse_uninitialized(model)
    recorder = _recorder(model, example_args, observe)
    _run(recorder, model, example_args, training=training)
    return recorder.result


def trace_or_explain(
    model: nn.Module, example_args: Example, *, observe: Observer | None = None
) -> Trace:
    """Trace one forward in eval mode as `trace` does; an error of the model's names the layer.

    Raises:
        ForwardError: the forward raised.
        RewriteError: parameters or buffers are uninitialized.
    """
    as_call(example_args)
    refuse_uninitialized(model)
    recorder = _recorder(model, example_args, observe)
    try:
        _run(recorder, model, example_args, training=False)
    except (Exception, SystemExit) as error:
        raise ForwardError(
            f"forward raised {type(error).__name__}: {_one_line(error)}",
            required="one forward in eval mode must run on the example, "
            f"{_described(example_args)}",
            remedy="Give an example input of the shape and dtype that the model takes",
            where=recorder.failed_at(error) or "(model)",
        ) from error
    finally:
        recorder.failures.clear()
    return recorder.result


def _recorder(model: nn.Module, example_args: Example, observe: Observer | None) -> Recorder:
    outside = [tensor for module in modules_within(model) for tensor in tensors_of(module)]
    given = tensors_in(example_args)
    recorder = Recorder(model, [*outside, *given], observe)
    recorder.result.example_size = next((len(tensor) for tensor in given if tensor.dim()), None)
    return recorder


def _run(recorder: Recorder, model: nn.Module, example_args: Example, *, training: bool) -> None:
    args, kwargs = as_call(example_args)
    with preserve(model, example_args), torch.no_grad(), uncompiled():
        _set_mode(model, training=training)
        for module in model.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.eval()
        with watched_modules(model, recorder), FunctionWatch(recorder):
            output = model(*args, **kwargs)
        recorder.finish(output)


def uncompiled() -> AbstractContextManager[Any]:
    """Return a context in which what torch.compile compiled runs as it was written.

    Else it would compile our hooks, and their recompilations would count against the user's limit.
    """
    if "torch._dynamo" not in sys.modules:  # nothing is compiled, and importing it takes long
        return nullcontext()
    return torch.compiler.set_stance("force_eager")  # type: ignore[no-any-return]


def _set_mode(model: nn.Module, *, training: bool) -> None:
    try:
        model.train(training)
    except NotImplementedError:
        # torch.export's programs stay in the mode that they were captured in.
        return


def _one_line(error: BaseException) -> str:
    return str(error).strip().split("\n", 1)[0]


def _described(example: Example) -> str:
    tensors = tensors_in(example)
    if not tensors:
        return "which holds no tensor"
    return "of shape " + ", ".join(str(tuple(tensor.shape)) for tensor in tensors)


def refuse_uninitialized(model: nn.Module) -> None:
    """Raise if the model has lazy parameters or buffers that no forward has initialized yet.

    Raises:
        RewriteError: it has.
    """
    named = [*model.named_parameters(), *model.named_buffers()]
    lazy = [name for name, tensor in named if is_lazy(tensor)]
    if lazy:
        raise RewriteError(
            f"is uninitialized, one of {len(lazy)} parameters and buffers that are",
            required="a lazy module must know its shapes",
            remedy="Run it once first: model(example)",
            where=lazy[0],
        )


def as_call(example: Example) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Return the positional and the keyword arguments that an example stands for.

    Raises:
        ArgumentTypeError: it is none of what an example can be.
    """
    if isinstance(example, Tensor):
        return (example,), {}
    if isinstance(example, Mapping):
        return (), dict(example)
    if isinstance(example, Sequence) and not isinstance(example, str):
        return tuple(example), {}
    raise ArgumentTypeError(
        f"example_args is a {type(example).__name__}",
        required="a tensor, positional arguments in a tuple or list, or keywords in a mapping",
        remedy="Convert an array with torch.as_tensor; put one argument of another type into a "
        "tuple",
    )
