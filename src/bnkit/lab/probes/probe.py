"""What every probe is: what it needs, when it runs, what it costs, what it returns."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, ClassVar, Literal, NamedTuple

from torch import nn

from bnkit.errors import ProbeError
from bnkit.lab.probes.moment import Moment
from bnkit.lab.probes.names import PROBES
from bnkit.lab.probes.places import Place, choose_places
from bnkit.lab.probes.settings import check_probe
from bnkit.lab.probes.when import When

Need = Literal["gradient", "update", "learning-rate", "held-out", "training"]


class Measured(NamedTuple):
    """One number that a probe found.

    Attributes:
        metric: a name of the probe's entry in `PROBES`.
        value: may be NaN or infinite: then that is what was found.
        layer: path of the layer, where the metric has one value per layer.
        key: a percentile, a step size …, where it has several.
    """

    metric: str
    value: float
    layer: str | None = None
    key: str | None = None


class Cost(NamedTuple):
    """What one measurement costs beyond the training step.

    Attributes:
        forwards, backwards: in passes of a training step.
        copies: copies of the parameters that are held at once.
        note: what the numbers depend on, as a clause.
    """

    forwards: float = 0
    backwards: float = 0
    copies: int = 0
    note: str = ""


class Probe:
    """Base of all probes.

    A subclass sets `kind` and `needs`, and defines `measure` and `cost`. It writes to
    parameters through `Moment.step`, or through `.data` and puts their values back itself; it need
    not put back modes, buffers or random numbers: the session does.

    What it `needs`:
        `gradient`: an optimizer step, seen between its backward and its update; the parameters are
            those that the gradient was taken at, and `moment.step` is there.
        `update`: an optimizer step, seen after its update; `moment.step` is there, and puts the
            parameters back to before the update.
        `learning-rate`: the step's, in `moment.step.learning_rate`.
        `held-out`, `training`: examples, in `moment.held_out`, `moment.training`.

    A probe that needs no step looks at the network after a step, and at step 0 before the first.

    Args:
        when: a number k (every k steps), a list of steps, or a word (`When.parse`).
        layers: path patterns or kinds (`choose_places`).
        options: of the probe, as `PROBES` lists them.

    Raises:
        ProbeError: an option, a moment or a layer that does not exist.
    """

    kind: ClassVar[str]
    needs: ClassVar[frozenset[Need]] = frozenset()

    def __init__(
        self, *, when: Any = None, layers: str | Sequence[str] | None = None, **options: Any
    ) -> None:
        entry = PROBES[self.kind]
        check_probe(self.kind, options)
        self.when = When.parse(entry.when if when is None else when)
        self.layers = entry.layers if layers is None else layers
        self.options = {**entry.options, **options}
        self.places: tuple[Place, ...] = ()
        if self.needs_step and self.when.at and not any(self.when.at):
            raise ProbeError(
                f"the probe {self.kind!r} is to run at step 0 alone",
                required="it watches an optimizer step, and the first is step 1",
            )

    @property
    def needs_step(self) -> bool:
        """Whether it watches an optimizer step."""
        return bool(self.needs & {"gradient", "update"})

    @property
    def looks_at_weights(self) -> bool:
        """Whether its layers are chosen by what weights they have, or it asks for weights."""
        texts = [self.layers] if isinstance(self.layers, str) else self.layers or ()
        return "weights" in self.options or any(text.endswith("every weight") for text in texts)

    def prepare(self, network: nn.Module) -> None:
        """Choose the layers; called once, on the network before an arm rewrites it.

        Raises:
            ProbeError: the network has no such layer, or both sides of one are named.
        """
        if self.layers:
            self.places = choose_places(network, self.layers)
            paths = [place.path for place in self.places]
            both = sorted({path for path in paths if paths.count(path) > 1})
            if both:
                raise ProbeError(
                    f"layers = {self.layers!r} names input and output of {', '.join(both)}",
                    required="one side of each layer: records name the layer alone",
                )

    def places_of(self, network: nn.Module) -> list[Place]:
        """Return the chosen places that the network has: an arm may have moved a layer."""
        paths = {path for path, _ in network.named_modules()}
        return [place for place in self.places if place.path in paths]

    def cost(self) -> Cost:
        """Return what one measurement costs."""
        raise NotImplementedError

    def measure(self, moment: Moment) -> Iterable[Measured]:
        """Return what there is to record at a moment when the probe is due."""
        raise NotImplementedError

    def conclude(self) -> Iterable[Measured]:
        """Return what there is to record over all measurements, at the end of training."""
        return ()
