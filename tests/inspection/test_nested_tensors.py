from __future__ import annotations

from collections import OrderedDict, namedtuple
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from bnkit.inspection.nested_tensors import tensors_in

A, B = torch.ones(1), torch.zeros(2)
Pair = namedtuple("Pair", ["first", "second"])


@dataclass(slots=True)
class Output:
    logits: Tensor
    more: Any = None


CYCLE: list[Any] = [A]
CYCLE.append(CYCLE)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (A, [A]),
        ((A, [B, 3]), [A, B]),
        ({"a": A, "b": {"c": B}}, [A, B]),
        (OrderedDict(b=B, a=A), [B, A]),
        (Pair(B, A), [B, A]),
        (Output(A, Output(B)), [A, B]),
        (SimpleNamespace(a=A, b=[B]), [A, B]),
        (CYCLE, [A]),
        ((A, A), [A, A]),
        (nn.Linear(2, 2), []),
        (Output, []),
        (None, []),
        ("text", []),
        (3.5, []),
        (lambda: A, []),
    ],
)
def test_tensors_are_found_in_order(value: Any, expected: list[Tensor]) -> None:
    found = tensors_in(value)
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=0)
