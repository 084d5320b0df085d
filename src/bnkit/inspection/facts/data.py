"""Facts about the user's own data: values of one forward (need F), and of a pass (need D).

A random or unlabelled example never comes here: `GraphFacts` is all that it gives.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class InputValues:
    """What went into one call of a batch norm in the traced forward on real data.

    Attributes:
        call: number of the call in `GraphFacts.calls`.
        layer: path of the layer; of the module around it for `F.batch_norm`.
        count: m, values per channel.
        mean, var: per channel; var divides by m.
        mean_error, var_error: their standard errors per channel, as samples differ: values of one
            sample are not independent. Those of a single sample are σ and σ².
        minimum, maximum: per channel; equal where the channel is constant.
        length: size of the axis along which samples may be padded: of the spatial axis with the
            longest tails, those of lengths that differ first; of L where N·L rows of C values go
            in; else 0.
        trailing_constant: for each sample, how many positions at the end of that axis hold, in all
            channels, the same values; a sample without such a tail has 1. A few positions after
            the tail may differ: a conv that pads with zeros makes them.
        leading_constant: the same at the beginning, where nothing may come before.
    """

    call: int
    layer: str
    count: int
    mean: tuple[float, ...]
    var: tuple[float, ...]
    minimum: tuple[float, ...]
    maximum: tuple[float, ...]
    mean_error: tuple[float, ...] = ()
    var_error: tuple[float, ...] = ()
    length: int = 0
    trailing_constant: tuple[int, ...] = ()
    leading_constant: tuple[int, ...] = ()


@dataclass(frozen=True)
class ForwardFacts:
    """Values of the traced forward, in eval mode, on the first batch of the user's data (F).

    Attributes:
        samples: N of that batch.
        inputs: of each call of a batch norm, in the order of the calls.
    """

    samples: int
    inputs: tuple[InputValues, ...]


@dataclass(frozen=True)
class Population:
    """Statistics of all that went into one batch norm, over all of the data.

    Attributes:
        layer: its path.
        count: values per channel.
        mean, var: per channel; var divides by the count, and holds the spread between batches.
    """

    layer: str
    count: int
    mean: tuple[float, ...]
    var: tuple[float, ...]


@dataclass(frozen=True)
class Domain:
    """The data of one domain that the user named."""

    name: str
    samples: int
    populations: tuple[Population, ...]


@dataclass(frozen=True)
class LayerGap:
    """‖y_train − y_eval‖ / ‖y_eval‖ of one batch norm's output, on the same batches.

    Attributes:
        layer: its path.
        relative: in the two forwards of the model: what the layers before it add is in it.
        own: if it had taken the same input in both, that of training: what it adds itself.
    """

    layer: str
    relative: float
    own: float


@dataclass(frozen=True)
class TrainEvalGap:
    """Train mode against eval mode on the same batches; dropout is off in both.

    Attributes:
        samples: how many samples were compared.
        layers: per batch norm, in the order in which they first ran.
        output: ‖y_train − y_eval‖ / ‖y_eval‖ of what the model returned.
        train_loss, eval_loss: mean cross-entropy; None without class labels or logits.
    """

    samples: int
    layers: tuple[LayerGap, ...]
    output: float
    train_loss: float | None = None
    eval_loss: float | None = None


@dataclass(frozen=True)
class DataFacts:
    """What a pass over the user's data found (D).

    Attributes:
        samples, batches: how many went through.
        is_labelled: whether labels came with the inputs.
        populations: per batch norm that ran, with batch norms normalizing by the batch, so that
            the staleness of one does not reach the next; dropout is off. Layers that are kept in
            eval mode in a model in training mode stay in it.
        domains: the same for each domain; None if the user named none.
        gap: train mode against eval mode; None if it could not be measured.
        gap_error: why, as a clause; empty if it could.
    """

    samples: int
    batches: int
    is_labelled: bool
    populations: tuple[Population, ...]
    domains: tuple[Domain, ...] | None = None
    gap: TrainEvalGap | None = None
    gap_error: str = ""

    def population(self, layer: str) -> Population | None:
        """Return the statistics of a layer; None if it never ran."""
        return next((found for found in self.populations if found.layer == layer), None)
