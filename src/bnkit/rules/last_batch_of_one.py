"""BN203 last-batch-of-one: the epoch ends with one sample, and one value per channel."""

from __future__ import annotations

from collections.abc import Iterator

from bnkit.inspection.facts.setup import LoaderFacts
from bnkit.inspection.facts.whole import Facts
from bnkit.rules.rule import Finding, Rule


def find(facts: Facts) -> Iterator[Finding]:
    """Name the layers that the last batch gives one value per channel.

    Without an example these are the BatchNorm1d, which most often take (N, C).
    """
    loader = facts.setup.loader
    assert loader is not None
    if not _leaves_one(loader):
        return
    samples = loader.samples_per_epoch or loader.dataset_length
    for place, doubt in _layers_of_one(facts).items():
        yield RULE.finding(
            place,
            f"{samples} samples in batches of {loader.batch_size} leave one for the last batch, "
            f"which gives this layer one value per channel{doubt}: torch raises there",
        )


def _leaves_one(loader: LoaderFacts) -> bool:
    # The sampler's length is that of one rank, as distributed samplers count.
    samples = loader.samples_per_epoch or loader.dataset_length
    if loader.drop_last or loader.batch_size is None or samples is None:
        return False
    return samples % loader.batch_size == 1


def _layers_of_one(facts: Facts) -> dict[str, str]:
    if facts.graph is None:
        return {
            layer.path: ", if its input is (N, C)"
            for layer in facts.model.batch_norms
            if layer.ranks == (2, 3) and not facts.is_kept_frozen(layer)
        }
    found: dict[str, str] = {}
    for call in facts.graph.norm_calls:
        m = facts.graph.training_values_per_channel(call, 1)
        if m is None or not facts.normalizes_by_batch(call):
            continue
        if m * facts.ranks_together(call) <= 1:
            found[call.place] = ""
    return found


RULE = Rule(
    code="BN203",
    name="last-batch-of-one",
    severity="E",
    needs="T",
    requires=("setup.loader",),
    find=find,
    flags="The number of samples modulo the batch size is 1, per process, without drop_last, and a "
    "batch norm takes vectors or maps that were pooled to 1×1.",
    why="Training runs for an epoch and stops at its last batch with “Expected more than 1 value "
    "per channel when training”. Where a layer does not check, the sample's output is β, and its "
    "gradient 0.",
    fine="Where every batch norm sees maps larger than 1×1, or is frozen. With an example input "
    "only layers that really have one value are named; without one every BatchNorm1d is.",
    before="""
loader = DataLoader(dataset, batch_size=32, shuffle=True)  # len(dataset) == 50001
""",
    after="""
loader = DataLoader(dataset, batch_size=32, shuffle=True, drop_last=True)
""",
    remedy="Give the training loader drop_last=True, or another batch size.",
    source="torch.nn.functional.batch_norm (_verify_batch_size); torch.utils.data.DataLoader.",
)
