"""Every edit can be undone, replayed from plain data, copied and pickled."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable

import pytest
import torch
from torch import nn

from bnkit.errors import RewriteError
from bnkit.rewrite.edits import Edits, rewriting
from bnkit.rewrite.steps import Step, as_json, from_json, replay


class Holder(nn.Module):
    """A module held at two places, one held once, and a missing bias."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, bias=False)
        self.norm = nn.BatchNorm2d(4)
        self.again = self.norm

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.again(self.norm(self.conv(x)))


def conv(edits: Edits) -> nn.Conv2d:
    module = edits.model.conv
    assert isinstance(module, nn.Conv2d)
    return module


# fmt: off
EDITS: dict[str, Callable[[Edits], object]] = {
    "replace": lambda e: e.replace(e.model.norm, nn.Identity()),
    "replace by a layer": lambda e: e.replace(e.model.norm, nn.GroupNorm(2, 4)),
    "put around": lambda e: e.put_around(conv(e), {"conv": None, "norm": nn.BatchNorm2d(4)}),
    "add a parameter": lambda e: e.set_parameter(conv(e), "bias", torch.ones(4)),
    "frozen parameter": lambda e: e.set_parameter(
        conv(e), "weight", conv(e).weight * 2, requires_grad=False),
    "other values": lambda e: e.set_parameter(conv(e), "weight", torch.ones(4, 3, 3, 3)),
    "other shape": lambda e: e.set_parameter(conv(e), "weight", torch.ones(2, 3, 3, 3)),
    "drop a parameter": lambda e: e.set_parameter(e.model.norm, "bias", None),
    "buffer": lambda e: e.set_buffer(e.model.norm, "running_var", torch.full((4,), 2.0)),
    "new buffer": lambda e: e.set_buffer(conv(e), "extra", torch.ones(2)),
    "drop a buffer": lambda e: e.set_buffer(e.model.norm, "running_mean", None),
    "attribute": lambda e: e.set_attribute(conv(e), "padding", (1, 1)),
    "new attribute": lambda e: e.set_attribute(conv(e), "note", "seen"),
    "mode": lambda e: e.set_mode(e.model.norm, training=False),
}
# fmt: on


def state(model: nn.Module) -> list[object]:
    tensors = [(k, v.tolist()) for k, v in model.state_dict().items()]
    plain = [
        {k: v for k, v in vars(m).items() if isinstance(v, int | str | tuple)}
        for m in model.modules()
    ]
    grads = [p.requires_grad for p in model.parameters()]
    return [repr(model), tensors, plain, grads]


@pytest.mark.parametrize("name", EDITS)
def test_an_edit_is_undone_copied_and_replayed(name: str) -> None:
    torch.manual_seed(0)
    model = Holder()
    before, modules = state(model), list(model.modules())
    with rewriting("test", model, inplace=True) as edits:
        EDITS[name](edits)
    rewrite = edits.rewrite
    after = state(rewrite.model)
    assert after != before
    for other in (copy.deepcopy(rewrite), pickle.loads(pickle.dumps(rewrite))):
        assert state(other.model) == after
        assert state(other.undo()) == before
    assert state(rewrite.model) == after, "a copy's undo must not reach the original"
    assert rewrite.steps is not None
    fresh: nn.Module = Holder()
    for step in from_json(as_json(rewrite.steps)):
        fresh = replay(fresh, step)
    fresh.load_state_dict(rewrite.model.state_dict())
    assert state(fresh) == after
    assert state(rewrite.undo()) == before
    assert list(rewrite.model.modules()) == modules


def test_a_module_is_replaced_in_all_its_places_and_as_the_whole_model() -> None:
    with rewriting("test", Holder(), inplace=False) as edits:
        edits.replace(edits.model.norm, nn.Identity())
    assert edits.model.norm is edits.model.again
    model = nn.BatchNorm1d(3)
    with rewriting("test", model, inplace=True) as edits:
        edits.replace(model, nn.Identity())
    assert isinstance(edits.rewrite.model, nn.Identity)
    assert edits.rewrite.undo() is model


def test_other_values_keep_the_parameter_that_an_optimizer_holds() -> None:
    model = Holder()
    held = model.conv.weight
    with rewriting("test", model, inplace=True) as edits:
        edits.set_parameter(model.conv, "weight", torch.ones(4, 3, 3, 3))
    assert model.conv.weight is held
    assert float(held.detach().sum()) == 108


def test_an_error_undoes_what_was_done() -> None:
    model = Holder()
    before = state(model)
    with pytest.raises(KeyboardInterrupt), rewriting("test", model, inplace=True) as edits:
        edits.replace(model.norm, nn.Identity())
        edits.set_parameter(model.conv, "bias", torch.ones(4))
        raise KeyboardInterrupt
    assert state(model) == before


def test_modules_that_a_file_cannot_name_are_refused() -> None:
    with (
        pytest.raises(RewriteError, match="a Tanh cannot be stored"),
        rewriting("test", Holder(), inplace=False) as edits,
    ):
        edits.replace(edits.model.norm, nn.Tanh())


def test_steps_of_another_model_or_version_are_explained() -> None:
    form = {"type": "os.system", "arguments": {}, "training": True, "parameters": {}, "buffers": {}}
    with pytest.raises(RewriteError, match=r"blocks\.3: a change of the file cannot be replayed"):
        replay(Holder(), Step("module", "blocks.3", value=form))
    with pytest.raises(RewriteError, match=r"'os\.system' is not known"):
        replay(Holder(), Step("module", "conv", value=form))
    with pytest.raises(RewriteError, match="class 'odd' is not known"):
        replay(Holder(), Step("class", "conv", value="odd"))
    with pytest.raises(RewriteError, match="cannot be replayed: odd"):
        replay(Holder(), Step("odd", "conv"))
    with pytest.raises(RewriteError, match="list of changes cannot be read"):
        from_json('[{"edits": 1}]')
