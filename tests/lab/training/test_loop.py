from __future__ import annotations

import copy
import math

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from bnkit.lab.data import Dataset
from bnkit.lab.training import to_device
from bnkit.lab.training.batches import shuffled_batches
from bnkit.lab.training.evaluation import evaluate, untrained
from helpers.training_cases import network, run, settings, splits


def test_the_loop_equals_a_plain_loop_written_out() -> None:
    """Metrics of every epoch against a loop of the plainest kind, to the last bit."""
    train_split, test_split = splits()
    model, plain = network(), network()
    torch.manual_seed(7)
    checkpoints = run(model, settings()).checkpoints

    torch.manual_seed(7)
    optimizer = torch.optim.SGD(plain.parameters(), lr=0.1)
    order = torch.Generator().manual_seed(3)
    for epoch in range(1, 4):
        losses, hits = [], 0
        permutation = torch.randperm(50, generator=order)
        plain.train()
        for start in range(0, 50, 16):
            index = permutation[start : start + 16]
            logits = plain(train_split.images[index])
            loss = F.cross_entropy(logits, train_split.labels[index])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append((loss.item(), len(index)))
            hits += int((logits.argmax(1) == train_split.labels[index]).sum())
        plain.eval()
        logits = plain(test_split.images)
        found = checkpoints[epoch]
        assert (found.step, found.epoch) == (4 * epoch, epoch)
        assert found.train_loss == sum(value * n for value, n in losses) / 50
        assert found.train_accuracy == hits / 50
        assert found.test_loss == F.cross_entropy(logits, test_split.labels).item()
        assert found.test_accuracy == (
            logits.argmax(1) == test_split.labels
        ).float().mean().item() or (
            math.isclose(
                found.test_accuracy, float((logits.argmax(1) == test_split.labels).sum()) / 20
            )
        )
    torch.testing.assert_close(model.state_dict(), plain.state_dict(), rtol=0, atol=0)


def test_the_untrained_network_is_measured_and_left_alone() -> None:
    model = network()
    before = copy.deepcopy(model.state_dict())
    random_state = torch.get_rng_state()
    given = settings(steps=1, epochs=None)
    train_split, test_split = splits()
    checkpoint = untrained(model, train_split, test_split, 16, F.cross_entropy)
    torch.testing.assert_close(model.state_dict(), before, rtol=0, atol=0)
    assert torch.equal(random_state, torch.get_rng_state())
    assert (checkpoint.step, checkpoint.epoch) == (0, 0)
    expected = F.cross_entropy(model.eval()(test_split.images), test_split.labels).item()
    assert checkpoint.test_loss == expected
    assert len(run(model, given).checkpoints) == 2


def test_checkpoints_stand_where_asked() -> None:
    steps = [
        c.step
        for c in run(network(), settings(epochs=None, steps=10, validate_every=4)).checkpoints
    ]
    assert steps == [0, 4, 8, 10]
    epochs = [
        c.epoch
        for c in run(network(), settings(epochs=None, steps=10, validate_every=4)).checkpoints
    ]
    assert epochs == [0, 1, 2, 3]


def test_validating_leaves_no_mark_on_training() -> None:
    often, seldom = network(), network()
    torch.manual_seed(0)
    run(often, settings(validate_every=1))
    torch.manual_seed(0)
    run(seldom, settings(validate_every=100))
    torch.testing.assert_close(often.state_dict(), seldom.state_dict(), rtol=0, atol=0)


def test_a_loss_that_turns_nan_ends_the_run_and_names_the_step() -> None:
    calls = 0

    def loss(logits: Tensor, labels: Tensor) -> Tensor:
        nonlocal calls
        calls += torch.is_grad_enabled()
        value = F.cross_entropy(logits, labels)
        return value * float("nan") if calls == 6 and torch.is_grad_enabled() else value

    result = run(network(), settings(), loss_function=loss)
    assert result.diverged_step == 6
    assert [c.step for c in result.checkpoints] == [0, 4]


def test_a_run_that_does_not_get_below_the_untrained_loss_has_diverged() -> None:
    result = run(
        network(), settings(optimizer={"name": "sgd", "lr": 1e-12}), loss_function=_rising()
    )
    assert result.diverged_step == 12
    assert len(result.checkpoints) == 4


def _rising() -> object:
    calls = 0

    def loss(logits: Tensor, labels: Tensor) -> Tensor:
        nonlocal calls
        calls += torch.is_grad_enabled()
        return F.cross_entropy(logits, labels) + calls

    return loss


def test_a_healthy_run_has_not_diverged() -> None:
    assert run(network(), settings()).diverged_step is None


def test_modules_in_eval_mode_stay_so_through_a_checkpoint() -> None:
    model = network()
    model.train()
    model[2].eval()
    evaluate(model, splits()[1], F.cross_entropy)
    assert [m.training for m in model] == [True, True, False, True, True]


def test_batch_order_comes_from_its_own_generator() -> None:
    split = splits()[0]
    torch.manual_seed(0)
    first = [
        y.tolist() for _, y in shuffled_batches(split, 16, False, torch.Generator().manual_seed(5))
    ]
    torch.manual_seed(99)
    again = [
        y.tolist() for _, y in shuffled_batches(split, 16, False, torch.Generator().manual_seed(5))
    ]
    assert first == again
    assert [len(batch) for batch in first] == [16, 16, 16, 2]
    dropped = shuffled_batches(split, 16, True, torch.Generator().manual_seed(5))
    assert [len(y) for _, y in dropped] == [16, 16, 16]


def test_tensors_are_copies_of_read_only_arrays() -> None:
    images = np.zeros((2, 1, 4, 4), np.float32)
    images.setflags(write=False)
    labels = np.array([0, 1])
    train_split, _ = to_device(
        Dataset(images, labels, images, labels, ("a", "b")), torch.device("cpu")
    )
    train_split.images.add_(1)
    assert images.sum() == 0


def test_training_metrics_are_of_the_epoch_so_far() -> None:
    """Whatever the checkpoints, an epoch's last one holds the epoch's mean."""
    torch.manual_seed(0)
    seldom = {c.step: c for c in run(network(), settings()).checkpoints}
    torch.manual_seed(0)
    often = {c.step: c for c in run(network(), settings(validate_every=1)).checkpoints}
    assert seldom.keys() < often.keys()
    for step, checkpoint in seldom.items():
        assert often[step] == checkpoint
    first_of_epoch = [often[step].train_loss for step in (1, 5, 9)]
    assert first_of_epoch != [seldom[step].train_loss for step in (4, 8, 12)]


def test_divergence_is_judged_over_an_epochs_worth_of_batches() -> None:
    """One bad last batch, alone in its epoch, does not make a run diverged."""
    calls = 0

    def loss(logits: Tensor, labels: Tensor) -> Tensor:
        nonlocal calls
        calls += torch.is_grad_enabled()
        bad = torch.is_grad_enabled() and calls == 13
        return F.cross_entropy(logits, labels) + 0.45 * bad

    result = run(network(), settings(epochs=None, steps=13), loss_function=loss)
    assert result.checkpoints[-1].train_loss > result.checkpoints[0].train_loss
    assert result.diverged_step is None


def test_a_reference_batch_trains_as_its_learning_rate_does() -> None:
    scaled = run(network(), settings(reference_batch=32))
    halved = run(network(), settings(optimizer={"name": "sgd", "lr": 0.05}))
    assert scaled.checkpoints == halved.checkpoints
    assert scaled.checkpoints != run(network(), settings()).checkpoints
