"""frozen_statistics: no forward moves a statistic, and nothing else changes."""

from __future__ import annotations

import copy
import pickle
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

import bnkit
from bnkit.errors import ArgumentTypeError, RewriteError


class ByHand(nn.Module):
    """Somebody's batch norm, which moves its statistics by assignment."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("running_mean", torch.zeros(3))
        self.register_buffer("running_var", torch.ones(3))

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            self.running_mean = 0.9 * self.running_mean + 0.1 * x.mean(0)
            self.running_var.mul_(0.9).add_(0.1 * x.var(0))
        return x - self.running_mean


KINDS: dict[str, nn.Module] = {
    "torch": nn.BatchNorm1d(3),
    "momentum-none": nn.BatchNorm1d(3, momentum=None),
    "sync": nn.SyncBatchNorm(3),
    "bnkit": bnkit.BatchNorm1d(3),
    "bnkit-act": bnkit.BatchNormAct1d(3),
    "by-hand": ByHand(),
    "instance": nn.InstanceNorm1d(3, track_running_stats=True),
}


def state(model: nn.Module) -> dict[str, Tensor]:
    return {key: value.clone() for key, value in model.state_dict().items()}


def assert_equal(one: dict[str, Tensor], model: nn.Module) -> None:
    for key, value in model.state_dict().items():
        assert torch.equal(one[key], value), key


def batch(kind: str) -> Tensor:
    return torch.randn(8, 3, *([4] if kind == "instance" else [])) * 2 + 1


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("training", [True, False])
def test_nothing_moves_and_outputs_are_the_same(kind: str, training: bool) -> None:
    model, x = nn.Sequential(copy.deepcopy(KINDS[kind])).train(training), batch(kind)
    before, buffers = state(model), {n: id(b) for n, b in model.named_buffers()}
    expected = copy.deepcopy(model)(x)
    if kind == "by-hand":  # it subtracts what it has just moved
        expected = x - model[0].running_mean
    with bnkit.frozen_statistics(model) as given:
        assert given is model
        torch.testing.assert_close(model(x), expected, rtol=0, atol=0)
        assert_equal(before, model)
        assert torch.equal(model[0].running_mean, before["0.running_mean"])
    assert_equal(before, model)
    assert {n: id(b) for n, b in model.named_buffers()} == buffers
    assert type(model[0]) is type(KINDS[kind])
    model.train()(x)
    assert not torch.equal(model[0].running_mean, before["0.running_mean"])


def test_values_of_inf_exceptions_and_recomputation() -> None:
    model = nn.Sequential(nn.BatchNorm1d(3), nn.Linear(3, 3)).train()
    before = state(model)
    with pytest.raises(RuntimeError), bnkit.frozen_statistics(model):
        model(torch.full((4, 3), float("inf")))
        checkpoint(model, batch("").requires_grad_(), use_reentrant=False).sum().backward()
        model(torch.randn(4, 2))
    assert_equal(before, model)
    assert type(model[0]) is nn.BatchNorm1d


def test_nested_contexts_may_be_left_in_any_order() -> None:
    model = nn.Sequential(nn.BatchNorm1d(3)).train()
    before = state(model)
    one, other = bnkit.frozen_statistics(model), bnkit.frozen_statistics(model, "0")
    one.__enter__()
    other.__enter__()
    one.__exit__(None, None, None)
    model(batch(""))
    assert_equal(before, model)
    other.__exit__(None, None, None)
    assert type(model[0]) is nn.BatchNorm1d

    def probe() -> Iterator[Tensor]:
        with bnkit.frozen_statistics(model):
            yield model(batch(""))

    running = probe()
    next(running)
    running.close()
    assert_equal(before, model)
    assert type(model[0]) is nn.BatchNorm1d


def test_threads_move_nothing() -> None:
    model = nn.Sequential(nn.BatchNorm1d(3), bnkit.BatchNorm1d(3)).train()
    before = state(model)
    with bnkit.frozen_statistics(model), ThreadPoolExecutor(4) as threads:
        list(threads.map(model, [batch("") for _ in range(40)]))
        assert_equal(before, model)
    assert_equal(before, model)


def test_the_backward_of_a_forward_inside_is_that_of_one_outside() -> None:
    model, x = nn.Sequential(nn.BatchNorm1d(3), nn.Linear(3, 2)).train(), batch("")
    model(x).square().sum().backward()
    expected = [p.grad.clone() for p in model.parameters() if p.grad is not None]
    model.zero_grad()
    with bnkit.frozen_statistics(model):
        loss = model(x).square().sum()
    loss.backward()
    for parameter, gradient in zip(model.parameters(), expected, strict=True):
        torch.testing.assert_close(parameter.grad, gradient, rtol=0, atol=0)


def test_only_chosen_layers_and_what_may_happen_inside() -> None:
    model = nn.Sequential(nn.BatchNorm1d(3), nn.BatchNorm1d(3)).train()
    before = state(model)
    with bnkit.frozen_statistics(model, "0"):
        model(batch(""))
        for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
            assert type(other[0]) is nn.BatchNorm1d
            other(batch(""))
            assert other[0].num_batches_tracked == 1
        loaded = {**before, "0.running_mean": torch.full((3,), 5.0)}
        model.load_state_dict(loaded)
    assert torch.equal(model[0].running_mean, loaded["0.running_mean"])
    with bnkit.frozen_statistics(model):
        bnkit.freeze(model, "1", inplace=True)
    assert type(model[0]) is nn.BatchNorm1d
    assert not model.train()[1].training
    with bnkit.frozen_statistics(model):
        assert not model.train()[1].training
    bnkit.unfreeze(model, inplace=True)
    assert type(model[1]) is nn.BatchNorm1d


def moves(model: nn.Module) -> bool:
    before = state(model)
    model.train()(batch(""))
    return not all(torch.equal(before[key], value) for key, value in model.state_dict().items())


REWRITES = {
    "freeze": lambda model: bnkit.freeze(model, inplace=True),
    "convert-frozen": lambda model: bnkit.convert(model, "frozen", inplace=True),
    "convert-bnkit": lambda model: bnkit.convert(model, "bnkit", inplace=True),
    "accelerate": lambda model: bnkit.accelerate(model, inplace=True),
}


@pytest.mark.parametrize("name", REWRITES)
def test_a_rewrite_inside_that_is_undone_outside_leaves_nothing(name: str) -> None:
    model = nn.Sequential(nn.BatchNorm1d(3)).train()
    with bnkit.frozen_statistics(model):
        rewrite = REWRITES[name](model)
        assert rewrite.changes
        assert not moves(model)
    rewrite.undo()
    assert type(model[0]) is nn.BatchNorm1d
    assert moves(model)


@pytest.mark.parametrize("name", REWRITES)
def test_a_rewrite_outside_that_is_undone_inside_moves_nothing_inside(name: str) -> None:
    model = nn.Sequential(nn.BatchNorm1d(3)).train()
    rewrite = REWRITES[name](model)
    with bnkit.frozen_statistics(model):
        pickle.loads(pickle.dumps(rewrite))
        rewrite.undo()
        assert not moves(model)
    assert type(model[0]) is nn.BatchNorm1d
    assert moves(model)


def test_a_frozen_layer_is_known_as_one_inside() -> None:
    model = nn.Sequential(nn.BatchNorm1d(3), nn.BatchNorm1d(3)).train()
    frozen = bnkit.freeze(model, "0", inplace=True)
    with bnkit.frozen_statistics(model):
        rewrite = bnkit.recalibrate(model, [batch("")])
        assert [item.path for item in rewrite.skipped] == ["0"]
        assert "it is frozen already" in bnkit.freeze(model, "0").skipped[0].reason
        unfrozen = bnkit.unfreeze(model, inplace=True)
        assert not moves(model)
    assert type(model[0]) is nn.BatchNorm1d
    with bnkit.frozen_statistics(model):
        unfrozen.undo()
    assert not model.train()[0].training
    frozen.undo()
    assert type(model[0]) is nn.BatchNorm1d
    assert model.train()[0].training


def test_statistics_are_estimated_and_put_back_inside() -> None:
    model = nn.Sequential(nn.BatchNorm1d(3)).train()
    before = state(model)
    with bnkit.frozen_statistics(model):
        rewrite = bnkit.recalibrate(model, [batch(""), batch("")], inplace=True)
        assert model.state_dict()["0.num_batches_tracked"] == 2
        rewrite.undo()
        assert_equal(before, model)


def test_a_recomputation_after_the_context_moves_the_statistics() -> None:
    model = nn.Sequential(nn.BatchNorm1d(3)).train()
    with bnkit.frozen_statistics(model):
        loss = checkpoint(model, batch("").requires_grad_(), use_reentrant=False).sum()
    loss.backward()
    assert model[0].num_batches_tracked == 1


def test_bad_input() -> None:
    with (
        pytest.raises(RewriteError, match="no layer with running"),
        bnkit.frozen_statistics(nn.ReLU()),
    ):
        pass
    with pytest.raises(ArgumentTypeError), bnkit.frozen_statistics(3):  # type: ignore[arg-type]
        pass
    with warnings.catch_warnings(action="ignore"):
        scripted = torch.jit.script(nn.Sequential(nn.BatchNorm1d(3)))
    with pytest.raises(RewriteError, match="TorchScript"), bnkit.frozen_statistics(scripted):
        pass
