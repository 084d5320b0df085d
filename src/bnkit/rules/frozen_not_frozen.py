"""BN301 frozen-not-frozen: parameters are frozen, running statistics move on."""

from __future__ import annotations

from collections.abc import Iterator

from bnkit.inspection.facts.whole import Facts
from bnkit.rules.rule import EVAL_EQUIVALENT, Finding, Rule


def find(facts: Facts) -> Iterator[Finding]:
    """Look for layers in training mode, none of whose parameters is trained."""
    for layer in facts.model.batch_norms:
        parameters = [held for held in (layer.weight, layer.bias) if held is not None]
        if not parameters or any(held.requires_grad for held in parameters):
            continue
        if layer.updates_statistics:
            yield RULE.finding(
                layer.path,
                "weight and bias have requires_grad=False, but it is in training mode: each "
                "forward moves its running statistics, and it normalizes by the batch",
            )


RULE = Rule(
    code="BN301",
    name="frozen-not-frozen",
    severity="W",
    needs="M",
    find=find,
    flags="weight and bias have requires_grad=False, yet the layer is in training mode and tracks "
    "running statistics.",
    why="requires_grad stops gradients, not statistics. A “frozen” backbone in training mode "
    "normalizes by the batches of the new task and overwrites what it had learnt, so it drifts "
    "with every forward, also under no_grad.",
    fine="Where the statistics are meant to adapt to new data while γ and β stay (adaptive batch "
    "normalization), and in a momentum copy of another part of the model, the teacher of MoCo and "
    "BYOL: silence it there.",
    before="""
for parameter in backbone.parameters():
    parameter.requires_grad_(False)
model.train()
""",
    after="""
for parameter in backbone.parameters():
    parameter.requires_grad_(False)
model.train()
backbone.eval()  # after each model.train()
""",
    remedy="Freeze the statistics too, with bnkit.freeze: they then stay whatever model.train() "
    "says.",
    safety=EVAL_EQUIVALENT,
    source="torch.nn.Module.requires_grad_ and .eval; Li et al. 2016, “Revisiting Batch "
    "Normalization for Practical Domain Adaptation”, for the exception.",
)
