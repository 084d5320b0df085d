"""BN504 parameters-missing-from-optimizer: γ and β that no step changes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from bnkit.inspection.facts.model import ModuleFacts
from bnkit.inspection.facts.setup import OptimizerFacts
from bnkit.inspection.facts.whole import Facts
from bnkit.rules.rule import Finding, Rule


def find(facts: Facts) -> Iterator[Finding]:
    """Look for trained γ and β that are left out while what stands around them is not.

    A part that is left out as a whole, convolutions and all, is left out on purpose.
    """
    optimizer = facts.setup.optimizer
    assert optimizer is not None
    if "AveragedModel" in facts.model.wrappers:
        return  # averaged weights are nobody's to train
    held = {name for group in optimizer.groups for name in group.parameters}
    foreign = Counter(shape for group in optimizer.groups for shape in group.foreign)
    paths = {layer.path for layer in facts.model.norms}
    modules = [module for module in facts.model.modules if module.parameters]
    for number, module in enumerate(modules):
        if module.path not in paths:
            continue
        missing = _missing(facts, module, held)
        if not missing:
            continue
        replaced = _has_twins(facts, missing, foreign)
        if replaced or _stands_among(facts, modules, number, _Known(held, paths)):
            yield RULE.finding(module.path, _message(missing, replaced, optimizer))


@dataclass(frozen=True)
class _Known:
    held: set[str]
    norms: set[str]


def _missing(facts: Facts, module: ModuleFacts, held: set[str]) -> Mapping[str, str]:
    found = {}
    for own, name in module.parameters.items():
        parameter = facts.model.parameter(name)
        if parameter is not None and parameter.requires_grad and name not in held:
            found[own] = name
    return found


def _has_twins(
    facts: Facts, missing: Mapping[str, str], foreign: Mapping[tuple[int, ...], int]
) -> bool:
    """Return whether the optimizer holds tensors that look like what is missing."""
    needed: Counter[tuple[int, ...]] = Counter()
    for name in missing.values():
        parameter = facts.model.parameter(name)
        assert parameter is not None
        needed[parameter.shape] += 1
    return all(foreign.get(shape, 0) >= count for shape, count in needed.items())


def _stands_among(facts: Facts, modules: list[ModuleFacts], number: int, known: _Known) -> bool:
    """Return whether what stands before and after a layer, norms apart, is all trained.

    At an end of the model one side is enough; without either, another norm's parameters are.
    """
    sides = (reversed(modules[:number]), modules[number + 1 :])
    nearest = [next((m for m in side if _trains_weights(facts, m, known)), None) for side in sides]
    there = [module for module in nearest if module is not None]
    if not there:
        return any(name in known.held for module in modules for name in module.parameters.values())
    return all(known.held.intersection(module.parameters.values()) for module in there)


def _trains_weights(facts: Facts, module: ModuleFacts, known: _Known) -> bool:
    if module.path in known.norms:
        return False
    parameters = [facts.model.parameter(name) for name in module.parameters.values()]
    return any(parameter is not None and parameter.requires_grad for parameter in parameters)


def _message(missing: Mapping[str, str], replaced: bool, optimizer: OptimizerFacts) -> str:
    names = " and ".join(missing)
    verb = "are" if len(missing) > 1 else "is"
    text = f"{names} {verb} to be trained, and {verb} in no group of the {optimizer.type_name}"
    if replaced:
        count = sum(len(group.foreign) for group in optimizer.groups)
        text += (
            f"; {count} tensors in it are none of this model's, some of the same shape: it was "
            "built before the model was converted, copied or rebuilt"
        )
    return text


RULE = Rule(
    code="BN504",
    name="parameters-missing-from-optimizer",
    severity="E",
    needs="T",
    requires=("setup.optimizer",),
    find=find,
    flags="γ or β has requires_grad=True and stands in no parameter group, although the weights "
    "before and after the layer do; or the optimizer holds tensors of that shape that are no "
    "longer the model's.",
    why="Gradients are computed for it and thrown away: γ stays at 1, β at 0. It happens where "
    "groups are built by name or class (“no decay for norms” that forgets the second group), and "
    "where layers are converted after the optimizer was built.",
    fine="Where γ and β are to stay as they are; say so with requires_grad_(False).",
    before="""
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
model = convert_norms(model)  # new layers with new parameters
""",
    after="""
model = convert_norms(model)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
""",
    remedy="Build the optimizer after the last change of the model, with every parameter in one of "
    "its groups.",
    source="torch.optim, “Constructing it”: an optimizer holds the tensors it was given; the model "
    "must be in its final form before.",
)
