"""BN302 tracking-off-as-freeze: statistics that only eval mode uses."""

from __future__ import annotations

from collections.abc import Iterator

from bnkit.inspection.facts.whole import Facts
from bnkit.rules.rule import EVAL_EQUIVALENT, Finding, Rule


def find(facts: Facts) -> Iterator[Finding]:
    """Look for running statistics that are not tracked; a layer kept in eval mode uses them."""
    for layer in facts.model.batch_norms:
        if layer.track_running_stats or not layer.has_statistics or facts.is_kept_frozen(layer):
            continue
        counted = layer.batches_tracked
        known = f" of {counted} batches" if counted else ""
        yield RULE.finding(
            layer.path,
            f"track_running_stats is False and it holds running statistics{known}: in training it "
            "normalizes by the batch and leaves them as they are, in eval mode by them",
        )


RULE = Rule(
    code="BN302",
    name="tracking-off-as-freeze",
    severity="E",
    needs="M",
    find=find,
    flags="track_running_stats was set to False on a layer that has running statistics.",
    why="The flag keeps statistics from moving, but does not make training use them: training "
    "normalizes by the batch, eval mode by statistics that the weights have long left. The gap "
    "grows with every step, and no message tells of it.",
    fine="Where the layer is in eval mode while the model trains: then it is frozen, and the flag "
    "changes nothing.",
    before="""
for module in model.modules():
    if isinstance(module, nn.BatchNorm2d):
        module.track_running_stats = False  # "freeze"
model.train()
""",
    after="""
model.train()
for module in model.modules():
    if isinstance(module, nn.BatchNorm2d):
        module.eval()  # after each model.train()
        module.requires_grad_(False)
""",
    remedy="Set track_running_stats back to True; to freeze the layer, use bnkit.freeze.",
    safety=EVAL_EQUIVALENT,
    source="torch.nn.modules.batchnorm._BatchNorm.forward: bn_training is `self.training`, "
    "whatever the flag, where there are buffers.",
)
