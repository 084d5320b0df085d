"""Remove channels from a network, and leave a smaller dense one."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from torch import nn

from bnkit.errors import ArgumentError, ArgumentTypeError, RewriteError, did_you_mean
from bnkit.inspection.trace import Example, as_call, refuse_uninitialized, trace_or_explain
from bnkit.rewrite.edits import Edits, rewriting
from bnkit.rewrite.layer_choice import Patterns, chosen_layers
from bnkit.rewrite.output_check import OutputCheck
from bnkit.rewrite.pruning.channel_groups import ChannelGroup, find_groups
from bnkit.rewrite.pruning.channel_removal import Absorption, absorb, indices_of, remove_channels
from bnkit.rewrite.pruning.channel_scores import NORM, RANDOM, SCALE, Choice, choose, scores_of
from bnkit.rewrite.pruning.channel_trace import ChannelTrace
from bnkit.rewrite.pruning.pruning_report import Pruning, multiply_adds, parameter_count
from bnkit.rewrite.pruning.removal_check import RemovalCheck, find_failing
from bnkit.rewrite.result import Skipped
from bnkit.rewrite.rewrite_arguments import refuse_scripted, refuse_unusable

_BY = (SCALE, NORM, RANDOM)
_SCOPES = ("global", "layer")
_SHOWN = 5
_SEEN = "channels are followed by running the network once"
_OPTIMIZER = (
    "an optimizer that was built before holds the old parameters: build a new one to fine-tune"
)


def prune(
    model: nn.Module,
    example_args: Example | None = None,
    *,
    amount: float,
    by: str = SCALE,
    layers: Patterns | None = None,
    scope: str = "global",
    seed: int = 0,
    round_to: int = 1,
    minimum: int = 1,
    inplace: bool = False,
) -> Pruning:
    """Remove a share of a network's channels, from all layers in which they stand.

    Channels are followed through one forward in eval and one in training mode, at the level of
    single operations: through batch norms, pointwise functions, pooling, reshapes, additions and
    gates (whose channels go together), concatenations, depthwise convolutions (which follow their
    input) and grouped ones (which lose the same channels in each group). What the model returns
    keeps its channels, as does whatever cannot be followed; the reason stands in `.skipped`.

    A removed channel whose batch norm has γ = 0 still outputs act(β). What such constants
    contribute to a layer that takes them in is added to that layer's bias; to the running mean of
    the batch norm after it, if it has none; or it gets a bias. That is exact but for zero padding,
    inside whose border the constant never stood, and for transposed convolutions that spread it
    unevenly; `.notes` says where. A channel with γ ≠ 0 is replaced by the same
    constant; one without a batch norm by its layer's bias.

    Args:
        model: any network.
        example_args: the input of one forward, which is required: a tensor, positional arguments
            in a tuple or list, or keyword arguments in a mapping.
        amount: share of the channels that could be removed, in (0, 1); rounded down.
        by: "scale": lowest mean |γ| first, over the batch norms that scale the channel; "norm":
            lowest L2 norm of the weights that make it, averaged over the layers that do; "random".
        layers: paths or patterns of the conv and linear layers whose output channels may go;
            None for all.
        scope: "global": ranked over all layers, where of channels that tie an equal share of each
            layer goes; "layer": the same share of each.
        seed: for `by="random"`.
        round_to: of each layer that is pruned, a multiple of so many channels stays.
        minimum: at least so many channels stay in each layer.
        inplace: change the model itself and not a copy.

    Returns:
        The rewrite, with parameters, multiply-adds and channels before and after.

    Raises:
        ArgumentError: an argument is not what it must be.
        ForwardError: the model does not run on the example.
        RewriteError: no channel can be removed; a pattern names no layer; the model cannot be
            copied, or has uninitialized parameters. The model is then as it was.

    Cost: about sixteen forwards, eight of them in float64, on copies of the model; more where a
        removal fails and the layers at fault are searched.

    Source: Liu et al. 2017, "Learning Efficient Convolutional Networks through Network Slimming",
        for `by="scale"`.
    """
    _refuse_arguments(amount, by, scope, seed=seed, round_to=round_to, minimum=minimum)
    refuse_unusable("prune", model, example_args, layers, _SEEN)
    assert example_args is not None
    as_call(example_args)
    refuse_uninitialized(model)
    refuse_scripted(model, "its layers cannot be changed")
    trace_or_explain(model, example_args)
    candidates = _Candidates(model, example_args, layers, by, seed)
    options: dict[str, Any] = {
        "amount": float(amount),
        "scope": scope,
        "round_to": round_to,
        "minimum": minimum,
    }
    choice = candidates.proven(options)
    check = OutputCheck(model, example_args, ("eval",))
    counts = parameter_count(model), multiply_adds(model, example_args)
    with rewriting("prune", model, inplace=inplace, kind=Pruning) as edits:
        result = edits.rewrite
        assert isinstance(result, Pruning)
        _remove(edits, result, candidates, choice)
        result.parameters_before, result.multiply_adds_before = counts
        result.parameters_after = parameter_count(result.model)
        result.multiply_adds_after = multiply_adds(result.model, example_args)
        result.amount = choice.count / candidates.size
        _account(result, candidates, choice)
        check.measure(result)
    return result


def _refuse_arguments(amount: Any, by: Any, scope: Any, **counts: Any) -> None:
    if isinstance(amount, bool) or not isinstance(amount, int | float):
        raise ArgumentTypeError(
            f"amount is a {type(amount).__name__}", required="a number between 0 and 1"
        )
    if not (math.isfinite(amount) and 0 < amount < 1):
        raise ArgumentError(
            f"amount={amount!r}",
            required="a share of the channels, above 0 and below 1",
            remedy="Give 0.3 to remove 30 % of the channels that can be removed",
        )
    for name, value, known in (("by", by, _BY), ("scope", scope, _SCOPES)):
        if value not in known:
            raise ArgumentError(
                f"{name}={value!r}",
                required=f"one of {', '.join(map(repr, known))}",
                remedy=did_you_mean(str(value), known),
            )
    for name, value in counts.items():
        least = 0 if name == "seed" else 1
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise ArgumentError(f"{name}={value!r}", required=f"a whole number of at least {least}")


class _Candidates:
    """The groups of channels that may be removed, and why the others may not.

    Attributes:
        groups: that have scores and are named by `layers`.
        scores: for each of them, of its channels.
        skipped: path of a layer → reason.
        trace: of the model.
        size: number of channels in all groups.
    """

    def __init__(
        self, model: nn.Module, example: Example, layers: Patterns | None, by: str, seed: int
    ) -> None:
        named = chosen_layers(model, layers, _is_layer, "conv or linear layer")
        self.trace = ChannelTrace(model, example)
        found = find_groups(model, self.trace)
        self.skipped = {p: reason for p, reason in found.refused.items() if p in named}
        self._check = RemovalCheck(model, example, self.trace.products)
        self.groups: list[ChannelGroup] = []
        self.scores: list[list[float]] = []
        scored = scores_of(model, self.trace, found.groups, by, seed)
        for group, scores in zip(found.groups, scored, strict=True):
            outside = [path for path in group.layers if layers is not None and path not in named]
            if len(outside) == len(group.layers):
                continue
            if outside:
                self._skip(group, f"its channels go with those of {outside[0]}, which is not named")
            elif isinstance(scores, str):
                self._skip(group, scores)
            elif len(group.channels) < 2:
                self._skip(group, "a single channel cannot be removed")
            else:
                self.groups.append(group)
                self.scores.append(scores)
        for path, reason in found.unseen.items():
            if path in named:
                self.skipped.setdefault(path, reason)

    @property
    def size(self) -> int:
        return sum(len(group.channels) for group in self.groups)

    def proven(self, options: dict[str, Any]) -> Choice:
        """Return a choice of channels whose removal the check has nothing against.

        Raises:
            RewriteError: none can be removed.
        """
        while self.groups:
            makers = self.trace.products.makers
            choice = choose(self.groups, self.scores, makers, **options)
            if not choice.count:
                break
            failing = find_failing(self._check, self.groups, choice.removed)
            if not failing:
                return choice
            for number in sorted(failing, reverse=True):
                self._skip(self.groups[number], failing[number])
                del self.groups[number], self.scores[number]
        raise self._nothing(options)

    def _skip(self, group: ChannelGroup, reason: str) -> None:
        for path in group.layers:
            self.skipped.setdefault(path, reason)

    def _nothing(self, options: dict[str, Any]) -> RewriteError:
        if self.groups:
            return RewriteError(
                f"amount={options['amount']} removes none of {self.size} channels",
                required=f"with minimum={options['minimum']} and round_to={options['round_to']}, "
                "at least one channel must go",
                remedy="Give a larger amount, or a smaller minimum or round_to",
            )
        shown = [f"{path or '(model)'}: {why}" for path, why in self.skipped.items()]
        more = f"; and {len(shown) - _SHOWN} more" if len(shown) > _SHOWN else ""
        return RewriteError(
            f"no channel can be removed ({'; '.join(shown[:_SHOWN])}{more})",
            required="at least one layer whose output channels can be followed to all that "
            "takes them in",
        )


def _is_layer(module: nn.Module) -> bool:
    return isinstance(module, nn.Linear | nn.modules.conv._ConvNd)


def _remove(edits: Edits, result: Pruning, candidates: _Candidates, choice: Choice) -> None:
    indices = indices_of(candidates.groups, choice.removed)
    absorbed = absorb(edits, candidates.trace.products, indices)
    result.channels = remove_channels(edits, indices)
    for path, (before, after) in result.channels.items():
        edits.changed(path, f"{before} → {after} channels")
    for path, where in absorbed.layers.items():
        edits.changed(path, f"the constants of removed channels went into {where}")
    _say_absorption(result, absorbed, candidates.trace.products.pads_with_zeros)


def _say_absorption(result: Pruning, absorbed: Absorption, pads_with_zeros: bool) -> None:
    if absorbed.layers and pads_with_zeros:
        result.notes.append(
            "zero padding: a function puts zeros around channels, at which the constants of "
            "removed channels are not exact"
        )
    if absorbed.padded:
        result.notes.append(
            f"zero padding: in {_listed(absorbed.padded)} the constants of removed channels are "
            "exact inside and not at the border"
        )
    if absorbed.uneven:
        result.notes.append(
            f"absorbed on average, not exact: in {_listed(absorbed.uneven)} a transposed "
            "convolution spreads the constants of removed channels unevenly"
        )
    if absorbed.unknown:
        result.notes.append(
            f"not absorbed: {_listed(absorbed.unknown)} took in removed channels that are no "
            "constant, such as the product with a gate, or could not be followed as one, such as "
            "through a reshape that spreads them over two axes"
        )


def _account(result: Pruning, candidates: _Candidates, choice: Choice) -> None:
    result.skipped += [Skipped(path, reason) for path, reason in candidates.skipped.items()]
    error = candidates.trace.training_error
    if error:
        reason = f"what only training uses was not followed: there the model raised {error}"
        result.skipped.append(Skipped("", reason))
    if choice.count < choice.wanted:
        result.notes.append(
            f"{choice.count} of {candidates.size} channels were removed and not "
            f"{choice.wanted}: {choice.shortage}"
        )
    result.notes.append(_OPTIMIZER)


def _listed(paths: Sequence[str]) -> str:
    names = list(dict.fromkeys(path or "(model)" for path in paths))
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more
