"""The unavoidable copies: how many tensors they read and write, and whether into fresh memory."""

from __future__ import annotations

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from bnkit.bench.cases import OPERATIONS, Case
from bnkit.bench.inputs import inputs_of
from bnkit.bench.memory_limit import FreshLimit, ReusedLimit

# operation → tensors read and written, forward and backward.
TRAFFIC = {"bn": (2, 3), "bn-relu": (2, 3), "bn-add-relu": (3, 5)}


class Traffic(TorchDispatchMode):
    """Counts the tensors of x's size that operators read and write."""

    def __init__(self, shape):
        super().__init__()
        self.shape, self.count = torch.Size(shape), 0

    def __torch_dispatch__(self, operator, types, args=(), kwargs=None):
        result = operator(*args, **(kwargs or {}))
        inputs = args[1:] if operator is torch.ops.aten.copy_.default else args
        read = [a for a in inputs if isinstance(a, torch.Tensor) and a.shape == self.shape]
        self.count += len(read) + 1
        return result


@pytest.mark.parametrize("limit_kind", [FreshLimit, ReusedLimit])
@pytest.mark.parametrize("operation", OPERATIONS)
def test_the_copies_move_what_the_table_says(limit_kind, operation):
    case = Case((4, 3, 5, 6), operation=operation)
    limit = limit_kind(case, inputs_of(case))
    counted, y = [], limit.forward()
    for run in (limit.forward, lambda: limit.backward(y)):
        with Traffic(case.shape) as traffic:
            run()
        counted.append(traffic.count)
    assert tuple(counted) == TRAFFIC[operation]


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("layout", ["contiguous", "channels-last"])
def test_fresh_memory_is_fresh_and_reused_memory_is_not(operation, layout):
    case = Case((4, 3, 5, 6), operation=operation, layout=layout)
    inputs = inputs_of(case)
    for kind, is_fresh in ((FreshLimit, True), (ReusedLimit, False)):
        limit = kind(case, inputs)
        first, second = limit.forward(), limit.forward()
        assert (first.data_ptr() != second.data_ptr()) is is_fresh
        assert first.stride() == inputs.x.stride()
        expected = inputs.x if inputs.residual is None else inputs.x + inputs.residual
        torch.testing.assert_close(first, expected.detach())
        one, other = limit.backward(first), limit.backward(second)
        assert (one[0].data_ptr() != other[0].data_ptr()) is is_fresh
        assert len({t.data_ptr() for t in one} | {first.data_ptr()}) == len(one) + 1


def test_two_bytes_a_value_move_as_integers():
    case = Case((4, 3, 5, 6), dtype="bfloat16")
    inputs = inputs_of(case)
    y = FreshLimit(case, inputs).forward()
    assert y.dtype == torch.int16
    assert torch.equal(y.view(torch.bfloat16), inputs.x)
