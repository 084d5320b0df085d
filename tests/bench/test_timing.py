"""Who runs when, how often, and in what state."""

from __future__ import annotations

import gc
import time
from collections import Counter
from itertools import pairwise

import pytest
import torch

from bnkit.bench import timing
from bnkit.bench.timing import MAX_ROUNDS, MIN_ROUNDS, sample_of, time_peers

WARM_UP = 2


class Watched:
    """A peer that waits, and writes down when it ran and in what state."""

    def __init__(self, name, log, forward_s=0.0, backward_s=0.0):
        self.name, self.log = name, log
        self.forward_s, self.backward_s = forward_s, backward_s

    def forward(self):
        self.log.append((self.name, "forward", torch.is_grad_enabled(), gc.isenabled()))
        time.sleep(self.forward_s)
        return self.name

    def backward(self, y):
        assert y == self.name
        self.log.append((self.name, "backward", torch.is_grad_enabled(), gc.isenabled()))
        time.sleep(self.backward_s)
        return y


def test_a_sample_has_its_parts():
    sample = sample_of(Watched("one", [], 0.004, 0.002), calls=3, both=True)
    assert sample.forward_ms >= 4
    assert sample.backward_ms >= 2
    assert sample.forward_ms + sample.backward_ms <= sample.whole_ms


def test_every_peer_runs_once_a_round_and_is_first_in_turn():
    log = []
    peers = {name: Watched(name, log, 0.001) for name in ("bnkit", "torch", "limit")}
    samples = time_peers(peers, both=True, rounds=6, seconds=0, cold=True)
    assert {name: len(found) for name, found in samples.items()} == dict.fromkeys(peers, 6)
    order = [name for name, what, *_ in log if what == "forward"][WARM_UP * 3 :]
    rounds = [order[start : start + 3] for start in range(0, len(order), 3)]
    assert all(sorted(each) == sorted(peers) for each in rounds)
    assert Counter(each[0] for each in rounds) == dict.fromkeys(peers, 2)
    # Nobody runs after the same peer always.
    after = {(one, other) for each in rounds for one, other in pairwise(each)}
    assert len(after) == 6


def test_the_garbage_collector_waits_and_the_state_comes_back():
    log = []
    assert gc.isenabled()
    time_peers({"torch": Watched("torch", log)}, both=True, rounds=1, seconds=0)
    assert {(grad, collects) for *_, grad, collects in log} == {(True, False)}
    assert gc.isenabled()


def test_a_forward_alone_runs_without_autograd():
    log = []
    (sample,) = time_peers({"torch": Watched("torch", log)}, both=False, rounds=1, seconds=0)[
        "torch"
    ]
    assert {(what, grad) for _, what, grad, _ in log} == {("forward", False)}
    assert sample.backward_ms == 0
    assert torch.is_grad_enabled()


@pytest.mark.parametrize(
    ("seconds", "rounds"), [(0, MIN_ROUNDS), (1, 10), (1e9, MAX_ROUNDS)], ids=str
)
def test_rounds_fill_the_time_within_their_bounds(monkeypatch, seconds, rounds):
    monkeypatch.setattr(timing, "_warm_up", lambda peers, *, both: (1, 0.1))
    peers = {"torch": Watched("torch", [])}
    assert len(time_peers(peers, both=True, rounds=None, seconds=seconds)["torch"]) == rounds


@pytest.mark.parametrize(("sample_ms", "calls"), [(0, 1), (1e9, 50)], ids=str)
def test_short_calls_are_repeated_within_a_sample(monkeypatch, sample_ms, calls):
    monkeypatch.setattr(timing, "_SAMPLE_MS", sample_ms)
    log = []
    time_peers({"torch": Watched("torch", log)}, both=False, rounds=1, seconds=0)
    assert len(log) == WARM_UP + 1 + calls


def test_a_turn_begins_with_a_call_that_is_not_timed_unless_caches_are_cold():
    counts = {}
    for cold in (False, True):
        log = []
        peers = {"torch": Watched("torch", log, 0.001)}
        samples = time_peers(peers, both=False, rounds=4, seconds=0, cold=cold)
        counts[cold] = len(log) - WARM_UP
        assert len(samples["torch"]) == 4
    assert counts == {False: 8, True: 4}


def test_torch_compile_is_measured_in_some_rounds():
    peers = {name: Watched(name, []) for name in ("bnkit", "compile")}
    samples = time_peers(peers, both=True, rounds=9, seconds=0)
    assert (len(samples["bnkit"]), len(samples["compile"])) == (9, 3)
