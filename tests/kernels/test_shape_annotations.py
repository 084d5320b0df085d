"""The shape annotations are executed in tests, and a wrong shape is caught."""

from __future__ import annotations

import pytest
import torch

from bnkit.kernels import kernel_named


def test_a_tensor_whose_shape_contradicts_its_annotation_raises() -> None:
    kernel = kernel_named("eager")
    x, mean = torch.zeros(2, 3, 4), torch.zeros(5)
    with pytest.raises(Exception, match="mean") as caught:
        kernel.normalize(x, torch.zeros(3), mean, None, None)
    assert "jaxtyping" in type(caught.value).__module__


def test_an_integer_tensor_raises_where_a_floating_one_is_annotated() -> None:
    with pytest.raises(Exception, match="x") as caught:
        kernel_named("eager").statistics(torch.zeros(2, 3, dtype=torch.int64))
    assert "jaxtyping" in type(caught.value).__module__
