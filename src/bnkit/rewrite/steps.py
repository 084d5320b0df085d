"""Changes of a model's structure as plain data, and replaying them on a fresh model.

A step says what stands where, never which values: those are the weights of the file that the steps
are stored with.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import nn

from bnkit.errors import BnkitError, RewriteError
from bnkit.rewrite.module_forms import build_module, dtype_named
from bnkit.rewrite.module_slots import put_module, sequential
from bnkit.rewrite.named_classes import change_class

MODULE, AROUND, CLASS = "module", "around", "class"
PARAMETER, BUFFER, ATTRIBUTE, TRAINED = "parameter", "buffer", "attribute", "trained"


@dataclass(frozen=True)
class Step:
    """One change of structure.

    Attributes:
        edit: "module": another module stands at the path; "around": the module at the path stands
            in a Sequential with another; "class": a class of `named_classes`; "parameter",
            "buffer", "attribute": one of the module at the path; "trained": whether a parameter
            of it is.
        path: path of a module when the step is taken; empty for the model itself.
        name: of the parameter, buffer or attribute.
        value: what stands there, as JSON: a form of `module_forms`; shape, dtype and, for a
            parameter, whether it is trained; None if there is nothing; a class's name; a plain
            value.
    """

    edit: str
    path: str
    name: str = ""
    value: Any = None


def as_json(steps: Sequence[Step]) -> str:
    """Return steps as JSON."""
    return json.dumps([asdict(step) for step in steps])


def from_json(text: str) -> list[Step]:
    """Return the steps that a JSON text holds.

    Raises:
        RewriteError: it holds none.
    """
    try:
        steps = [Step(**item) for item in json.loads(text)]
    except (ValueError, TypeError) as error:
        raise RewriteError(
            f"its list of changes cannot be read: {error}",
            remedy="Write the file again with this version of bnkit",
        ) from error
    return steps


def replay(model: nn.Module, step: Step) -> nn.Module:
    """Take one step on a model, and return the model: another one if it was replaced itself.

    Parameters and buffers that change their shape get uninitialized values.

    Raises:
        RewriteError: the model has nothing at that path, or another version made the step.
    """
    try:
        return _TAKERS[step.edit](model, model.get_submodule(step.path), step)
    except BnkitError:
        raise
    except Exception as error:  # a file may hold anything
        raise RewriteError(
            f"a change of the file cannot be replayed: {step.edit} at {step.path or '(model)'}",
            required="the model that the rewrite was given, as its builder returns it",
            remedy="Build the model with the same arguments",
            where=step.path or "(model)",
        ) from error


def _module(model: nn.Module, module: nn.Module, step: Step) -> nn.Module:
    new = build_module(step.value, _device(module, model)).train(module.training)
    return put_module(model, module, new)


def _around(model: nn.Module, module: nn.Module, step: Step) -> nn.Module:
    forms = step.value["modules"].items()
    device = _device(module, model)
    parts = {
        name: module if form is None else build_module(form, device).train(module.training)
        for name, form in forms
    }
    pair = sequential(parts, module.training)
    return put_module(model, module, pair)


def _class(model: nn.Module, module: nn.Module, step: Step) -> nn.Module:
    change_class(module, step.value)
    return model


def _parameter(model: nn.Module, module: nn.Module, step: Step) -> nn.Module:
    if step.value is None:
        module._parameters[step.name] = None
        return model
    vars(module).pop(step.name, None)
    tensor = _empty(step.value, _device(module, model))
    module._parameters[step.name] = nn.Parameter(tensor, step.value["requires_grad"])
    return model


def _buffer(model: nn.Module, module: nn.Module, step: Step) -> nn.Module:
    tensor = None if step.value is None else _empty(step.value, _device(module, model))
    vars(module).pop(step.name, None)
    module._buffers[step.name] = tensor
    return model


def _attribute(model: nn.Module, module: nn.Module, step: Step) -> nn.Module:
    value = tuple(step.value) if isinstance(step.value, list) else step.value
    former = getattr(module, step.name, None)
    if not all(isinstance(each, int | float | str | tuple | None) for each in (former, value)):
        raise RewriteError(
            f"a change of the file sets {step.name}, which is no number or text",
            where=step.path or "(model)",
        )
    vars(module)[step.name] = value
    return model


def _trained(model: nn.Module, module: nn.Module, step: Step) -> nn.Module:
    parameter = module._parameters[step.name]
    assert parameter is not None
    parameter.requires_grad_(step.value)
    return model


def _empty(form: dict[str, Any], device: torch.device) -> torch.Tensor:
    return torch.empty(form["shape"], dtype=dtype_named(form["dtype"]), device=device)


def _device(*modules: nn.Module) -> torch.device:
    tensors = (tensor for part in modules for tensor in (*part.parameters(), *part.buffers()))
    return next((tensor.device for tensor in tensors), torch.device("cpu"))


_TAKERS: dict[str, Callable[[nn.Module, nn.Module, Step], nn.Module]] = {
    MODULE: _module,
    AROUND: _around,
    CLASS: _class,
    PARAMETER: _parameter,
    BUFFER: _buffer,
    ATTRIBUTE: _attribute,
    TRAINED: _trained,
}
