"""BN503 weight-decay-on-norm: γ or β in a group with weight decay."""

from __future__ import annotations

from collections.abc import Iterator

from bnkit.inspection.facts.whole import Facts
from bnkit.rules.rule import EXACT, Finding, Rule


def find(facts: Facts) -> Iterator[Finding]:
    """Look up each layer's parameters in the optimizer's groups."""
    optimizer = facts.setup.optimizer
    assert optimizer is not None
    decay = {
        name: group.weight_decay
        for group in optimizer.groups
        for name in group.parameters
        if group.weight_decay > 0
    }
    for layer in facts.model.norms:
        module = facts.model.module(layer.path)
        held = module.parameters if module else {}
        found = {own: decay[name] for own, name in held.items() if name in decay}
        if found:
            yield RULE.finding(
                layer.path, f"{' and '.join(found)} decay by {max(found.values()):g} at each step"
            )


RULE = Rule(
    code="BN503",
    name="weight-decay-on-norm",
    severity="I",
    needs="T",
    requires=("setup.optimizer",),
    find=find,
    flags="γ or β of a normalization layer stand in a parameter group with weight decay.",
    why="Decay pulls γ and β to 0. That is no prior on the function as it is for weights that are "
    "not normalized, and small γ make channels dead; leaving them out often helps a little.",
    fine="Common recipes decay everything, on purpose: torchvision's references do by default.",
    before="""
optimizer = torch.optim.SGD(model.parameters(), lr=0.1, weight_decay=1e-4)
""",
    after="""
norms = {p for m in model.modules() if isinstance(m, nn.BatchNorm2d) for p in m.parameters()}
optimizer = torch.optim.SGD(
    [
        {"params": [p for p in model.parameters() if p not in norms], "weight_decay": 1e-4},
        {"params": list(norms), "weight_decay": 0.0},
    ],
    lr=0.1,
)
""",
    remedy="Put γ and β into a parameter group of their own, with weight_decay=0.",
    safety=EXACT,
    source="He et al. 2019, “Bag of Tricks for Image Classification”, section 3.1 (no bias decay).",
)
