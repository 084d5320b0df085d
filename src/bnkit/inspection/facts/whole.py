"""All that a check knows; what was not given is None."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any

from bnkit.inspection.facts.data import DataFacts, ForwardFacts
from bnkit.inspection.facts.graph import CallFacts, GraphFacts
from bnkit.inspection.facts.model import LayerFacts, ModelFacts
from bnkit.inspection.facts.sampling import are_drawn_alike
from bnkit.inspection.facts.setup import SetupFacts
from bnkit.inspection.facts.steps import StepFacts


@dataclass(frozen=True)
class Facts:
    """What rules read.

    Attributes:
        model: M, a walk over the modules.
        setup: T; always there, its fields are None unless given.
        graph: G, one traced forward.
        forward: F, values of that forward, if it ran on the user's data.
        data: D, a pass over the user's data.
        steps: S, training steps that were watched.
        thresholds: code → name of a threshold → value, for rules that measure.
    """

    model: ModelFacts
    setup: SetupFacts = field(default_factory=SetupFacts)
    graph: GraphFacts | None = None
    forward: ForwardFacts | None = None
    data: DataFacts | None = None
    steps: StepFacts | None = None
    thresholds: Mapping[str, Mapping[str, float]] = field(default_factory=dict)

    @cached_property
    def any_batch_norm_moved(self) -> bool:
        """Whether the running statistics of any batch norm have left their initial values."""
        return any(layer.has_moved for layer in self.model.batch_norms)

    def is_never_updated(self, layer: LayerFacts) -> bool:
        """Return whether a layer holds initial statistics although the model was trained (BN103).

        A fresh model, in whatever mode, is healthy.
        """
        if not layer.is_batch_norm or not layer.has_statistics or layer.has_moved:
            return False
        was_trained = self.any_batch_norm_moved or self.model.weights_loaded
        return was_trained or (layer.has_trained_parameters and not self._are_drawn_alike)

    @cached_property
    def _are_drawn_alike(self) -> bool:
        """Whether γ and β of all batch norms look drawn from one distribution, as RepVGG's are.

        Training leaves another spread in each layer.
        """
        layers = [layer for layer in self.model.batch_norms if layer.has_trained_parameters]
        tensors = [[layer.weight for layer in layers], [layer.bias for layer in layers]]
        return all(are_drawn_alike([t.values for t in row if t is not None]) for row in tensors)

    def is_trained(self, layer: LayerFacts) -> bool:
        """Return whether F and D rules may judge a layer: its statistics have been learnt."""
        return layer.is_batch_norm and layer.has_statistics and layer.has_moved

    def trained_norm(self, call: CallFacts) -> LayerFacts | None:
        """Return the layer that F rules may judge by a call; None if there is none.

        Its statistics have been learnt, and in training it takes those of the batch. Somebody's
        module around `F.batch_norm` counts too, if the running statistics are its own.
        """
        layer = self.model.layer(call.place)
        if layer is None or layer.kind not in ("batch", "sync", "frozen"):
            return None
        is_judged = layer.has_statistics and layer.has_moved and self.normalizes_by_batch(call)
        return layer if is_judged else None

    def is_kept_frozen(self, layer: LayerFacts) -> bool:
        """Return whether a layer normalizes by running statistics in training too.

        That is: it is in eval mode inside of a model in training mode. In a model that is in eval
        mode as a whole, modes say nothing about training.
        """
        return self.model.training and not layer.training and layer.has_statistics

    def normalizes_by_batch(self, call: CallFacts) -> bool:
        """Return whether a batch norm's call, module or function, takes the batch's statistics.

        In training, that is. Not so are layers that are kept frozen, and modules whose statistics
        and scale are all constants, as those of detection libraries are.
        """
        layer = self.model.layer(call.place)
        if layer is None:
            return True
        if layer.kind == "frozen" and layer.weight is not None and not layer.weight.requires_grad:
            return False
        return not self.is_kept_frozen(layer)

    def ranks_together(self, call: CallFacts) -> int:
        """Return how many processes share a call's statistics: all, of a synchronised layer."""
        layer = self.norm_of(call)
        return self.setup.world_size if layer is not None and layer.kind == "sync" else 1

    def norm_of(self, call: CallFacts) -> LayerFacts | None:
        """Return the normalization layer that a call is of; None for a function."""
        return self.model.layer(call.name) if call.is_module else None

    def uses_running_statistics(self, call: CallFacts) -> bool:
        """Return whether a batch norm's call has running statistics to normalize by in eval."""
        layer = self.norm_of(call)
        if layer is not None:
            return layer.has_statistics
        return None not in [call.options.get(key, "given") for key in ("1", "running_mean")]

    def to_dict(self) -> dict[str, Any]:
        """Return all facts as JSON-able data; non-finite numbers are left as they are."""
        return asdict(self)
