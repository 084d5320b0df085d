"""BN703 lossy-conversion: a layer that torch's converters would rebuild without what it adds."""

from __future__ import annotations

from collections.abc import Iterator

from bnkit.inspection.facts.model import LayerFacts
from bnkit.inspection.facts.whole import Facts
from bnkit.rules.fold_pairs import PLAIN_LAYERS
from bnkit.rules.rule import ERROR, INFO, Finding, Rule
from bnkit.rules.wording import listed


def find(facts: Facts) -> Iterator[Finding]:
    """Look for subclasses with behaviour of their own."""
    conversion = facts.setup.conversion
    for layer in facts.model.batch_norms:
        lost = _lost(layer)
        if not lost:
            continue
        asked = f", and a conversion to {conversion} is asked for" if conversion else ""
        yield RULE.finding(
            layer.path,
            f"torch's converters would build a plain layer from this {layer.type_name} and drop "
            f"{lost}{asked}",
            severity=ERROR if conversion else INFO,
        )


def _lost(layer: LayerFacts) -> str:
    """Return what a converter would drop; empty if nothing."""
    lost = []
    is_bnkits = layer.home.startswith("bnkit.")
    if layer.has_own_forward or (is_bnkits and layer.type_name not in PLAIN_LAYERS):
        lost.append("its forward")
    if layer.children:
        lost.append(f"its modules {listed(layer.children)}")
    if layer.parametrized:
        lost.append(f"the parametrization of {listed(layer.parametrized)}")
    return " and ".join(lost)


RULE = Rule(
    code="BN703",
    name="lossy-conversion",
    severity="I",
    severities=("I", "E"),
    needs="M",
    find=find,
    flags="A subclass of torch's batch norm with behaviour of its own: another forward (a fused "
    "activation, a gate), modules inside, a parametrization. An error where a conversion is "
    "asked for (conversion=).",
    why="torch.nn.SyncBatchNorm.convert_sync_batchnorm builds a bare SyncBatchNorm from every "
    "subclass and copies its parameters and buffers, nothing else. The activation is gone "
    "without a word, and the conversion cannot be undone.",
    fine="As long as nobody converts the model.",
    before="""
class BatchNormReLU(nn.BatchNorm2d):
    def forward(self, x):
        return super().forward(x).relu()


model = nn.Sequential(nn.Conv2d(3, 8, 3), BatchNormReLU(8))
model = nn.SyncBatchNorm.convert_sync_batchnorm(model)  # no ReLU any more
""",
    after="""
class SyncBatchNormReLU(nn.SyncBatchNorm):
    def forward(self, x):
        return super().forward(x).relu()


model = nn.Sequential(nn.Conv2d(3, 8, 3), SyncBatchNormReLU(8))
""",
    remedy="Convert it with bnkit.convert, which keeps what the layer adds or refuses it.",
    source="torch.nn.SyncBatchNorm.convert_sync_batchnorm in torch 2.13.0.",
)
