from __future__ import annotations

import inspect
import pickle

import pytest

from bnkit import errors

KINDS = [
    kind
    for _, kind in inspect.getmembers(errors, inspect.isclass)
    if issubclass(kind, errors.BnkitError) and kind is not errors.BnkitError
]


def test_a_message_says_where_what_was_given_what_is_required_and_the_remedy() -> None:
    error = errors.TensorShapeError(
        "got x of shape (1, 8)", required="at least two values", remedy="Use more", where="bn2"
    )
    assert str(error) == "bn2: got x of shape (1, 8); at least two values. Use more."
    assert str(errors.DataError("nothing there")) == "nothing there."
    assert str(errors.DataError("a = 1", remedy="Did you mean 'b'?")) == "a = 1. Did you mean 'b'?"


@pytest.mark.parametrize("kind", KINDS)
def test_every_error_also_derives_from_a_built_in_type(kind: type[errors.BnkitError]) -> None:
    built_in = [base for base in kind.__mro__ if base.__module__ == "builtins"]
    assert len(built_in) > len(errors.BnkitError.__mro__) - 1


@pytest.mark.parametrize("kind", KINDS)
def test_errors_cross_process_borders(kind: type[errors.BnkitError]) -> None:
    error = kind("given", required="required", remedy="remedy", where="where")
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is kind
    assert str(again) == str(error) == "where: given; required. remedy."


def test_the_tree_in_the_docstring_is_complete() -> None:
    assert errors.__doc__ is not None
    for kind in KINDS:
        assert f"{kind.__name__} " in errors.__doc__
