"""BN602 sync-on-cpu: torch's SyncBatchNorm where it cannot synchronise."""

from __future__ import annotations

from collections.abc import Iterator

from bnkit.inspection.facts.model import LayerFacts
from bnkit.inspection.facts.whole import Facts
from bnkit.rules.rule import ERROR, INFO, Finding, Rule


def find(facts: Facts) -> Iterator[Finding]:
    """Look for torch's synchronised layers on the CPU; in eval mode they need no other process."""
    has_group = facts.setup.has_process_group
    for layer in facts.model.batch_norms:
        if layer.kind != "sync" or layer.home.startswith("bnkit.") or not _is_on_cpu(layer):
            continue
        if facts.is_kept_frozen(layer):
            continue
        if not has_group:
            yield RULE.finding(
                layer.path,
                "is torch's SyncBatchNorm with its tensors on the CPU: without a process group it "
                "runs as the plain layer, within one it raises in training",
                severity=INFO,
            )
        elif layer.training:
            yield RULE.finding(
                layer.path,
                "is torch's SyncBatchNorm with its tensors on the CPU, inside a process group of "
                f"{facts.setup.world_size}: its forward raises in training mode, whatever the "
                "number of processes",
            )
        else:
            yield RULE.finding(
                layer.path,
                "is torch's SyncBatchNorm with its tensors on the CPU, inside a process group: it "
                "runs in eval mode, and would raise in training",
                severity=INFO,
            )


def _is_on_cpu(layer: LayerFacts) -> bool:
    held = (layer.weight, layer.bias, layer.running_mean, layer.running_var)
    devices = {tensor.device for tensor in held if tensor is not None}
    return devices == {"cpu"}


RULE = Rule(
    code="BN602",
    name="sync-on-cpu",
    severity=ERROR,
    severities=(ERROR, INFO),
    needs="M",
    find=find,
    flags="torch.nn.SyncBatchNorm with its tensors on the CPU: an error inside a process group, in "
    "training mode; else an info.",
    why="torch synchronises on accelerators only. On the CPU the layer raises “SyncBatchNorm "
    "expected input tensor to be on …” as soon as there is a process group, even of one process; "
    "without one it silently is the plain layer.",
    fine="Before the model is moved to its device, and in eval mode.",
    before="""
model = nn.SyncBatchNorm.convert_sync_batchnorm(model)
torch.distributed.init_process_group("gloo")
model(x)  # on the CPU
""",
    after="""
torch.distributed.init_process_group("gloo")
model(x)  # plain batch norms, with enough samples per process
""",
    remedy="Move the model to its accelerator, or keep the plain layer where it runs on the CPU.",
    source="torch.nn.SyncBatchNorm.forward, which takes the synchronised path only on CUDA, HPU, "
    "XPU and private backends, and raises elsewhere.",
)
