"""BN103 never-updated-statistics: initial running statistics in a model that was trained."""

from __future__ import annotations

from collections.abc import Iterator

from bnkit.inspection.facts.whole import Facts
from bnkit.rules.rule import Finding, Rule


def find(facts: Facts) -> Iterator[Finding]:
    """Look for layers that were left behind; a fresh model is healthy in every mode."""
    for layer in facts.model.batch_norms:
        if not facts.is_never_updated(layer):
            continue
        if facts.any_batch_norm_moved:
            reason = "other batch norms of this model have moved"
        elif facts.model.weights_loaded:
            reason = "weights were loaded"
        else:
            reason = "its γ or β were trained"
        yield RULE.finding(
            layer.path, f"running_mean is 0 and running_var 1 throughout, although {reason}"
        )


RULE = Rule(
    code="BN103",
    name="never-updated-statistics",
    severity="E",
    needs="M",
    find=find,
    flags="num_batches_tracked is 0 and the running statistics are the initial zeros and ones, "
    "although another batch norm has moved, weights were loaded, or this layer's γ or β have left "
    "their initial values.",
    why="In eval mode the layer normalizes by 0 and 1, so it does not normalize at all, and the "
    "layers after it get inputs of a scale that they never saw in training.",
    fine="In a model that was not trained yet: a fresh model is healthy, also in eval mode, and "
    "also where γ and β are drawn, from the same distribution in every layer.",
    before="""
model.load_state_dict(weights, strict=False)  # the file has no running statistics
model.eval()
""",
    after="""
model.load_state_dict(weights, strict=False)
model.train()
with torch.no_grad():
    for x, _ in loader:
        model(x)
model.eval()
""",
    remedy="Recalibrate the running statistics on training data (bnkit.recalibrate), or load those "
    "that belong to the weights.",
    source="Ioffe and Szegedy 2015, section 3.1: inference uses the population statistics.",
)
