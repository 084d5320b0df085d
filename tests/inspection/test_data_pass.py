"""Data in every form, and the statistics of all of it."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from bnkit.errors import CheckError, ForwardError
from bnkit.inspection.batches import batches_of
from bnkit.inspection.data_pass import read_data
from bnkit.inspection.facts.data import DataFacts

X = torch.randn(11, 3, 4, generator=torch.Generator().manual_seed(0)) * 2 + 5
Y = torch.arange(11)


def net() -> nn.Sequential:
    return nn.Sequential(nn.BatchNorm1d(3), nn.Dropout(0.5), nn.Conv1d(3, 2, 1), nn.BatchNorm1d(2))


def read(model: nn.Module, data: Any, **options: Any) -> DataFacts:
    batches = batches_of(model, data, 4)
    return read_data(model, next(batches), batches, **options)


FORMS: dict[str, Callable[[], Any]] = {
    "tensor": lambda: X,
    "array": lambda: X.numpy(),
    "tuple": lambda: (X, Y),
    "mapping": lambda: {"input": X, "labels": Y},
    "data set": lambda: TensorDataset(X, Y),
    "loader": lambda: DataLoader(TensorDataset(X, Y), batch_size=4),
    "list": lambda: [(X[:6], Y[:6]), (X[6:], Y[6:])],
    "generator": lambda: ({"input": part} for part in X.split(6)),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_data_gives_the_same_statistics(form: str) -> None:
    found = read(net(), FORMS[form]())
    assert found.samples == 11
    assert found.is_labelled == (form not in ("tensor", "array", "generator"))
    first = found.population("0")
    assert first is not None
    assert first.count == 44
    flat = X.double().transpose(0, 1).flatten(1)
    torch.testing.assert_close(torch.tensor(first.mean).double(), flat.mean(1))
    torch.testing.assert_close(torch.tensor(first.var).double(), flat.var(1, correction=0))


def test_the_spread_between_batches_counts_and_batches_by_their_size() -> None:
    x = torch.tensor([[0.0], [2.0], [100.0], [102.0], [101.0]])
    found = read(nn.Sequential(nn.BatchNorm1d(1)), [x[:2], x[2:]])
    expected = np.array([0.0, 2, 100, 102, 101])
    assert found.populations[0].mean == pytest.approx((expected.mean(),))
    assert found.populations[0].var == pytest.approx((expected.var(),))


def test_stale_statistics_of_one_layer_do_not_reach_the_next() -> None:
    healthy, stale = net(), net()
    stale.load_state_dict(healthy.state_dict())
    stale[0].running_mean.fill_(1000)
    for model in (healthy, stale):
        model.eval()
    assert read(healthy, X).population("3") == read(stale, X).population("3")


def test_the_model_is_left_as_it_was_also_when_a_batch_fails() -> None:
    model = net()
    model[0].eval()
    before = copy.deepcopy(model.state_dict())
    random = torch.get_rng_state()
    read(model, X)
    with pytest.raises(ForwardError, match="batch 2 of data: Expected more than 1 value"):
        read(nn.Sequential(nn.BatchNorm1d(3)), [X[:2, :, 0], X[2:3, :, 0]])
    assert [module.training for module in model] == [False, True, True, True]
    torch.testing.assert_close(dict(model.state_dict()), dict(before), rtol=0, atol=0)
    assert torch.equal(torch.get_rng_state(), random)
    assert not model[0]._forward_pre_hooks


def test_one_sample_left_over_joins_the_batch_before_it() -> None:
    assert [batch.size for batch in batches_of(net(), X[:9], 4)] == [4, 5]


def test_each_domain_has_statistics_of_its_own() -> None:
    found = read(net(), X, domains={"near": X[:5], "far": X + 100})
    assert found.domains is not None
    near, far = found.domains
    assert (near.name, near.samples, far.samples) == ("near", 5, 11)
    assert far.populations[0].mean[0] - near.populations[0].mean[0] > 90


def test_labels_do_not_land_in_an_argument_with_a_default() -> None:
    class Takes(nn.Module):
        def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
            return x

    (batch,) = batches_of(Takes(), [(X, Y)])
    assert len(batch.args) == 1
    assert batch.labels is Y


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (3, "data is a int"),
        ([], "data holds no batch"),
        ((X, Y[:3]), r"lengths 11 \(0\), 3 \(1\)"),
        (torch.tensor(1.0), "without axes"),
    ],
)
def test_other_data_are_refused(data: Any, message: str) -> None:
    with pytest.raises(CheckError, match=message):
        list(batches_of(net(), data))
