"""BN303 no-statistics-in-eval: batch norm that needs a batch at inference too."""

from __future__ import annotations

from collections.abc import Iterator

from bnkit.inspection.facts.whole import Facts
from bnkit.rules.rule import Finding, Rule


def find(facts: Facts) -> Iterator[Finding]:
    """Look for batch norms without buffers; instance norm has none by design."""
    for layer in facts.model.batch_norms:
        lacking = [name for name in ("running_mean", "running_var") if getattr(layer, name) is None]
        if not lacking:
            continue
        flag = " (track_running_stats=False)" if not layer.track_running_stats else ""
        yield RULE.finding(
            layer.path,
            f"has no {' and no '.join(lacking)}{flag}: in eval mode it normalizes by the batch, so "
            "what it returns for a sample depends on the others, and one value per channel gives "
            "β alone",
        )


RULE = Rule(
    code="BN303",
    name="no-statistics-in-eval",
    severity="W",
    needs="M",
    find=find,
    flags="A batch norm without running statistics (track_running_stats=False, or the buffers set "
    "to None).",
    why="Its output for a sample depends on what else is in the batch, in eval mode too: results "
    "change with batch size and order, a single vector gives β, and an export holds batch norm "
    "in training mode, which many runtimes refuse.",
    fine="Where the batch is meant to be the reference at test time: transductive few-shot "
    "learning, test-time adaptation, some image generators.",
    before="""
nn.BatchNorm2d(64, track_running_stats=False)
""",
    after="""
nn.BatchNorm2d(64)
""",
    remedy="Build the layer with track_running_stats=True, load the other parameters with "
    "strict=False, and run training data through it in training mode under torch.no_grad().",
    source="torch.nn.BatchNorm2d, on track_running_stats; Ioffe and Szegedy 2015, section 3.1.",
)
