"""Whether a whole network gives what it gave before its layers were swapped."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import torch
from torch import nn

from bnkit.errors import BnkitError, RewriteError
from bnkit.inspection.trace import Example
from bnkit.kernels.dispatch import use_kernel
from bnkit.rewrite.acceleration.layer_check import deviation, largest_finite
from bnkit.rewrite.network_run import NetworkRun, run_network
from bnkit.rewrite.output_difference import largest_difference, relative_difference
from bnkit.rewrite.result import Rewrite, Skipped

# A value may differ by so many units in the last place of the largest of its tensor …
_UNITS = 64
# … or by so many times what moving the layers' inputs by rounding units changes it.
_TIMES_NUDGED = 8
_NUDGED_RUNS = 4
# … or, where torch's own values lie off those of the float64 reference, ours by so many times that.
_TIMES_TORCHS = 1.25
_MODES = {"eval": False, "training": True}


@dataclass
class NetworkCheck:
    """What a network gave before, in the modes in which it runs.

    Attributes:
        before: mode → its run.
        skipped: what cannot be compared, each with the reason.
    """

    before: dict[str, NetworkRun] = field(default_factory=dict)
    skipped: list[Skipped] = field(default_factory=list)


def check_of_network(model: nn.Module, example: Example) -> NetworkCheck:
    """Run a network before it is changed, in eval and in training mode.

    Raises:
        RewriteError: it does not run in eval mode.
    """
    check = NetworkCheck()
    for mode, training in _MODES.items():
        try:
            run = run_network(model, example, training=training)
        except Exception as error:
            if not training:
                raise
            first_line = str(error).partition("\n")[0].rstrip(".")
            reason = f"not compared in training mode, where the network raised: {first_line}"
            check.skipped.append(Skipped("", reason))
            continue
        check.before[mode] = run
        if run.gradient_error:
            reason = f"gradients not compared in {mode} mode: {run.gradient_error}"
            check.skipped.append(Skipped("", reason))
    return check


def excess(
    rewrite: Rewrite, example: Example, check: NetworkCheck, layers: Iterable[nn.Module]
) -> str:
    """Return what differs from before by more than rounding explains, as a clause; else empty.

    The rewrite's differences of the outputs in eval mode are filled in.

    Rounding is let run through the network: the inputs of the swapped layers and their gradients
    are moved at random by 16 units in the last place, and what that changes, times 8, is allowed.
    Where 64 units in the last place of the largest value explain all, that is not needed. What is
    still beyond is held against runs by torch's operators and by the float64 reference.

    Args:
        rewrite: with the network as changed.
        example: what its forward takes.
        check: what it gave before.
        layers: the swapped layers.

    Raises:
        RewriteError: the network does not run any more.

    Cost: a forward and backward for each mode; up to seven where rounding is amplified.
    """
    layers = list(layers)
    found = ""
    for mode, before in check.before.items():
        try:
            clause, after = _excess_in_mode(rewrite.model, example, before, mode, layers)
        except BnkitError:
            raise
        except Exception as error:
            raise RewriteError(
                f"with bnkit's layers the network raised {type(error).__name__}: {error}",
                required="it must run as before",
                remedy="Please report this with the network",
            ) from error
        found = found or clause
        shapes = [[t.shape for t in run.outputs] for run in (before, after)]
        if mode == "eval" and shapes[0] == shapes[1]:
            rewrite.difference = largest_difference(before.outputs, after.outputs)
            rewrite.relative_difference = relative_difference(before.outputs, after.outputs)
    return found


def _excess_in_mode(
    model: nn.Module,
    example: Example,
    before: NetworkRun,
    mode: str,
    layers: list[nn.Module],
) -> tuple[str, NetworkRun]:
    training, with_gradients = _MODES[mode], not before.gradient_error

    def run(nudged: Iterable[nn.Module] = (), seed: int = 0) -> NetworkRun:
        return run_network(
            model,
            example,
            training=training,
            with_gradients=with_gradients,
            nudged=nudged,
            seed=seed,
        )

    after = run()
    found = deviations(before, after)
    allowed = {name: _floor(before, name) for name in found}
    nudged_by = dict.fromkeys(found, 0.0)
    for seed in range(_NUDGED_RUNS):
        if all(found[name] <= allowed[name] for name in found):
            break
        for name, moved in deviations(after, run(layers, seed)).items():
            nudged_by[name] = max(nudged_by.get(name, 0.0), moved)
        allowed = {
            name: max(_floor(before, name), _TIMES_NUDGED * nudged_by[name]) for name in found
        }
    _hold_against_reference(before, after, run, found, allowed)
    for name, value in found.items():
        if not value <= allowed[name]:
            clause = f"{name} in {mode} mode differs by {value:.3g}, rounding explains "
            return f"{clause}{allowed[name]:.3g}", after
    return "", after


def _hold_against_reference(
    before: NetworkRun,
    after: NetworkRun,
    run: Callable[[], NetworkRun],
    found: dict[str, float],
    allowed: dict[str, float],
) -> None:
    """Replace what is found, and what is allowed, where torch's own rounding is what differs.

    With torch's operators the changed network must give what the given one gave. If it does, only
    the kernel is left to judge: it may lie 1.25 times as far from the float64 reference as they.
    """
    beyond = {name for name, value in found.items() if not value <= allowed[name]}
    if not beyond:
        return
    with use_kernel("eager"):
        by_torch = run()
    with use_kernel("reference"):
        exact = run()
    wiring, torchs = deviations(before, by_torch), deviations(by_torch, exact)
    ours = deviations(after, exact)
    for name in beyond:
        if wiring[name] <= allowed[name]:
            found[name] = ours[name]
            allowed[name] = max(allowed[name], _TIMES_TORCHS * torchs[name])


def deviations(one: NetworkRun, other: NetworkRun) -> dict[str, float]:
    """Return name → max |difference|; infinite where one run lacks it, or shapes differ."""
    names = dict.fromkeys([*one.values, *other.values])
    return {
        name: deviation(one.values[name], other.values[name])
        if name in one.values and name in other.values
        else math.inf
        for name in names
    }


def _floor(run: NetworkRun, name: str) -> float:
    value = run.values.get(name)
    if value is None:
        return 0.0
    size = largest_finite(value)
    # What a sum's rounding takes from a mean goes with the values that it is the mean of. Their
    # mean may be nothing beside them.
    spread = run.values.get(f"{name.removesuffix('running_mean')}running_var")
    if name.endswith("running_mean") and spread is not None:
        size += math.sqrt(largest_finite(spread))
    return _UNITS * torch.finfo(value.dtype).eps * size if size else 0.0
