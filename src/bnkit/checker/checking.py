"""`check`: a model and what was given with it → facts → the rules' findings → a report."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn

from bnkit.checker.report import NotRun, Report
from bnkit.checker.silencing import Silence, apply_silences, read_silences
from bnkit.errors import CheckError
from bnkit.inspection.batches import Batch, batches_of
from bnkit.inspection.data_pass import read_data
from bnkit.inspection.facts.steps import StepFacts
from bnkit.inspection.facts.whole import Facts
from bnkit.inspection.preserve import kept_random_state
from bnkit.inspection.rank_buffers import compare_ranks
from bnkit.inspection.read_graph import read_graph
from bnkit.inspection.read_setup import read_setup
from bnkit.inspection.trace import Example, refuse_uninitialized, uncompiled
from bnkit.inspection.walk import walk
from bnkit.rules.registry import resolve_thresholds, select_rules
from bnkit.rules.rule import SEVERITIES, Finding, Rule


def check(
    model: nn.Module,
    example_args: Example | None = None,
    *,
    data: Any = None,
    domains: Mapping[str, Any] | None = None,
    optimizer: Any = None,
    loader: Any = None,
    batch_size: int | None = None,
    accumulation_steps: int | None = None,
    total_steps: int | None = None,
    target_dtype: torch.dtype | str | None = None,
    conversion: str | None = None,
    weights_loaded: bool = False,
    steps: StepFacts | None = None,
    select: Iterable[str] | None = None,
    ignore: Iterable[str] | None = None,
    thresholds: Mapping[str, Any] | None = None,
    silence: Iterable[Silence | Mapping[str, Any]] = (),
    target: str = "",
) -> Report:
    """Look for batch-norm mistakes in a model; the model is left as it was.

    A rule whose input was not given is reported as not run, never as passed.

    Args:
        model: any module, in the mode and on the device that it is used in.
        example_args: what one forward takes: a tensor, positional arguments in a tuple or list, or
            keywords in a mapping. Only shapes and dtypes matter.
        data: real data: a tensor or array, a tuple (inputs, labels) or mapping of them, a data
            set, a loader, or what else yields batches. The first batch serves as example.
        domains: name of a domain → its data.
        optimizer: the one that trains the model; it is read.
        loader: what yields the training batches; it is read and not iterated.
        batch_size: samples of a training batch on one process; without it the loader's.
        accumulation_steps: batches per optimizer step.
        total_steps: optimizer steps of the whole training.
        target_dtype: the dtype that the model is to run in.
        conversion: what the model is to be converted to, such as "sync".
        weights_loaded: whether trained weights were loaded into the model.
        steps: what `bnkit.watch` saw of the training, its `.steps`.
        select, ignore: codes, names, or beginnings of codes such as "BN4".
        thresholds: rule → a number, or threshold → number.
        silence: findings that are not to count: code, layer and reason of each.
        target: how the model is to be called in the report.

    Raises:
        CheckError: an unknown rule, or something given that cannot be used.
        ForwardError: the model's forward raised; the layer is named.

    Cost: a walk over the modules; with an example one forward and a copy of the model while it
    runs; with data one more forward per batch. In a process group of several ranks BN603 waits up
    to 15 s for the others to call this too.
    """
    if not isinstance(model, nn.Module):
        raise CheckError(f"model is a {type(model).__name__}", required="a torch.nn.Module")
    rules = chosen_rules(select, ignore)
    silences = read_silences(silence)
    limits = resolve_thresholds(thresholds or {})
    refuse_uninitialized(model)
    walked = walk(model, weights_loaded=weights_loaded, measure_weights=target_dtype is not None)
    setup = read_setup(
        model,
        walked,
        optimizer=optimizer,
        loader=loader,
        batch_size=batch_size,
        accumulation_steps=accumulation_steps,
        total_steps=total_steps,
        target_dtype=target_dtype,
        conversion=conversion,
    )
    if setup.world_size > 1 and any("setup.rank_differences" in rule.requires for rule in rules):
        setup = replace(setup, rank_differences=compare_ranks(model))
    facts = Facts(model=walked, setup=setup, steps=steps, thresholds=limits)
    with kept_random_state(), uncompiled():  # loaders draw from it where they begin
        facts, example = _with_runs(facts, model, _Runs(example_args, data, domains, batch_size))
    report = judge(facts, rules, silences, target=target)
    return replace(report, example=example)


def judge(
    facts: Facts,
    rules: Iterable[Rule],
    silences: tuple[Silence, ...] = (),
    *,
    target: str = "",
) -> Report:
    """Run the rules over facts and return the report."""
    found: list[Finding] = []
    ran: list[str] = []
    not_run: list[NotRun] = []
    for rule in rules:
        missing = rule.missing(facts)
        if missing:
            not_run.append(NotRun(rule.code, rule.name, missing))
        else:
            ran.append(rule.code)
            found += rule.find(facts)
    order = {layer.path: number for number, layer in enumerate(facts.model.modules)}
    found.sort(key=lambda item: (SEVERITIES.index(item.severity), order.get(item.layer, -1)))
    findings, unused = apply_silences(found, silences)
    return Report(
        tuple(findings),
        tuple(ran),
        tuple(not_run),
        norms=len(facts.model.norms),
        unused_silences=tuple((item.code, item.layer) for item in unused),
        target=target or facts.model.type_name,
    )


@dataclass(frozen=True)
class _Runs:
    """What the model can be run on."""

    example: Example | None
    data: Any
    domains: Mapping[str, Any] | None
    batch_size: int | None


def _with_runs(facts: Facts, model: nn.Module, runs: _Runs) -> tuple[Facts, Example | None]:
    """Return the facts with those that forwards give: one traced, and one pass over the data.

    With them the example that was traced.
    """
    data = runs.data
    if data is None and runs.domains:
        raise CheckError(
            "domains is given without data", required="data is what the model is evaluated on"
        )
    first: Batch | None = None
    others: Iterator[Batch] = iter(())
    if data is not None:
        others = batches_of(model, data, runs.batch_size)
        first = next(others)
    example = runs.example if first is None else first.example
    if example is None:
        return facts, None
    graph, forward = read_graph(model, example, on_real_data=first is not None)
    passed = None
    if first is not None:
        passed = read_data(model, first, others, domains=runs.domains, batch_size=runs.batch_size)
    return replace(facts, graph=graph, forward=forward, data=passed), example


def chosen_rules(select: Iterable[str] | None, ignore: Iterable[str] | None) -> tuple[Rule, ...]:
    """Return the rules that are selected and not ignored; each may be one string with commas.

    Raises:
        CheckError: a code or name that is none.
    """
    return select_rules(_words(select), _words(ignore) or ())


def _words(given: Iterable[str] | None) -> list[str] | None:
    """Return codes as a list, also from one string with commas; None stays None."""
    if given is None:
        return None
    words = given.split(",") if isinstance(given, str) else list(given)
    return [word.strip() for word in words if word.strip()]
