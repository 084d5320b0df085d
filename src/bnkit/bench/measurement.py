"""One case to one row: draw, validate, time."""

from __future__ import annotations

from collections.abc import Callable

import torch

from bnkit.bench.cases import BenchSettings, Case
from bnkit.bench.inputs import Inputs, inputs_of
from bnkit.bench.memory_limit import FreshLimit, ReusedLimit
from bnkit.bench.peers import LayerPeer, Peer, bnkit_peer, compile_peer, torch_peer, why_not_compile
from bnkit.bench.row import BNKIT, COMPILE, LIMIT, LIMIT_REUSED, TORCH, Row
from bnkit.bench.timing import time_peers
from bnkit.bench.validation import Results, compare, refusal, results_of
from bnkit.kernels import kernel_for

PeerMaker = Callable[[Case, Inputs], LayerPeer]


def measure(case: Case, settings: BenchSettings, *, implementation: PeerMaker = bnkit_peer) -> Row:
    """Return the row of a case.

    What is wrong is not timed: a peer whose results are further from the float64 reference than
    allowed has no samples, and the row says why.

    Args:
        case: what to measure.
        settings: rounds, seconds, and whether torch.compile is a peer.
        implementation: what stands for bnkit.
    """
    inputs = inputs_of(case)
    candidates: dict[str, LayerPeer] = {
        BNKIT: implementation(case, inputs),
        TORCH: torch_peer(case, inputs),
    }
    by_peer = {name: results_of(peer, case) for name, peer in candidates.items()}
    absent: dict[str, str] = {}
    if settings.compiles:
        absent |= _add_compiled(case, inputs, candidates, by_peer)
    errors = compare(case, inputs, by_peer)
    for name in [name for name in candidates if name != TORCH]:
        reason = refusal(name, by_peer, errors)
        if reason:
            absent[name] = reason
            del candidates[name]
    by_peer.clear()
    limits: dict[str, Peer] = {
        LIMIT: FreshLimit(case, inputs),
        LIMIT_REUSED: ReusedLimit(case, inputs),
    }
    samples = time_peers(
        {**candidates, **limits},
        both=case.passes == "both",
        rounds=settings.rounds,
        seconds=settings.seconds_per_case,
        cold=settings.cold,
    )
    choice = kernel_for(
        inputs.x, training=case.mode == "training", is_followed=case.operation != "bn"
    )
    return Row(
        case=case,
        threads=torch.get_num_threads(),
        kernel=choice.name,
        kernel_reason=choice.reason,
        samples=samples,
        absent=absent,
        errors={name: found.in_units() for name, found in errors.items()},
    )


def _add_compiled(
    case: Case, inputs: Inputs, candidates: dict[str, LayerPeer], by_peer: dict[str, Results]
) -> dict[str, str]:
    """Add the compiled peer and its results; return why it is absent, if it is."""
    reason = why_not_compile()
    if reason:
        return {COMPILE: reason}
    peer = compile_peer(case, inputs)
    try:
        by_peer[COMPILE] = results_of(peer, case)
    except Exception as error:  # whatever the compiler fails with, the bench goes on
        lines = str(error).strip().splitlines() or [""]
        return {COMPILE: f"torch.compile raised {type(error).__name__}: {lines[0]}"}
    candidates[COMPILE] = peer
    return {}
