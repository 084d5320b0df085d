"""Classes that rewrites give to a layer by their names, so that a file can name them.

A layer whose class changes keeps its identity: hooks, optimizers and whatever else refers to it go
on doing so.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from importlib import import_module

from torch import nn

from bnkit.errors import RewriteError
from bnkit.rewrite.guarded_class import give_class, unguarded_class
from bnkit.rewrite.kept_in_eval import is_kept_class, kept_class, plain_class

# Name → where the function is that takes the former class and returns the new one.
_CLASSES: dict[str, str] = {
    "kept-in-eval": "bnkit.rewrite.kept_in_eval:kept_class",
    "not-kept-in-eval": "bnkit.rewrite.kept_in_eval:plain_class",
    "bnkit": "bnkit.rewrite.acceleration.layer_classes:bnkits",
    "torch": "bnkit.rewrite.acceleration.layer_classes:torchs",
    "bnkit-1d": "bnkit.rewrite.acceleration.layer_classes:bnkits_1d",
    "bnkit-2d": "bnkit.rewrite.acceleration.layer_classes:bnkits_2d",
    "bnkit-3d": "bnkit.rewrite.acceleration.layer_classes:bnkits_3d",
    "noisy": "bnkit.rewrite.acceleration.layer_classes:noisy",
    "torch-1d": "bnkit.rewrite.acceleration.layer_classes:torchs_1d",
    "torch-2d": "bnkit.rewrite.acceleration.layer_classes:torchs_2d",
    "torch-3d": "bnkit.rewrite.acceleration.layer_classes:torchs_3d",
}


def change_class(module: nn.Module, name: str) -> Callable[[], None]:
    """Give a module a class by its name, and return what gives the former back.

    Raises:
        RewriteError: no such name.
    """
    if name not in _CLASSES:
        raise RewriteError(
            f"the class {name!r} is not known",
            required=f"one of {', '.join(_CLASSES)}",
            remedy="Update bnkit: a later version wrote this",
        )
    home, _, function = _CLASSES[name].partition(":")
    former = unguarded_class(type(module))
    give_class(module, getattr(import_module(home), function)(former))
    if is_kept_class(former):  # a class made here, which cannot be pickled itself
        return partial(_give_kept_class, module, plain_class(former))
    return partial(give_class, module, former)


def _give_kept_class(module: nn.Module, plain: type[nn.Module]) -> None:
    give_class(module, kept_class(plain))
