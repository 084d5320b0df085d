"""Where in a network a probe looks: layers by path pattern or kind, their inputs or outputs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from fnmatch import fnmatchcase
from functools import partial
from typing import Any, NamedTuple

from torch import Tensor, nn
from torch.nn.utils.parametrize import ParametrizationList, is_parametrized

from bnkit.errors import ProbeError
from bnkit.inspection.families import BATCH_NORM, NORM, module_family
from bnkit.inspection.nested_tensors import tensors_in

_SIDES = ("input", "output")
_EVERY = "every "
_SHOWN = 20


class Place(NamedTuple):
    """A layer, and which of its sides is looked at.

    Attributes:
        path: of the layer.
        side: `input` or `output`.
    """

    path: str
    side: str = "output"


def own_parameters(module: nn.Module, prefix: str = "") -> dict[str, nn.Parameter]:
    """Return name → parameter of a layer itself, also those that its parametrizations hold."""
    own = dict(module.named_parameters(prefix, recurse=False))
    if is_parametrized(module):
        inner = f"{prefix}.parametrizations" if prefix else "parametrizations"
        own |= module.parametrizations.named_parameters(inner)  # type: ignore[union-attr]
    return own


def _has_weight(module: nn.Module) -> bool:
    # "weight" of an LSTM is one matrix per gate and layer; all of its matrices count as its weight.
    # What spectral_norm and its like add holds a layer's parameters, but is none that data passes.
    is_layer = not isinstance(module, ParametrizationList)
    return is_layer and any(each.dim() > 1 for each in own_parameters(module).values())


KINDS: dict[str, Callable[[nn.Module], bool]] = {
    "batch norm": lambda module: module_family(module) == BATCH_NORM,
    "normalization": lambda module: module_family(module) in (BATCH_NORM, NORM),
    "activation": lambda module: module_family(module) == "activation",
    "conv": lambda module: module_family(module) in ("conv", "conv-transpose"),
    "linear": lambda module: module_family(module) == "linear",
    "weight": _has_weight,
}


def choose_places(network: nn.Module, wanted: str | Sequence[str]) -> tuple[Place, ...]:
    """Return the places that patterns and kinds name, in the order of the network's modules.

    Args:
        network: any module.
        wanted: one or several of `PATTERN`, `every KIND`, each with `input of ` or `output of `
            before it (default: output). A pattern is a path with `*`, `?` and `[…]` as in file
            names, where `*` crosses dots; it names modules, not what they hold: "features.*" names
            the children of `features`. A kind is a key of `KINDS`.

    Raises:
        ProbeError: one of them names nothing; the message lists what there is.
    """
    texts = [wanted] if isinstance(wanted, str) else list(wanted)
    modules = dict(network.named_modules())
    found: dict[Place, None] = {}
    for text in texts:
        side, target = _parts(text)
        paths = _paths(modules, target)
        if not paths:
            raise _no_match(modules, text, target)
        found |= dict.fromkeys(Place(path, side) for path in paths)
    order = {path: index for index, path in enumerate(modules)}
    return tuple(sorted(found, key=lambda place: (order[place.path], place.side)))


@contextmanager
def watched(
    network: nn.Module, places: Sequence[Place], see: Callable[[Place, Tensor], None]
) -> Iterator[None]:
    """Show what passes each place, while the context is open.

    Args:
        network: whose modules are run within.
        places: of the network.
        see: called with the place and its first tensor, each time its layer runs.
    """
    modules = dict(network.named_modules())
    handles = []
    try:
        for place in places:
            module = modules[place.path]
            if place.side == "input":
                hook = partial(_see_input, place, see)
                handles.append(module.register_forward_pre_hook(hook, with_kwargs=True))
            else:
                handles.append(module.register_forward_hook(partial(_see_output, place, see)))
        yield
    finally:
        for handle in handles:
            handle.remove()


def _see_input(
    place: Place, see: Callable[[Place, Tensor], None], _: nn.Module, args: Any, kwargs: Any
) -> None:
    if tensors := tensors_in((args, kwargs)):
        see(place, tensors[0])


def _see_output(
    place: Place, see: Callable[[Place, Tensor], None], _: nn.Module, __: Any, output: Any
) -> None:
    if tensors := tensors_in(output):
        see(place, tensors[0])


def _parts(text: str) -> tuple[str, str]:
    for side in _SIDES:
        if text.startswith(f"{side} of "):
            return side, text.removeprefix(f"{side} of ")
    return "output", text


def _paths(modules: dict[str, nn.Module], target: str) -> list[str]:
    if target.startswith(_EVERY):
        is_kind = KINDS.get(target.removeprefix(_EVERY))
        if is_kind is None:
            raise ProbeError(
                f"there are no layers of the kind {target.removeprefix(_EVERY)!r}",
                required=f"one of {', '.join(KINDS)}",
                remedy='Say "every batch norm", or give a path such as "features.0"',
            )
        return [path for path, module in modules.items() if path and is_kind(module)]
    return [path for path in modules if path and _is_named(path, target)]


def _is_named(path: str, pattern: str) -> bool:
    """Return whether a pattern names a path, and not already what holds it."""
    parts = path.split(".")
    named = [fnmatchcase(".".join(parts[: end + 1]), pattern) for end in range(len(parts))]
    return named[-1] and not any(named[:-1])


def _no_match(modules: dict[str, nn.Module], text: str, target: str) -> ProbeError:
    leaves = [
        f"{path} ({type(module).__name__})"
        for path, module in modules.items()
        if path and not any(module.children())
    ]
    if not leaves:
        return ProbeError(
            f"{text!r} names no layer: the network is one layer itself",
            required="a network that holds its layers",
            remedy="Wrap it: nn.Sequential(layer)",
        )
    shown = ", ".join(leaves[:_SHOWN]) + (" …" if len(leaves) > _SHOWN else "")
    kind = target.removeprefix(_EVERY)
    given = (
        f"{text!r} names no layer: the network has no {kind}"
        if target != kind
        else f"{text!r} names no layer"
    )
    return ProbeError(given, required=f"one of its {len(leaves)} layers: {shown}")
