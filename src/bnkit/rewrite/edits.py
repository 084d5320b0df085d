"""How a rewrite changes a model: each change is stated, can be undone and can be replayed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from bnkit.rewrite.history import past_of
from bnkit.rewrite.model_copy import copied
from bnkit.rewrite.module_forms import form_of
from bnkit.rewrite.module_slots import path_of, sequential, slots_of
from bnkit.rewrite.named_classes import change_class
from bnkit.rewrite.result import Change, Rewrite, Skipped
from bnkit.rewrite.steps import (
    AROUND,
    ATTRIBUTE,
    BUFFER,
    CLASS,
    MODULE,
    PARAMETER,
    TRAINED,
    Step,
)


@contextmanager
def rewriting(
    name: str, model: nn.Module, *, inplace: bool, kind: type[Rewrite] = Rewrite
) -> Iterator[Edits]:
    """Give what changes a model, or a copy of it; if anything is raised, all is undone.

    Args:
        name: of the rewrite, such as "fold".
        model: the model as given.
        inplace: change the model itself and not a copy.
        kind: what is returned: `Rewrite`, or one that says more.

    Raises:
        RewriteError: the model cannot be copied.
    """
    rewrite = kind(model if inplace else copied(model), name=name, steps=[])
    rewrite._earlier = past_of(model)
    keys = list(rewrite.model.state_dict())
    try:
        yield Edits(rewrite, model)
        after = list(rewrite.model.state_dict())
        rewrite.added_keys = tuple(key for key in after if key not in set(keys))
        rewrite.removed_keys = tuple(key for key in keys if key not in set(after))
        rewrite._finish()
    except BaseException:
        rewrite.undo()
        raise


class Edits:
    """Changes a rewrite's model, one thing at a time.

    Attributes:
        rewrite: what is filled: changes, skipped, steps, and the way back.
        given: the model that the rewrite was given, which is not changed if a copy is.
    """

    def __init__(self, rewrite: Rewrite, given: nn.Module | None = None) -> None:
        self.rewrite = rewrite
        self.given = rewrite.model if given is None else given

    @property
    def model(self) -> nn.Module:
        """The model as it is now."""
        return self.rewrite.model

    def path(self, module: nn.Module) -> str:
        """Return the path of a module of the model."""
        return path_of(self.model, module)

    def changed(self, path: str, what: str) -> None:
        """Account for what was done to a layer, in words."""
        self.rewrite.changes.append(Change(path, what))

    def skipped(self, path: str, reason: str) -> None:
        """Account for what was not done, with the reason."""
        self.rewrite.skipped.append(Skipped(path, reason))

    def replace(self, old: nn.Module, new: nn.Module) -> None:
        """Put a module in all places at which the model has another registered."""
        self._step(MODULE, old, value=form_of(new))
        self._put(old, new)

    def put_around(self, old: nn.Module, parts: Mapping[str, nn.Module | None]) -> nn.Sequential:
        """Put a Sequential in the place of a module, and return it.

        Args:
            old: a module of the model.
            parts: name → module, in order; None stands for the old module.
        """
        forms = {name: None if part is None else form_of(part) for name, part in parts.items()}
        self._step(AROUND, old, value={"modules": forms})
        pair = sequential({name: part or old for name, part in parts.items()}, old.training)
        self._put(old, pair)
        return pair

    def set_class(self, module: nn.Module, name: str) -> None:
        """Give a module a class of `named_classes`."""
        self._step(CLASS, module, value=name)
        self._reversible(change_class(module, name))

    def set_attribute(self, module: nn.Module, name: str, value: Any) -> None:
        """Set an attribute that is a number, text, or a tuple of them."""
        had, former = name in vars(module), vars(module).get(name)
        self._step(ATTRIBUTE, module, name, value)
        vars(module)[name] = value
        self._reversible(partial(_set_attribute, module, name, had, former))

    def set_mode(self, module: nn.Module, *, training: bool) -> None:
        """Put one module, without those within it, into training or eval mode."""
        self.set_attribute(module, "training", training)

    def set_parameter(
        self,
        module: nn.Module,
        name: str,
        value: Tensor | None,
        *,
        requires_grad: bool | None = None,
    ) -> None:
        """Give a module a parameter, other values of it, or none.

        Where shape, dtype and device stay, the parameter stays the same object with other values,
        so an optimizer goes on holding it; every module that it is tied to sees them.

        Args:
            module: a module of the model.
            name: of the parameter.
            value: its values, which are copied; None for none.
            requires_grad: whether it is trained; None as before, or True for a new one.
        """
        former = module._parameters.get(name)
        trained = former is None or former.requires_grad if requires_grad is None else requires_grad
        if value is None:
            self._step(PARAMETER, module, name, None)
            new = None
        elif former is not None and _is_alike(former, value) and former.requires_grad == trained:
            self.set_values(former, value)
            return
        else:
            form = _form(value) | {"requires_grad": trained}
            self._step(PARAMETER, module, name, form)
            new = nn.Parameter(value.detach().clone(), trained)
        # What stood elsewhere under the name, such as the attribute None, would hide it.
        hidden = vars(module).pop(name, _MISSING)
        entries = dict(module._parameters)
        module._parameters[name] = new
        self._reversible(partial(_refill, module, "_parameters", entries, name, hidden))

    def set_buffer(self, module: nn.Module, name: str, value: Tensor | None) -> None:
        """Give a module a buffer, other values of it, or none."""
        former = module._buffers.get(name)
        if value is not None and former is not None and _is_alike(former, value):
            self.set_values(former, value)
            return
        self._step(BUFFER, module, name, None if value is None else _form(value))
        hidden = vars(module).pop(name, _MISSING)
        entries = dict(module._buffers)
        module._buffers[name] = None if value is None else value.detach().clone()
        self._reversible(partial(_refill, module, "_buffers", entries, name, hidden))

    def set_trained(self, module: nn.Module, name: str, *, trained: bool) -> None:
        """Set `requires_grad` of a parameter, which stays the same object."""
        parameter = module._parameters[name]
        assert parameter is not None
        former = parameter.requires_grad
        self._step(TRAINED, module, name, trained)
        parameter.requires_grad_(trained)
        self._reversible(partial(_set_trained, parameter, former))

    def drop_gradient(self, parameter: Tensor) -> None:
        """Take the gradient away that a parameter has, so that no optimizer uses it any more."""
        self._reversible(partial(_set_gradient, parameter, parameter.grad))
        parameter.grad = None

    def drop_attribute(self, module: nn.Module, name: str) -> None:
        """Delete an attribute; replayed, it becomes None."""
        self.set_attribute(module, name, None)
        del vars(module)[name]

    def set_values(self, tensor: Tensor, value: Tensor) -> None:
        """Give a tensor of the model other values of the same shape."""
        former = tensor.detach().clone()
        with torch.no_grad():
            tensor.copy_(value)
        self._reversible(partial(_set_values, tensor, former))

    def also_undo(self, back: Callable[[], None]) -> None:
        """Have something that is no part of the model, such as an optimizer, undone with it."""
        self._reversible(back)

    def take_back(self) -> None:
        """Take all changes back, and their steps; others can then be made."""
        self.rewrite._reverse()
        if self.rewrite.steps is not None:
            self.rewrite.steps.clear()

    def _put(self, old: nn.Module, new: nn.Module) -> None:
        rewrite, slots = self.rewrite, slots_of(self.model, old)
        for parent, name in slots:
            parent._modules[name] = new
        is_whole = rewrite.model is old
        if is_whole:
            rewrite.model = new
        self._reversible(partial(_put_back, rewrite if is_whole else None, slots, old))

    def _step(self, edit: str, module: nn.Module, name: str = "", value: Any = None) -> None:
        if self.rewrite.steps is not None:
            self.rewrite.steps.append(Step(edit, self.path(module), name, value))

    def _reversible(self, back: Callable[[], None]) -> None:
        self.rewrite._reversals.append(back)


_MISSING = "(missing)"


def _form(value: Tensor) -> dict[str, Any]:
    return {"shape": list(value.shape), "dtype": str(value.dtype).removeprefix("torch.")}


def _is_alike(one: Tensor, other: Tensor) -> bool:
    return (one.shape, one.dtype, one.device) == (other.shape, other.dtype, other.device)


# What undoes an edit: functions of the module, so that a rewrite can be copied and pickled.


def _put_back(rewrite: Rewrite | None, slots: list[tuple[nn.Module, str]], old: nn.Module) -> None:
    for parent, name in slots:
        parent._modules[name] = old
    if rewrite is not None:
        rewrite.model = old


def _set_attribute(module: nn.Module, name: str, had: bool, value: Any) -> None:
    if had:
        vars(module)[name] = value
    else:
        vars(module).pop(name, None)


def _refill(module: nn.Module, kind: str, entries: dict[str, Any], name: str, hidden: Any) -> None:
    table = vars(module)[kind]
    table.clear()
    table.update(entries)
    if hidden != _MISSING:
        vars(module)[name] = hidden


def _set_values(tensor: Tensor, value: Tensor) -> None:
    with torch.no_grad():
        tensor.copy_(value)


def _set_trained(parameter: Tensor, trained: bool) -> None:
    parameter.requires_grad_(trained)


def _set_gradient(parameter: Tensor, gradient: Tensor | None) -> None:
    parameter.grad = gradient
