"""BN501 momentum-convention: momentum that looks like another library's decay."""

from __future__ import annotations

from collections.abc import Iterator

from bnkit.inspection.facts.model import LayerFacts
from bnkit.inspection.facts.whole import Facts
from bnkit.rules.rule import BY_HAND, EXACT, Finding, Rule

_DEFAULT = 0.1


def find(facts: Facts) -> Iterator[Finding]:
    """Look for a large momentum where running statistics are tracked."""
    for layer in facts.model.batch_norms:
        if not takes_decay_for_momentum(facts, layer):
            continue
        momentum = layer.momentum
        assert momentum is not None
        decay = round(1 - momentum, 10)
        if momentum == 1:
            message = "momentum is 1: the running statistics are those of the last batch alone"
        else:
            message = (
                f"momentum is {momentum:g}: the new batch weighs {momentum:g} and all before it "
                f"{decay:g}, so the running statistics average over about {1 / momentum:.2g} "
                "batches"
            )
        if 0 < decay < _limit(facts):
            remedy = (
                f"Set momentum to {decay:g}: torch's momentum is the weight of the new batch, "
                f"1 − the decay {momentum:g} of Keras, TensorFlow and Flax."
            )
            yield RULE.finding(layer.path, message, remedy=remedy)
        else:
            remedy = f"Set momentum to torch's default {_DEFAULT:g}, or to 0.01 for long training."
            yield RULE.finding(layer.path, message, remedy=remedy, safety=BY_HAND)


def takes_decay_for_momentum(facts: Facts, layer: LayerFacts) -> bool:
    """Return whether a layer's momentum is so large that BN501 flags it."""
    if layer.momentum is None or layer.momentum < _limit(facts):
        return False
    return layer.has_statistics and layer.track_running_stats and not facts.is_kept_frozen(layer)


def _limit(facts: Facts) -> float:
    return RULE.threshold(facts, "momentum")


RULE = Rule(
    code="BN501",
    name="momentum-convention",
    severity="W",
    needs="M",
    find=find,
    flags="A batch norm with momentum of 0.5 or more that tracks running statistics.",
    why="In torch, momentum is the weight of the NEW batch; Keras, TensorFlow and Flax give the "
    "weight of the OLD statistics that name. 0.99 copied from there makes the running statistics "
    "those of the last batch, and eval mode as noisy as a single batch.",
    fine="For a pass over data right after the statistics were reset; or where they are not used.",
    before="""
nn.BatchNorm2d(64, momentum=0.99)  # Keras's default
""",
    after="""
nn.BatchNorm2d(64, momentum=0.01)
""",
    remedy="Set momentum to 1 − momentum.",
    safety=EXACT,
    thresholds={"momentum": 0.5},
    source="torch.nn.BatchNorm2d, the note on momentum; keras.layers.BatchNormalization; "
    "flax.linen.BatchNorm.",
)
