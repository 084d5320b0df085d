"""Interleaved timing: in each round every peer has its turn, in an order that changes."""

from __future__ import annotations

import gc
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch

from bnkit.bench.peers import Peer
from bnkit.bench.row import COMPILE, Sample

MIN_ROUNDS = 5
MAX_ROUNDS = 40
# torch.compile is several times slower than the others; some rounds tell.
_COMPILE_ROUNDS = 3
_WARM_UP_ROUNDS = 2
# A sample lasts at least this long: tiny tensors are computed several times for it.
_SAMPLE_MS = 0.5
_MAX_CALLS = 50


def sample_of(peer: Peer, *, calls: int, both: bool) -> Sample:
    """Return the mean time of a call; its results are freed at once, as a training step does.

    Args:
        peer: what to run.
        calls: how often, one after the other.
        both: whether backward too.
    """
    whole = forward = backward = 0
    clock = time.perf_counter_ns
    for _ in range(calls):
        start = clock()
        y = peer.forward()
        middle = clock()
        if both:
            gradients = peer.backward(y)
            end = clock()
            del gradients
            backward += end - middle
        del y
        forward += middle - start
        whole += clock() - start
    unit = calls * 1e6
    return Sample(whole / unit, forward / unit, backward / unit)


def time_peers(
    peers: Mapping[str, Peer],
    *,
    both: bool,
    rounds: int | None,
    seconds: float,
    cold: bool = False,
) -> dict[str, list[Sample]]:
    """Return one sample of each peer for each round.

    Args:
        peers: name → what to run, already validated.
        both: whether backward too.
        rounds: how many; None: as many as fit into `seconds`, from MIN_ROUNDS to MAX_ROUNDS.
        seconds: see `rounds`.
        cold: leave out the untimed call with which a turn begins. A peer then finds in the caches
            what the one before it left there, and also pays for fetching its own.
    """
    with _undisturbed(both=both):
        calls, round_seconds = _warm_up(peers, both=both)
        if rounds is None:
            rounds = min(max(round(seconds / round_seconds), MIN_ROUNDS), MAX_ROUNDS)
        names = list(peers)
        samples: dict[str, list[Sample]] = {name: [] for name in names}
        for turn in range(rounds):
            for name in _order(names, turn):
                if name != COMPILE or turn < _COMPILE_ROUNDS:
                    if not cold:
                        sample_of(peers[name], calls=1, both=both)
                    samples[name].append(sample_of(peers[name], calls=calls, both=both))
    return samples


def _order(names: Sequence[str], turn: int) -> list[str]:
    """Return who runs after whom: each is first in turn, and follows now one, now the other."""
    first = turn % len(names)
    order = [*names[first:], *names[:first]]
    return order[::-1] if turn % 2 else order


def _warm_up(peers: Mapping[str, Peer], *, both: bool) -> tuple[int, float]:
    """Return how many calls make a sample, and what a round will take, torch.compile aside."""
    # What torch.compile gives has been warmed by its validation.
    warmed = {name: peer for name, peer in peers.items() if name != COMPILE}
    for _ in range(_WARM_UP_ROUNDS):
        call_ms = {
            name: sample_of(peer, calls=1, both=both).whole_ms for name, peer in warmed.items()
        }
    calls = min(max(round(_SAMPLE_MS / min(call_ms.values())), 1), _MAX_CALLS)
    return calls, sum(call_ms.values()) * (calls + 1) / 1e3


@contextmanager
def _undisturbed(*, both: bool) -> Iterator[None]:
    """Keep the garbage collector out of the samples, and autograd out of forwards alone."""
    was_enabled = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        with torch.set_grad_enabled(both):
            yield
    finally:
        if was_enabled:
            gc.enable()
