"""The rule by which running statistics follow the batches."""

from __future__ import annotations

import pytest
import torch

from bnkit.functional import update_running_statistics
from bnkit.functional.running_statistics import unbiased_variance
from bnkit.kernels import Statistics

BATCH = Statistics(torch.tensor([4.0, -2.0]), torch.tensor([3.0, 6.0]), 4)


def test_momentum_is_the_weight_of_the_new_batch() -> None:
    mean, var = torch.tensor([0.0, 2.0]), torch.tensor([1.0, 2.0])
    update_running_statistics(mean, var, BATCH, 0.25)
    assert mean.tolist() == [0.75 * 0 + 0.25 * 4, 0.75 * 2 + 0.25 * -2]
    # The unbiased variances are 3·4/3 and 6·4/3.
    assert var.tolist() == [0.75 * 1 + 0.25 * 4, 0.75 * 2 + 0.25 * 8]


def test_the_unbiased_variance_divides_by_one_less() -> None:
    x = torch.tensor([1.0, 3.0, 4.0, 8.0])
    batch = Statistics(x.mean().view(1), x.var(correction=0).view(1), 4)
    torch.testing.assert_close(unbiased_variance(batch), x.var(correction=1).view(1))


def test_one_value_has_no_unbiased_variance() -> None:
    one = Statistics(torch.zeros(1), torch.zeros(1), 1)
    assert bool(unbiased_variance(one).isnan().all())


def test_a_batch_of_no_values_changes_nothing() -> None:
    mean, var = torch.tensor([5.0]), torch.tensor([7.0])
    update_running_statistics(mean, var, Statistics(torch.zeros(1), torch.zeros(1), 0), 0.5)
    assert (mean.item(), var.item()) == (5.0, 7.0)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_buffers_keep_their_dtype_and_their_memory(dtype: torch.dtype) -> None:
    mean, var = torch.zeros(2, dtype=dtype), torch.ones(2, dtype=dtype)
    before = mean.data_ptr()
    update_running_statistics(mean, var, BATCH, 0.5)
    assert mean.dtype == dtype
    assert mean.data_ptr() == before
    assert mean.tolist() == [2.0, -1.0]


def test_no_gradient_enters_the_buffers() -> None:
    mean, var = torch.zeros(2), torch.ones(2)
    recorded = Statistics(BATCH.mean.clone().requires_grad_(), BATCH.var, 4)
    update_running_statistics(mean, var, recorded, 0.5)
    assert not mean.requires_grad
