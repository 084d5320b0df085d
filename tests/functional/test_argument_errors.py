"""The same built-in type as torch for the same mistake, with a better message."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as torch_functional

from bnkit.errors import BnkitError
from bnkit.functional import batch_norm

X, ZEROS, ONES = torch.randn(2, 3, 4, 4), torch.zeros(3), torch.ones(3)

# what is wrong, arguments of batch_norm, what the message says
MISTAKES: list[tuple[str, tuple[Any, ...], dict[str, Any], str]] = [
    ("list", ([1.0, 2.0], None, None), {"training": True}, "x of type list"),
    ("none", (None, None, None), {"training": True}, "x of type NoneType"),
    ("weight-list", (X, None, None, [1.0] * 3), {"training": True}, "weight of type list"),
    ("rank-0", (torch.tensor(1.0), None, None), {"training": True}, r"shape \(\)"),
    ("rank-1", (ONES, None, None), {"training": True}, r"shape \(3,\); batch norm needs \(N, C"),
    ("one-value", (X[:1, :, :1, :1], None, None), {"training": True}, "one value per channel"),
    ("no-channel", (X[:, :0], None, None, ONES[:0]), {"training": True}, "without channels"),
    ("eps-0", (X, None, None), {"training": True, "eps": 0.0}, r"eps=0\.0; training needs eps > 0"),
    ("eps-negative", (X, ZEROS, ONES), {"eps": -1.0}, r"eps=-1\.0; eps must not be negative"),
    ("eps-none", (X, ZEROS, ONES), {"eps": None}, "eps=None of type NoneType"),
    ("momentum-none", (X, None, None), {"training": True, "momentum": None}, "momentum=None"),
    ("momentum-text", (X, None, None), {"training": True, "momentum": "a"}, "momentum='a'"),
    ("no-statistics", (X, None, None), {}, "running_mean and running_var None in eval mode"),
    ("no-variance", (X, ZEROS, None), {}, "running_var None in eval mode"),
    (
        "half-statistics",
        (X, ZEROS, None),
        {"training": True},
        "running_var None, but not the other",
    ),
    ("int", (X.int(), ZEROS, ONES), {}, "dtype int32; batch norm is defined for float16"),
    ("bool", (X > 0, None, None), {"training": True}, "dtype bool"),
    ("complex", (X + 0j, None, None), {"training": True}, "dtype complex64"),
    ("float8", (X.to(torch.float8_e4m3fn), None, None), {"training": True}, "float8_e4m3fn"),
    ("x-meta", (X.to("meta"), ZEROS, ONES), {}, "x on meta, but running_mean, running_var on cpu"),
    ("layer-meta", (X, ZEROS.to("meta"), ONES.to("meta")), {}, "x on cpu, but .* on meta"),
    ("channels", (X, ZEROS[:2], ONES[:2]), {}, "3 channels on its second axis, but .* of 2"),
    ("weight", (X, None, None, ONES[:1]), {"training": True}, "but weight of 1"),
    ("double-x", (X.double(), ZEROS, ONES), {}, "float64 with running_mean float32"),
    ("double-layer", (X, ZEROS.double(), ONES.double()), {}, "these must all be float32"),
    ("half-layer", (X, ZEROS.half(), ONES.half()), {}, "these must all be float32"),
    (
        "mixed-layer",
        (X.bfloat16(), ZEROS, ONES, ONES.bfloat16()),
        {"training": True},
        "all be bfloat16 or all float32",
    ),
    (
        "running-with-gradient",
        (X, ZEROS.clone().requires_grad_(), ONES),
        {"training": True},
        "running_mean with requires_grad",
    ),
]
mistakes = pytest.mark.parametrize(
    ("arguments", "keywords", "message"),
    [mistake[1:] for mistake in MISTAKES],
    ids=[mistake[0] for mistake in MISTAKES],
)


def raised(function: Callable[..., Any], arguments: Any, keywords: Any) -> Exception:
    with pytest.raises(Exception) as caught:
        function(*arguments, **keywords)
    return caught.value


@mistakes
def test_the_type_is_torchs_and_the_message_says_more(
    arguments: tuple[Any, ...], keywords: dict[str, Any], message: str
) -> None:
    torchs = raised(torch_functional.batch_norm, arguments, keywords)
    with pytest.raises(BnkitError, match=message) as caught:
        batch_norm(*arguments, **keywords)
    assert isinstance(caught.value, type(torchs))
    assert type(caught.value.__cause__) is type(torchs)


@mistakes
def test_kernels_that_would_not_complain_are_guarded_by_the_same_words(
    arguments: tuple[Any, ...], keywords: dict[str, Any], message: str
) -> None:
    with pytest.raises(BnkitError, match=message):
        batch_norm(*arguments, **keywords, kernel="reference")


def test_a_mistake_changes_no_buffer() -> None:
    mean, var = torch.zeros(3), torch.ones(3)
    with pytest.raises(BnkitError, match="weight of 4"):
        batch_norm(X, mean, var, torch.ones(4), training=True, kernel="reference")
    assert mean.tolist() == [0.0] * 3
    assert var.tolist() == [1.0] * 3


def test_a_wrong_kernel_is_not_mistaken_for_a_wrong_tensor() -> None:
    with pytest.raises(ValueError, match="there is no kernel 'nun'"):
        batch_norm(X[:1, :, :1, :1], None, None, training=True, kernel="nun")


def test_channels_last_in_the_wrong_place_has_a_remedy() -> None:
    with pytest.raises(RuntimeError, match=r"use x\.movedim\(-1, 1\)"):
        batch_norm(torch.randn(2, 4, 5, 3), ZEROS, ONES)


def test_an_error_that_no_argument_explains_comes_through_as_it_is() -> None:
    class Refuses(torch.Tensor):
        @classmethod
        def __torch_function__(cls, function, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
            if function is torch_functional.batch_norm:
                raise RuntimeError("out of everything")
            return super().__torch_function__(function, types, args, kwargs or {})

    with pytest.raises(RuntimeError, match=r"^out of everything$") as caught:
        batch_norm(torch.randn(2, 3).as_subclass(Refuses), ZEROS, ONES)
    assert not isinstance(caught.value, BnkitError)


def test_an_explanation_of_another_type_is_not_given() -> None:
    """An interrupted call with a mistake elsewhere in it must not be blamed on the mistake."""

    class Interrupts(torch.Tensor):
        @classmethod
        def __torch_function__(cls, function, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
            if function is torch_functional.batch_norm:
                raise ValueError("not about channels")
            return super().__torch_function__(function, types, args, kwargs or {})

    with pytest.raises(ValueError, match=r"^not about channels$"):
        batch_norm(torch.randn(2, 5).as_subclass(Interrupts), ZEROS, ONES)
