"""BN204 padding-in-statistics: padded tails of sequences are counted as data."""

from __future__ import annotations

from collections.abc import Iterator

from bnkit.inspection.facts.data import InputValues
from bnkit.inspection.facts.graph import CallFacts
from bnkit.inspection.facts.whole import Facts
from bnkit.rules.rule import Finding, Rule


def find(facts: Facts) -> Iterator[Finding]:
    """Look for samples that end in constant positions, of lengths that differ."""
    assert facts.forward is not None
    assert facts.graph is not None
    seen: set[str] = set()
    for values in facts.forward.inputs:
        call = facts.graph.calls[values.call]
        layer = facts.trained_norm(call)
        if layer is None or layer.path in seen:
            continue
        share = _padded_share(values)
        if share < RULE.threshold(facts, "share") or _takes_mask(call):
            continue
        seen.add(layer.path)
        tails = [_tail(count) for count in values.trailing_constant]
        yield RULE.finding(
            layer.path,
            f"{share:.0%} of the positions it takes are tails that are constant in all channels, "
            f"{min(tails)} to {max(tails)} of {values.length} positions long (input "
            f"{call.inputs[0].shape}): padding enters mean and variance",
        )


def _tail(count: int) -> int:
    return count if count > 1 else 0


def _padded_share(values: InputValues) -> float:
    """Return the share of padded positions; 0 where the tails do not look like padding.

    Tails of one length are no padding; nor are the margins of images, which lie at both ends.
    """
    tails = [_tail(count) for count in values.trailing_constant]
    heads = [_tail(count) for count in values.leading_constant]
    if len(set(tails)) < 2 or not values.length or 2 * sum(heads) > sum(tails):
        return 0.0
    return sum(tails) / (len(tails) * values.length)


def _takes_mask(call: CallFacts) -> bool:
    """Return whether a module is given more than its input and a residual of the same shape."""
    if not call.is_module:
        return False
    shape = call.inputs[0].shape
    return any(
        form.shape != shape or not form.dtype.startswith(("float", "bfloat"))
        for form in call.inputs[1:]
    )


RULE = Rule(
    code="BN204",
    name="padding-in-statistics",
    severity="W",
    needs="F",
    thresholds={"share": 0.25},
    find=find,
    flags="At least a quarter of the positions that a trained batch norm takes are at the ends of "
    "samples, constant in all channels, and of lengths that differ between samples. Along any "
    "spatial axis, and also where sequences are flattened to N·L rows.",
    why="Each padded position counts as a value: the variance shrinks, the mean moves to the "
    "padding's value, and both depend on how long the longest sample of a batch is. The same "
    "sample gives another output beside longer ones, and eval mode another one again.",
    fine="Where the constant tails are data, silence for example, and as frequent in use.",
    before="""
x = nn.utils.rnn.pad_sequence(sequences, batch_first=True).transpose(1, 2)
y = nn.BatchNorm1d(64)(x)
""",
    after="""
rows = torch.cat(sequences)  # (all real positions, C)
y = nn.BatchNorm1d(64)(rows).split([len(sequence) for sequence in sequences])
""",
    remedy="Normalize real positions alone, with a masked batch norm or on the rows that the mask "
    "selects; put samples of similar length into a batch; or use layer norm.",
    source="Amodei et al. 2016, “Deep Speech 2”, section 3.2: statistics over the items of a batch "
    "and over their time steps.",
)
