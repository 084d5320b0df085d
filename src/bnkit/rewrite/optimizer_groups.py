"""Changes to the parameter groups and the state of an optimizer, each with its way back."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from bnkit.errors import ArgumentTypeError, RewriteError

Undo = Callable[[], None]


class OptimizerGroups:
    """The groups of an optimizer; no learning-rate scheduler is told of what changes.

    Args:
        optimizer: as of torch.optim.
    """

    def __init__(self, optimizer: Any) -> None:
        self.optimizer = optimizer
        # Group that decays → its twin that does not, made when first needed.
        self._twins: dict[int, dict[str, Any]] = {}

    def group_of(self, parameter: Tensor) -> dict[str, Any] | None:
        """Return the group that holds a parameter; None if none does."""
        groups: list[dict[str, Any]] = self.optimizer.param_groups
        return next((g for g in groups if any(p is parameter for p in g["params"])), None)

    def drop(self, parameter: Tensor) -> Undo:
        """Take a parameter and its state out; its group stays, if need be empty."""
        group = self.group_of(parameter)
        if group is None:
            return _nothing
        place, name = _take(group, parameter)
        state = self.optimizer.state.pop(parameter, None)
        return partial(_put_back, self.optimizer, group, place, parameter, name, state)

    def join(self, parameter: Tensor, beside: Tensor, name: str) -> Undo:
        """Put a new parameter at the end of the group that holds another one.

        Args:
            parameter: held by no group.
            beside: held by one.
            name: of the parameter, for optimizers that keep names.
        """
        group = self.group_of(beside)
        assert group is not None
        _put(group, len(group["params"]), parameter, name if "param_names" in group else None)
        return partial(_leave, self.optimizer, group, parameter)

    def rename(self, parameter: Tensor, former: str, name: str) -> Undo:
        """Give a parameter another name, where it is kept under a name that is the former one."""
        group = self.group_of(parameter)
        if group is None or "param_names" not in group:
            return _nothing
        if group["param_names"][_place(group, parameter)] != former:
            return _nothing
        _name(group, parameter, name)
        return partial(_name, group, parameter, former)

    def stop_decay(self, parameter: Tensor) -> Undo:
        """Move a parameter to a group like its own with weight_decay=0."""
        group = self.group_of(parameter)
        assert group is not None
        groups = self.optimizer.param_groups
        twin = self._twins.get(id(group))
        if twin is None or not any(held is twin for held in groups):
            twin = {key: value for key, value in group.items() if key not in _LISTS}
            twin |= {key: [] for key in _LISTS if key in group} | {"weight_decay": 0.0}
            groups.append(twin)
            self._twins[id(group)] = twin
        place, name = _take(group, parameter)
        _put(twin, len(twin["params"]), parameter, name)

        def restore() -> None:
            _take(twin, parameter)
            _put(group, place, parameter, name)
            if not twin["params"]:
                groups[:] = [held for held in groups if held is not twin]

        return restore

    def convert_state(self, parameter: Tensor, dtype: torch.dtype) -> Undo:
        """Convert what the optimizer keeps of a parameter, such as momentum, to a dtype."""
        state = self.optimizer.state.get(parameter, {})
        former: dict[str, torch.dtype] = {}
        for key, value in state.items():
            is_like = isinstance(value, Tensor) and value.shape == parameter.shape
            if is_like and value.is_floating_point() and value.dtype != dtype:
                former[key] = value.dtype
                state[key] = value.to(dtype)

        def restore() -> None:
            for key, before in former.items():
                state[key] = state[key].to(before)

        return restore


_LISTS = ("params", "param_names")


# What undoes a change: functions of the module, so that a rewrite can be copied and pickled.


def _put_back(
    optimizer: Any,
    group: dict[str, Any],
    place: int,
    parameter: Tensor,
    name: str | None,
    state: Any,
) -> None:
    _put(group, place, parameter, name)
    if state is not None:
        optimizer.state[parameter] = state


def _leave(optimizer: Any, group: dict[str, Any], parameter: Tensor) -> None:
    _take(group, parameter)
    optimizer.state.pop(parameter, None)


def _nothing() -> None:
    pass


def _name(group: dict[str, Any], parameter: Tensor, name: str) -> None:
    group["param_names"][_place(group, parameter)] = name


def _place(group: dict[str, Any], parameter: Tensor) -> int:
    return next(i for i, held in enumerate(group["params"]) if held is parameter)


def _take(group: dict[str, Any], parameter: Tensor) -> tuple[int, str | None]:
    place = _place(group, parameter)
    del group["params"][place]
    names = group.get("param_names")
    return place, names.pop(place) if names is not None else None


def _put(group: dict[str, Any], place: int, parameter: Tensor, name: str | None) -> None:
    group["params"].insert(place, parameter)
    if name is not None:
        group["param_names"].insert(place, name)


def groups_of(optimizer: Any, *, inplace: bool) -> OptimizerGroups | None:
    """Return the groups of the optimizer that a rewrite was given; None for None.

    Raises:
        ArgumentTypeError: it is no optimizer.
        RewriteError: the rewrite works on a copy, whose parameters no optimizer holds yet.
    """
    if optimizer is None:
        return None
    if not isinstance(getattr(optimizer, "param_groups", None), list):
        raise ArgumentTypeError(
            f"optimizer is a {type(optimizer).__name__}", required="one of torch.optim"
        )
    if not inplace:
        raise RewriteError(
            "an optimizer is given, and the model is to be copied",
            required="the optimizer holds the parameters of the model itself, not of a copy",
            remedy="Give inplace=True, or build the optimizer from what the rewrite returns",
        )
    return OptimizerGroups(optimizer)
