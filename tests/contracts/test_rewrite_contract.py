"""What every rewrite keeps: the original untouched, the way back exact, no marks, one result."""

from __future__ import annotations

import copy
import io
import pickle
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import bnkit
from bnkit.errors import RewriteError
from bnkit.inspection.nested_tensors import tensors_in
from bnkit.rewrite import Rewrite
from helpers.rewrite_cases import MODELS, REWRITES, RewriteCase

PAIRS = [
    (r, model) for r, case in REWRITES.items() for model in MODELS if model not in case.refuses
]
REFUSED = [(r, model) for r, case in REWRITES.items() for model in case.refuses]


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


class Given:
    """A model with its example, ready for a rewrite."""

    def __init__(self, rewrite: str, model: str) -> None:
        self.case: RewriteCase = REWRITES[rewrite]
        self.build, self.example = MODELS[model]
        self.model = self.build()
        self.case.prepare(self.model)

    def make(self, *, inplace: bool = False) -> Rewrite:
        return self.case.make(self.model, self.example, inplace=inplace)


@pytest.fixture(params=PAIRS, ids="-".join)
def given(request: pytest.FixtureRequest) -> Given:
    return Given(*request.param)


def marks_of(model: nn.Module) -> dict[str, Any]:
    """Return all that a user could find changed in a model, bit for bit."""
    found: dict[str, Any] = {"repr": repr(model), "keys": list(model.state_dict())}
    for path, module in model.named_modules(remove_duplicate=False):
        tables = [t for t in vars(module) if t.endswith("_hooks")]
        found[f"{path}:module"] = (
            id(module),
            type(module),
            module.training,
            {table: list(vars(module)[table]) for table in tables},
            {
                key: value
                for key, value in vars(module).items()
                if isinstance(value, int | float | str | tuple | None)
            },
        )
    for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
        found[f"{name}:tensor"] = (id(tensor), tensor.requires_grad, _bits(tensor))
        found[f"{name}:grad"] = None if tensor.grad is None else _bits(tensor.grad)
    return found


def _bits(tensor: torch.Tensor) -> bytes:
    return (
        tensor.detach().contiguous().view(torch.uint8).numpy().tobytes()
        if tensor.dim()
        else (str(tensor.item()).encode())
    )


def outputs_of(model: nn.Module, example: Any) -> list[torch.Tensor]:
    """Return the tensors that a copy of a model returns in eval mode."""
    with torch.no_grad():
        return tensors_in(copy.deepcopy(model).eval()(example))


def assert_same_outputs(one: nn.Module, other: nn.Module, example: Any) -> None:
    pairs = zip(outputs_of(one, example), outputs_of(other, example), strict=True)
    for a, b in pairs:
        torch.testing.assert_close(a, b, rtol=0, atol=0)


def test_a_copy_leaves_the_original_and_the_random_state_untouched(given: Given) -> None:
    before, example = marks_of(given.model), given.example.clone()
    states = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tobytes()
    rewrite = given.make()
    assert marks_of(given.model) == before
    assert torch.equal(given.example, example)
    after = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tobytes()
    assert torch.equal(states[0], after[0])
    assert states[1:] == after[1:]
    shared = {id(t) for t in (*given.model.parameters(), *given.model.buffers())}
    assert not shared & {id(t) for t in (*rewrite.model.parameters(), *rewrite.model.buffers())}


def test_undo_restores_the_model_bit_for_bit(given: Given) -> None:
    before = marks_of(given.model)
    rewrite = given.make(inplace=True)
    assert rewrite.undo() is given.model
    assert marks_of(given.model) == before
    rewrite.undo()
    assert marks_of(given.model) == before


def test_an_error_on_the_way_leaves_the_model_as_it_was(
    given: Given, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = marks_of(given.model)

    monkeypatch.setattr(Rewrite, "__setattr__", _raising_after_a_change(Rewrite.__setattr__))
    with pytest.raises(KeyboardInterrupt):
        given.make(inplace=True)
        raise KeyboardInterrupt  # a rewrite that sets nothing after its changes cannot be stopped
    monkeypatch.undo()
    if marks_of(given.model) != before:
        pytest.fail("the model was left half-changed")


def _raising_after_a_change(plain: Any) -> Any:
    def set_attribute(self: Rewrite, name: str, value: Any) -> None:
        plain(self, name, value)
        if name in ("difference", "added_keys") and vars(self).get("_reversals"):
            raise KeyboardInterrupt

    return set_attribute


def test_keys_of_the_state_dict_are_stated(given: Given) -> None:
    before = list(given.model.state_dict())
    rewrite = given.make()
    after = list(rewrite.model.state_dict())
    assert set(rewrite.added_keys) == set(after) - set(before)
    assert set(rewrite.removed_keys) == set(before) - set(after)


def test_results_can_be_copied_and_pickled_and_then_undone(given: Given) -> None:
    rewrite = given.make()
    expected = outputs_of(given.model, given.example)
    for other in (copy.deepcopy(rewrite), pickle.loads(pickle.dumps(rewrite))):
        assert_same_outputs(other.model, rewrite.model, given.example)
        found = outputs_of(other.undo(), given.example)
        for a, b in zip(expected, found, strict=True):
            torch.testing.assert_close(a, b, rtol=0, atol=0)
    buffer = io.BytesIO()
    torch.save(rewrite.model, buffer)
    buffer.seek(0)
    loaded = torch.load(buffer, weights_only=False)
    assert_same_outputs(loaded, rewrite.model, given.example)


def test_one_and_two_threads_give_the_same_model(given: Given) -> None:
    one = given.make().model.state_dict()
    torch.set_num_threads(2)
    two = given.make().model.state_dict()
    assert one.keys() == two.keys()
    for key in one:
        torch.testing.assert_close(one[key], two[key], rtol=1e-6, atol=1e-7)


def test_a_file_is_replayed_on_a_fresh_model(given: Given, tmp_path: Path) -> None:
    rewrite, file = given.make(), tmp_path / "changed.safetensors"
    if not given.case.is_replayable:
        with pytest.raises(RewriteError, match="cannot be replayed"):
            rewrite.save(file)
        assert not list(tmp_path.iterdir())
        return
    rewrite.save(file)
    loaded = bnkit.load(given.build(), file)
    # What the model had been through before, as the case's preparation, is replayed too.
    assert loaded.changes[len(loaded.changes) - len(rewrite.changes) :] == rewrite.changes
    assert loaded.model.state_dict().keys() == rewrite.model.state_dict().keys()
    assert_same_outputs(loaded.model, rewrite.model, given.example)
    grads = {n: p.requires_grad for n, p in rewrite.model.named_parameters()}
    assert {n: p.requires_grad for n, p in loaded.model.named_parameters()} == grads


def test_the_account_names_what_was_done(given: Given) -> None:
    rewrite = given.make()
    assert rewrite.changes or rewrite.skipped
    assert rewrite.name
    text = str(rewrite)
    for change in rewrite.changes[:1]:
        assert change.what in text


@pytest.mark.parametrize(("rewrite", "model"), REFUSED, ids=map("-".join, REFUSED))
def test_a_refused_model_is_left_as_it_was(rewrite: str, model: str) -> None:
    given = Given(rewrite, model)
    before = marks_of(given.model)
    with pytest.raises(RewriteError):
        given.make(inplace=True)
    assert marks_of(given.model) == before
