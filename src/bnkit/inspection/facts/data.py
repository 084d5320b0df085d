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
        minimum, maximum: per channel; equal where the channel is constant.
        length: size of the last axis, for inputs of rank 3 and more; else 0.
        trailing_constant: for each sample, how many positions at the end of the last axis hold, in
            all channels, the same values as its last position; a sample without such a tail has 1.
    """

    call: int
    layer: str
    count: int
    mean: tuple[float, ...]
    var: tuple[float, ...]
    minimum: tuple[float, ...]
    maximum: tuple[float, ...]
    length: int = 0
    trailing_constant: tuple[int, ...] = ()


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
    """‖y_train − y_eval‖ / ‖y_eval‖ of one batch norm's output, on the same batches."""

    layer: str
    relative: float


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
            the staleness of one does not reach the next; dropout is off.
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
