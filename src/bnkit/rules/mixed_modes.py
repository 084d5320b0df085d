"""BN304 mixed-modes: batch norms in eval mode that still train, beside others in training mode."""

from __future__ import annotations

from collections.abc import Iterator

from bnkit.inspection.facts.model import LayerFacts
from bnkit.inspection.facts.whole import Facts
from bnkit.rules.rule import Finding, Rule
from bnkit.rules.wording import listed


def find(facts: Facts) -> Iterator[Finding]:
    """Name the layers whose mode is not the model's own."""
    layers = [layer for layer in facts.model.batch_norms if layer.has_statistics]
    in_training = [layer for layer in layers if layer.training]
    half_frozen = [layer for layer in layers if not layer.training and _trained(layer)]
    if not in_training or not half_frozen:
        return
    if facts.model.training:
        others = f"{len(in_training)} other{'' if len(in_training) == 1 else 's'}"
        for layer in half_frozen:
            yield RULE.finding(
                layer.path,
                f"is in eval mode, so its statistics stand still, while its {_trained(layer)} "
                f"train and {others} normalize by the batch",
            )
    else:
        others = f"{len(half_frozen)} other{'' if len(half_frozen) == 1 else 's'}"
        shown = listed([layer.path for layer in half_frozen], 3)
        for layer in in_training:
            yield RULE.finding(
                layer.path,
                "is in training mode in a model that is in eval mode: it normalizes by the batch "
                f"and moves its statistics, while {others} of trained γ and β do not ({shown})",
            )


def _trained(layer: LayerFacts) -> str:
    """Return which of γ and β are trained, in words; empty if none is."""
    held = (("γ", layer.weight), ("β", layer.bias))
    return " and ".join(name for name, value in held if value and value.requires_grad)


RULE = Rule(
    code="BN304",
    name="mixed-modes",
    severity="W",
    needs="M",
    find=find,
    flags="Some batch norms are in eval mode although their γ and β are trained, others of the "
    "same model in training mode. Named are those whose mode is not the model's.",
    why="Usually a .eval() or .train() on a part was forgotten: the layers that were left in eval "
    "mode normalize by statistics that no longer follow the weights before them, which the "
    "optimizer goes on changing.",
    fine="Where a pretrained part is to keep its statistics and adapt γ and β to them, as some "
    "detection recipes do.",
    before="""
model.train()
validate(model.backbone.eval())
train_one_epoch(model)  # the backbone is still in eval mode
""",
    after="""
model.eval()
validate(model.backbone)
model.train()
train_one_epoch(model)
""",
    remedy="Call train() or eval() on the whole model; of layers that are to stay in eval mode, "
    "freeze γ and β too: bnkit.freeze.",
    source="torch.nn.Module.train, which sets the mode of a module and of all below it.",
)
