"""BN702 unsafe-fold: a pair that looks foldable and is not."""

from __future__ import annotations

from collections.abc import Iterator

from bnkit.inspection.facts.whole import Facts
from bnkit.rules.fold_pairs import fold_pairs
from bnkit.rules.rule import Finding, Rule


def find(facts: Facts) -> Iterator[Finding]:
    """Look for conv and linear layers beside a batch norm where a fold would change the output."""
    for pair in fold_pairs(facts):
        if pair.obstacles:
            where = "after" if pair.is_after else "before"
            yield RULE.finding(
                pair.layer.path,
                f"stands {where} {pair.linear.name} and must not be folded into it: "
                + "; ".join(pair.obstacles),
            )


RULE = Rule(
    code="BN702",
    name="unsafe-fold",
    severity="I",
    needs="G",
    find=find,
    flags="A batch norm beside a conv or linear layer that a fold would make wrong: the conv is "
    "shared, its output has another consumer or is returned, a hook or parametrization is on one "
    "of the two, its weight is tied, a linear layer gets 3-D input before BatchNorm1d, or the "
    "batch norm stands before a conv that pads with zeros.",
    why="The network is legal. Tools that fold by looking at neighbours give wrong numbers without "
    "a word: torch.fx's fuse errs by 2.6 where one conv feeds two batch norms, and by 1.65 for "
    "Linear → BatchNorm1d on (N, C, L) with C = L.",
    fine="Always, unless somebody folds it. It says why one batch norm stays when the others go.",
    before="""
class Net(nn.Module):
    def forward(self, x):
        x = self.conv(x)
        return self.norm(x) + x  # the conv's output is needed as it is


folded = torch.fx.experimental.optimization.fuse(Net().eval())
""",
    after="""
class Net(nn.Module):
    def forward(self, x):
        x = self.conv(x)
        return self.norm(x) + x


deployed = Net().eval()  # this pair stays as it is
""",
    remedy="Leave this pair as it is, or take away what stands in the way before folding.",
    source="torch.fx.experimental.optimization.fuse and torch.nn.utils.fusion in torch 2.13.0, "
    "measured.",
)
