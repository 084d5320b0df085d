"""Running statistics that are those of the data, for the weights as they are now."""

from __future__ import annotations

from typing import Any

from torch import nn

from bnkit.errors import ArgumentTypeError
from bnkit.rewrite.layer_choice import Patterns
from bnkit.rewrite.statistics.batch_source import BatchSource, ForwardFunction
from bnkit.rewrite.statistics.layer_statistics import Recalibration
from bnkit.rewrite.statistics.pass_progress import PassProgress
from bnkit.rewrite.statistics.statistics_estimate import estimate


def recalibrate(
    model: nn.Module,
    data: Any,
    *,
    forward_fn: ForwardFunction | None = None,
    layers: Patterns | None = None,
    sequential: bool = False,
    batch_size: int | None = None,
    inplace: bool = False,
    progress: bool | None = None,
) -> Recalibration:
    """Give batch norms the mean and variance of all that they receive in a pass over the data.

    For each channel, over the M values that the layer received: running_mean = Σ x / M and
    running_var = Σ (x − running_mean)²/(M − 1). The sums are kept in float64 and without
    cancellation, each batch counts by its size, and the spread of the batches' means is in the
    variance. num_batches_tracked becomes the number of batches that the layer received; momentum
    stays.

    In the pass these layers normalize by the batch, as in training, and everything else is in eval
    mode: dropout is off, and layers that are not chosen or frozen (by `freeze`, or in eval mode
    within a model in training mode) go on normalizing by what they have. What a layer receives thus
    depends on how the data are cut into batches. With `sequential` it does not: layers are taken
    one by one, in execution order, with all that come before in eval mode with their new
    statistics. This takes one pass per layer, which ends at the layer; k passes for a layer that
    runs k times in a forward.

    In a process group every rank must call it, each with its own part of the data, and gets the
    statistics of all; ranks may have different numbers of batches, also none. A `SyncBatchNorm`
    normalizes by its own rank's batch in the pass.

    Args:
        model: any network with a batch norm that keeps statistics, in any mode.
        data: what yields batches, such as a DataLoader, a list or a generator: tensors; tuples or
            lists, of which the forward gets as many as it has arguments without default, at least
            the first, and the rest are labels; or mappings, of which it gets what it takes by
            name. Or all samples: a tensor, a tuple or mapping of tensors, or a Dataset, put into
            batches in an order of their own. The batches have to be on the model's device.
        forward_fn: called with the model to run and a batch; None: the forward as above.
        layers: paths or patterns, such as "layer4"; None for all.
        sequential: see above. The data must be the same in each pass: a DataLoader that draws
            random crops gives other samples each time.
        batch_size: of data that is not in batches yet; None for 64.
        inplace: change the model itself and not a copy.
        progress: a bar on a terminal and lines elsewhere if True, nothing if False; None: a bar on
            a terminal.

    Returns:
        The rewrite: `.shifts` says how far each layer was off, `.difference` how far the outputs
        moved in eval mode on the first samples of the first batch.

    Raises:
        ArgumentError: an argument is of a type or value that it must not have.
        ForwardError: the forward raised on a batch; the message names the layer.
        RewriteError: no batch norm, or a pattern that names none; no batch; a layer received NaN,
            infinity, or a single value per channel; statistics beyond the layer's dtype; a
            generator with `sequential`; another rank failed; `inplace`, and statistics that were
            made in inference mode. The model is then as it was.

    Cost: one forward in training mode per batch and one pass over what the layers receive; two
    forwards of two samples; a copy of the model unless `inplace`, and one of its tensors.
    """
    check_model(model)
    source = BatchSource(data, forward_fn, batch_size, repeated=sequential)
    return estimate(
        "recalibrate",
        model,
        source,
        layers=layers,
        inplace=inplace,
        sequential=sequential,
        progress=PassProgress(progress),
    )


def check_model(model: Any) -> None:
    """Raise if a model is no module.

    Raises:
        ArgumentTypeError: it is none.
    """
    if not isinstance(model, nn.Module):
        raise ArgumentTypeError(f"model is a {type(model).__name__}", required="a torch.nn.Module")
