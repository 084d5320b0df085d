"""BN701 fold-opportunity: a batch norm that inference need not run."""

from __future__ import annotations

from collections.abc import Iterator

from bnkit.inspection.facts.whole import Facts
from bnkit.rules.fold_pairs import FoldPair, fold_pairs
from bnkit.rules.rule import EVAL_EQUIVALENT, Finding, Rule
from bnkit.rules.wording import bytes_in_words, number_in_words


def find(facts: Facts) -> Iterator[Finding]:
    """Look for conv and linear layers beside a batch norm, with nothing in the way of a fold."""
    for pair in fold_pairs(facts):
        if not pair.obstacles:
            yield RULE.finding(pair.layer.path, f"folds into {pair.linear.name}: {_saved(pair)}")


def _saved(pair: FoldPair) -> str:
    # Each value is read, multiplied, added to and written.
    form = pair.norm.outputs[0]
    operations, moved = 2 * form.size, pair.norm.inputs[0].bytes + form.bytes
    return (
        f"that saves {number_in_words(operations)} operations and {bytes_in_words(moved)} of "
        "memory traffic in a forward on the example"
    )


RULE = Rule(
    code="BN701",
    name="fold-opportunity",
    severity="I",
    needs="G",
    find=find,
    flags="A conv or linear layer whose only consumer is a batch norm, or a batch norm whose only "
    "consumer is a linear layer or a conv without zero padding. The operations and the bytes read "
    "and written that a fold saves are those of one forward on the example.",
    why="In eval mode batch norm is an affine map per channel, and two linear maps in a row are "
    "one: with s = γ/√(running_var + eps), W' = s·W and b' = s·(b − running_mean) + β give the "
    "same output without a pass over the activations.",
    fine="In training, and as long as the network may be trained further: folding is for "
    "inference.",
    before="""
model = nn.Sequential(nn.Conv2d(3, 64, 3, bias=False), nn.BatchNorm2d(64), nn.ReLU()).eval()
""",
    after="""
from torch.nn.utils.fusion import fuse_conv_bn_eval

model = nn.Sequential(nn.Conv2d(3, 64, 3, bias=False), nn.BatchNorm2d(64), nn.ReLU()).eval()
model[0], model[1] = fuse_conv_bn_eval(model[0], model[1]), nn.Identity()
""",
    remedy="Fold the batch norm into that layer for inference: bnkit.fold.",
    safety=EVAL_EQUIVALENT,
    source="Jacob et al. 2018, “Quantization and Training of Neural Networks for Efficient "
    "Integer-Arithmetic-Only Inference”, section 3.2; torch.nn.utils.fusion.",
)
