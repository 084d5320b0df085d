"""BN506 averaged-weights-statistics: averaged weights, and one model's statistics."""

from __future__ import annotations

from collections.abc import Iterator

from bnkit.inspection.facts.model import LayerFacts
from bnkit.inspection.facts.whole import Facts
from bnkit.rules.rule import Finding, Rule


def find(facts: Facts) -> Iterator[Finding]:
    """Look for statistics that were copied from the last model that went into the average."""
    averaging = facts.setup.averaging
    assert averaging is not None
    updates = averaging.updates
    # The average of one model is that model.
    if averaging.averages_buffers or (updates is not None and updates < 2):
        return
    for layer in facts.model.batch_norms:
        if not facts.is_trained(layer) or _is_frozen(facts, layer):
            continue
        if _was_recalibrated(facts, layer):
            continue
        models = f" of {updates} models" if updates else ""
        yield RULE.finding(
            layer.path,
            f"the weights are an average{models} ({averaging.type_name}), the running statistics "
            "those of the last one alone",
        )


def _is_frozen(facts: Facts, layer: LayerFacts) -> bool:
    held = [value for value in (layer.weight, layer.bias) if value is not None]
    is_fixed = bool(held) and not any(value.requires_grad for value in held)
    return facts.is_kept_frozen(layer) or (is_fixed and not layer.training)


def _was_recalibrated(facts: Facts, layer: LayerFacts) -> bool:
    """Return whether the counter shows that statistics were computed anew for the average.

    A pass such as update_bn counts from 0; training counts a batch at least per averaged model.
    """
    averaging, loader, counted = facts.setup.averaging, facts.setup.loader, layer.batches_tracked
    if counted is None or averaging is None:
        return False
    if averaging.updates is not None and counted < averaging.updates:
        return True
    epoch = None if loader is None else loader.batches_per_epoch
    return epoch is not None and counted <= epoch


RULE = Rule(
    code="BN506",
    name="averaged-weights-statistics",
    severity="W",
    needs="T",
    requires=("setup.averaging",),
    find=find,
    flags="A torch.optim.swa_utils.AveragedModel without use_buffers=True whose batch norms hold "
    "the statistics of the last model that was averaged.",
    why="Averaged weights give activations of other means and variances than each of the averaged "
    "models. Evaluated with one model's statistics, the average is often worse than any of them.",
    fine="Where the statistics were recalibrated after the last update and the check could not "
    "see it: it looks at num_batches_tracked, and at the loader if one is given.",
    before="""
averaged = torch.optim.swa_utils.AveragedModel(model)
for x, y in loader:
    train_step(model, x, y)
    averaged.update_parameters(model)
evaluate(averaged.eval())
""",
    after="""
averaged = torch.optim.swa_utils.AveragedModel(model)
for x, y in loader:
    train_step(model, x, y)
    averaged.update_parameters(model)
torch.optim.swa_utils.update_bn(loader, averaged)
evaluate(averaged.eval())
""",
    remedy="Recalibrate the running statistics of the averaged model on training data "
    "(bnkit.recalibrate), or average them with the weights (use_buffers=True).",
    source="Izmailov et al. 2018, “Averaging Weights Leads to Wider Optima and Better "
    "Generalization”, section 3.2.",
)
