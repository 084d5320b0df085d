"""BN306 double-update: running statistics move k times for one batch."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from bnkit.inspection.facts.steps import WatchedLayer
from bnkit.inspection.facts.whole import Facts
from bnkit.rules.rule import Finding, Rule


def find(facts: Facts) -> Iterator[Finding]:
    """Look for layers that in most steps are updated more than once per batch.

    Where gradients add up over several backwards, each stands for a batch, which is BN505's matter.
    """
    steps = facts.steps
    assert steps is not None
    for watched in steps.layers:
        ratios = [
            (updates, max(batches, 1), again)
            for updates, batches, again in zip(
                watched.updates, steps.accumulated, watched.recomputed, strict=True
            )
            if updates
        ]
        multiple = [item for item in ratios if item[0] > item[1]]
        if 2 * len(multiple) <= len(ratios):
            continue
        (updates, batches, again), count = Counter(multiple).most_common(1)[0]
        layer = facts.model.layer(watched.layer)
        if layer is not None and layer.momentum is None and updates - again == batches:
            continue  # in the plain average each batch counts twice alike
        yield RULE.finding(
            watched.layer,
            f"{_what(watched, facts)} advances by {updates} per optimizer step, in {count} of "
            f"{len(ratios)} steps{_why(updates, batches, again)}",
            remedy=_remedy(facts, watched.layer, updates / batches, again),
        )


def _what(watched: WatchedLayer, facts: Facts) -> str:
    layer = facts.model.layer(watched.layer)
    has_counter = layer is None or layer.batches_tracked is not None
    return "num_batches_tracked" if has_counter else "the number of its updates"


def _why(updates: int, batches: int, again: int) -> str:
    accumulated = f" for {batches} backwards" if batches > 1 else ""
    if again and updates - again == batches:
        return f"{accumulated}: each forward ran again in backward (checkpointing)"
    if again:
        return f"{accumulated}: {updates - again} forwards, and {again} again in backward"
    return f"{accumulated}: {updates} forwards in training mode lead to {_backward(batches)}"


def _backward(batches: int) -> str:
    return "one backward" if batches == 1 else f"{batches} backwards"


def _remedy(facts: Facts, path: str, k: float, again: int) -> str:
    layer = facts.model.layer(path)
    momentum = None if layer is None else layer.momentum
    value = ""
    if momentum and momentum < 1:
        value = f" = {1 - (1 - momentum) ** (1 / k):.3g}"
    text = (
        f"Set momentum to 1 − (1 − momentum)^(1/{k:g}){value}, so that {k:g} updates count as one"
    )
    if again:
        return f"{text}; or leave batch norms out of what is checkpointed."
    return (
        f"{text}; where the forwards see different data, concatenate them into one, or run all but "
        "one in eval mode."
    )


RULE = Rule(
    code="BN306",
    name="double-update",
    severity="W",
    needs="S",
    find=find,
    flags="During watched training (bnkit.watch) the statistics of a layer are updated more than "
    "once per backward in most optimizer steps: by activation checkpointing, or by several "
    "forwards.",
    why="k updates by the same batch act as one of momentum 1 − (1 − momentum)^k: statistics get "
    "noisier than momentum says, 0.19 where 0.1 is set and checkpointing runs each layer twice. "
    "Several forwards also mix what may be different data, of which the last weighs most.",
    fine="Where several forwards of one step see batches alike, such as the two views of "
    "contrastive learning; the shorter window is then all that it changes.",
    before="""
x = torch.utils.checkpoint.checkpoint(block, x, use_reentrant=False)  # batch norms in it
""",
    after="""
for module in block.modules():
    if isinstance(module, nn.BatchNorm2d):
        module.momentum = 1 - (1 - module.momentum) ** 0.5
x = torch.utils.checkpoint.checkpoint(block, x, use_reentrant=False)
""",
    remedy="Set momentum to 1 − (1 − momentum)^(1/k).",
    source="torch.utils.checkpoint, which runs forward again during backward; k updates by one "
    "batch leave (1 − momentum)^k of what was there.",
)
