"""Where batch norms can be inserted: read from traces of the network, with reasons where not."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import prod

from torch import nn

from bnkit.inspection.families import BATCH_NORM, NORM, function_family, module_family
from bnkit.inspection.trace import Call, Trace
from bnkit.rewrite.conversion.feeding_layers import layers_behind

BEFORE, AFTER = "before-activation", "after-activation"
WHERES = (BEFORE, AFTER)
_CONV_AXES: tuple[tuple[type[nn.Module] | tuple[type[nn.Module], ...], int], ...] = (
    (nn.Linear, 0),
    ((nn.Conv1d, nn.ConvTranspose1d), 1),
    ((nn.Conv2d, nn.ConvTranspose2d), 2),
    ((nn.Conv3d, nn.ConvTranspose3d), 3),
)


@dataclass(frozen=True)
class Place:
    """A place for a batch norm.

    Attributes:
        layer: path of the conv or linear layer.
        behind: path of the module that the batch norm stands directly behind.
        channels: C.
        axes: of its input beside N and C, one for (N, C) too.
    """

    layer: str
    behind: str
    channels: int
    axes: int


class Refusal(Exception):  # noqa: N818 — no error: the reason why a layer gets no batch norm
    """A layer gets no batch norm; the message is the reason, a clause."""


def is_insertable(module: nn.Module) -> bool:
    """Return whether it is a layer after which a batch norm can stand."""
    return isinstance(module, nn.Linear | nn.modules.conv._ConvNd)


def find_places(
    layers: Mapping[str, nn.Module], traces: Sequence[Trace], where: str, *, named: bool
) -> tuple[list[Place], dict[str, str]]:
    """Return the places, and path → the reason of the layers that have none.

    Args:
        layers: path → conv or linear layer.
        traces: of the network that holds them.
        where: one of `WHERES`.
        named: whether the user named them, so that an output layer is among them on purpose.
    """
    places: list[Place] = []
    reasons: dict[str, str] = {}
    views = [_View(watched) for watched in traces]
    for path, layer in layers.items():
        try:
            found = {place for view in views for place in view.places(path, layer, where, named)}
            places.append(_only(found, places))
        except Refusal as reason:
            reasons[path] = str(reason)
    return places, reasons


def _only(found: set[Place], others: Sequence[Place]) -> Place:
    if not found:
        raise Refusal("it never ran as a module on the example")
    if len(found) > 1:
        raise Refusal("its output differs between eval and training mode")
    (place,) = found
    if any(place.behind == other.behind for other in others):
        raise Refusal(f"{place.behind} is behind another layer too")
    return place


class _View:
    """One trace, with what is asked of it for every layer."""

    def __init__(self, watched: Trace) -> None:
        self.watched = watched
        self.calls = watched.calls
        norms = [call for call in self.calls if _family(call) == BATCH_NORM]
        self.before_norms = layers_behind(
            watched, [source for call in norms for source in call.sources[:1]]
        )
        self.outputs = layers_behind(watched, watched.output_sources)
        self.read = {name for call in self.calls for name in call.held if call.module is None}

    def places(self, path: str, layer: nn.Module, where: str, named: bool) -> Iterator[Place]:
        """Yield the place after a layer, if it ran.

        Raises:
            Refusal: it cannot be there.
        """
        numbers = [number for number, call in enumerate(self.calls) if call.module is layer]
        if not numbers:
            return
        if len(numbers) > 1:
            raise Refusal(
                f"it runs {len(numbers)} times in a forward, and one batch norm would mix the "
                "statistics of them all"
            )
        (number,) = numbers
        call = self.calls[number]
        takers = [taker for taker in self.calls if number in taker.sources]
        self._refuse_normalized(number, takers)
        if number in self.outputs and not named:
            raise Refusal("it makes the network's output; name it in after to have one there")
        if f"{path}.weight" in self.read:
            raise Refusal("its weight is read by a function beside it")
        behind = call if where == BEFORE else self._activation(number, takers)
        yield _place(path, layer, call, behind)

    def _refuse_normalized(self, number: int, takers: Sequence[Call]) -> None:
        if number in self.before_norms:
            raise Refusal("it feeds a batch norm already")
        for taker in takers:
            if _family(taker) == NORM:
                raise Refusal(f"it feeds {taker.name} already, which normalizes")

    def _activation(self, number: int, takers: Sequence[Call]) -> Call:
        if len(takers) != 1 or number in self.watched.output_sources:
            raise Refusal("its output goes to several places, and not to an activation alone")
        (taker,) = takers
        if isinstance(taker.module, nn.Identity):
            number = self.calls.index(taker)
            return self._activation(number, [c for c in self.calls if number in c.sources])
        if _family(taker) != "activation":
            raise Refusal(f"{taker.name} takes its output, and no activation")
        if taker.module is None:
            raise Refusal(
                f"its activation is {taker.name}, called as a function, behind which no module can "
                "be put"
            )
        if sum(call.module is taker.module for call in self.calls) > 1:
            raise Refusal(f"its activation {taker.name} is used several times in a forward")
        return taker


def _family(call: Call) -> str:
    return function_family(call.name) if call.module is None else module_family(call.module)


def _place(path: str, layer: nn.Module, call: Call, behind: Call) -> Place:
    if len(behind.outputs) != 1 or len(call.outputs) != 1:
        raise Refusal("it returns more than one tensor")
    shape, dtype = behind.outputs[0].shape, behind.outputs[0].dtype
    axes = next((axes for kind, axes in _CONV_AXES if isinstance(layer, kind)), None)
    if axes is None:
        raise Refusal(f"it is a {type(layer).__name__}, of which the channel axis is not known")
    if len(call.outputs[0].shape) != axes + 2 or len(shape) != axes + 2:
        if axes:
            raise Refusal(f"its output of shape {shape} has no batch axis")
        raise Refusal(
            f"its output has shape {shape}: its channels lie on the last axis, and a batch norm's "
            "on the second of (N, C)"
        )
    if "float" not in dtype:
        raise Refusal(f"its output is of {dtype}")
    if prod(shape[:1] + shape[2:]) < 2:
        raise Refusal(
            f"its output of shape {shape} has one value per channel, and training needs two"
        )
    return Place(path, behind.name, shape[1], max(axes, 1))
