"""Rewrites in files: what is written, what is refused, and what stands there after an error."""

from __future__ import annotations

import copy
import json
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

import bnkit
from bnkit.errors import ArgumentTypeError, RewriteError, StoreError
from bnkit.rewrite import Rewrite
from bnkit.rewrite.edits import rewriting

IMAGES = torch.randn(2, 3, 8, 8)


def build() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU()).eval()


def changed(model: nn.Module) -> Rewrite:
    with rewriting("test", model, inplace=False) as edits:
        edits.set_parameter(edits.model[0], "weight", torch.ones(4, 3, 3, 3))
        edits.replace(edits.model[1], nn.Identity())
        edits.changed("1", "replaced")
    return edits.rewrite


def test_weights_and_changes_come_back_on_a_fresh_model(tmp_path: Path) -> None:
    rewrite, file = changed(build()), tmp_path / "changed.safetensors"
    rewrite.save(file)
    torch.manual_seed(5)
    fresh = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU()).eval()
    loaded = bnkit.load(fresh, file)
    assert loaded.model is fresh
    assert loaded.changes == rewrite.changes
    assert loaded.name == "test"
    assert isinstance(fresh[1], nn.Identity)
    assert torch.equal(fresh(IMAGES), rewrite.model(IMAGES))
    assert [p.name for p in tmp_path.iterdir()] == ["changed.safetensors"]


def test_what_was_loaded_can_be_saved_again(tmp_path: Path) -> None:
    changed(build()).save(tmp_path / "a.safetensors")
    bnkit.load(build(), tmp_path / "a.safetensors").save(tmp_path / "b.safetensors")
    again = bnkit.load(build(), tmp_path / "b.safetensors")
    assert isinstance(again.model[1], nn.Identity)


def test_tied_and_strided_tensors_are_stored_once(tmp_path: Path) -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.two = nn.Linear(3, 3), nn.Linear(3, 3)
            self.two.weight = self.one.weight
            self.register_buffer("rows", torch.arange(12.0).reshape(3, 4).t())

    with rewriting("test", Tied(), inplace=False) as edits:
        edits.set_parameter(edits.model.one, "bias", None)
    edits.rewrite.save(tmp_path / "tied.safetensors")
    assert set(load_file(tmp_path / "tied.safetensors")) == {"one.weight", "two.bias", "rows"}
    loaded = bnkit.load(Tied(), tmp_path / "tied.safetensors").model
    assert loaded.one.weight is loaded.two.weight
    assert torch.equal(loaded.rows, edits.model.rows)


def test_a_program_runs_without_the_models_code_for_any_batch(tmp_path: Path) -> None:
    rewrite, file = changed(build()), tmp_path / "changed.pt2"
    rewrite.save(file, IMAGES)
    program = torch.export.load(file).module()
    for size in (1, 2, 5):
        images = torch.randn(size, 3, 8, 8)
        torch.testing.assert_close(program(images), rewrite.model(images))


def test_a_program_of_keywords_and_fixed_shapes(tmp_path: Path) -> None:
    class Fixed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm = nn.BatchNorm1d(3)

        def forward(self, x: Tensor, *, scale: Tensor) -> Tensor:
            return self.norm(x).reshape(2, 6) * scale

    with rewriting("test", Fixed().eval(), inplace=False) as edits:
        edits.set_buffer(edits.model.norm, "running_mean", torch.ones(3))
    inputs = {"x": torch.randn(4, 3), "scale": torch.tensor(2.0)}
    edits.rewrite.save(tmp_path / "fixed.pt2", inputs)
    program = torch.export.load(tmp_path / "fixed.pt2").module()
    torch.testing.assert_close(program(**inputs), edits.model(**inputs))


def test_what_cannot_be_exported_is_explained_and_leaves_nothing(tmp_path: Path) -> None:
    class Branching(nn.Sequential):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x) if x.sum() > 0 else x

    with rewriting("test", Branching(nn.BatchNorm2d(3)).eval(), inplace=False) as edits:
        edits.replace(edits.model[0], nn.Identity())
    with pytest.raises(RewriteError, match="cannot export the model"):
        edits.rewrite.save(tmp_path / "a.pt2", IMAGES)
    with pytest.raises(RewriteError, match=r"a \.pt2 needs an example"):
        edits.rewrite.save(tmp_path / "a.pt2")
    assert not list(tmp_path.iterdir())


def test_other_endings_and_unwritable_places_are_refused(tmp_path: Path) -> None:
    rewrite = changed(build())
    with pytest.raises(RewriteError, match=r"its ending is \.bin"):
        rewrite.save(tmp_path / "a.bin")
    with pytest.raises(StoreError, match="cannot write"):
        rewrite.save(tmp_path / "missing" / "a.safetensors")
    with pytest.raises(StoreError, match="cannot write"):
        rewrite.save(tmp_path / "missing" / "a.pt2", IMAGES)
    (tmp_path / "folder.safetensors").mkdir()
    with pytest.raises(StoreError, match="cannot write"):
        rewrite.save(tmp_path / "folder.safetensors")
    assert [p.name for p in tmp_path.iterdir()] == ["folder.safetensors"]


def test_state_that_is_no_tensor_is_refused(tmp_path: Path) -> None:
    class Extra(nn.Sequential):
        def get_extra_state(self) -> Any:
            return {"seen": 3}

        def set_extra_state(self, state: Any) -> None: ...

    with rewriting("test", Extra(nn.BatchNorm2d(3)), inplace=False) as edits:
        edits.set_mode(edits.model[0], training=False)
    with pytest.raises(RewriteError, match="keeps a dict in its state_dict"):
        edits.rewrite.save(tmp_path / "a.safetensors")


def two_norms() -> nn.Sequential:
    return nn.Sequential(*build(), nn.BatchNorm2d(4)).train()


def test_earlier_rewrites_of_the_model_are_replayed_too(tmp_path: Path) -> None:
    files = {name: tmp_path / f"{name}.safetensors" for name in ("both", "pickled", "undone")}
    frozen = bnkit.freeze(two_norms(), "1")
    both = bnkit.recalibrate(frozen.model, [IMAGES])
    both.save(files["both"])
    loaded = bnkit.load(two_norms(), files["both"])
    assert loaded.name == "freeze + recalibrate"
    assert loaded.changes == [*frozen.changes, *both.changes]
    assert [module.training for module in loaded.model.train()] == [True, False, True, True]
    assert torch.equal(loaded.model.eval()(IMAGES), both.model.eval()(IMAGES))
    # What was loaded goes on as it came.
    bnkit.freeze(loaded.model, "3", inplace=True).save(files["pickled"])
    assert len(bnkit.load(two_norms(), files["pickled"]).changes) == 3
    pickle.loads(pickle.dumps(both)).save(files["pickled"])
    assert bnkit.load(two_norms(), files["pickled"]).changes == loaded.changes[:2]
    both.undo()
    both.save(files["undone"])
    assert bnkit.load(two_norms(), files["undone"]).changes == frozen.changes


def test_a_fold_that_took_something_back_is_replayed(tmp_path: Path) -> None:
    class Held(nn.Module):
        """The first pair stands in a list too, so it is folded, found out, and taken back."""

        def __init__(self) -> None:
            super().__init__()
            self.conv, self.norm = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)
            self.held = [self.conv, self.norm]
            self.last = nn.Sequential(nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4))

        def forward(self, x: Tensor) -> Tensor:
            for layer in self.held:
                x = layer(x)
            return self.last(x)

    rewrite = bnkit.fold(Held().eval(), IMAGES)
    assert [change.path for change in rewrite.changes] == ["last.1"]
    rewrite.save(tmp_path / "a.safetensors")
    loaded = bnkit.load(Held().eval(), tmp_path / "a.safetensors").model
    assert torch.equal(loaded(IMAGES), rewrite.model(IMAGES))


def test_changes_that_no_file_knows_of_are_found(tmp_path: Path) -> None:
    file = tmp_path / "a.safetensors"
    copied = copy.deepcopy(bnkit.freeze(build()).model)
    bnkit.recalibrate(copied, [IMAGES]).save(file)
    with pytest.raises(RewriteError, match=r"another kind of layer at 1 \(kept in eval mode"):
        bnkit.load(build(), file)
    accelerated = bnkit.accelerate(build()).model
    with pytest.raises(RewriteError, match="the changes of accelerate cannot be replayed"):
        bnkit.freeze(accelerated).save(file)


def test_a_model_of_another_dtype_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "a.safetensors"
    changed(build()).save(file)
    other = build().double()
    with pytest.raises(RewriteError, match=r"another dtype of 0\.weight"):
        bnkit.load(other, file)
    assert isinstance(other[1], nn.BatchNorm2d)


DAMAGED = {
    "no steps": {"steps": None},
    "a module of nothing": {"steps": json.dumps([{"edit": "module", "path": "1"}])},
    "no such parameter": {
        "steps": json.dumps([{"edit": "trained", "path": "1", "name": "no", "value": True}])
    },
    "no dtype": {
        "steps": json.dumps(
            [
                {
                    "edit": "buffer",
                    "path": "1",
                    "name": "running_var",
                    "value": {"shape": [4], "dtype": "load"},
                }
            ]
        )
    },
    "a method": {
        "steps": json.dumps([{"edit": "attribute", "path": "1", "name": "forward", "value": 3}])
    },
    "tied to nothing": {"tied": json.dumps({"x": "y"})},
    "tied list": {"tied": "[1]"},
    "changes": {"changes": "[1]"},
}


@pytest.mark.parametrize("name", DAMAGED)
def test_damaged_metadata_are_one_message_and_change_nothing(tmp_path: Path, name: str) -> None:
    file = tmp_path / "a.safetensors"
    given = {"bnkit": "1", "steps": "[]", "changes": "[]", "tied": "{}", "kinds": "{}"}
    given |= DAMAGED[name]
    metadata = {key: value for key, value in given.items() if value is not None}
    model = build()
    save_file(model.state_dict(), file, metadata)
    with pytest.raises(RewriteError):
        bnkit.load(model, file)
    assert callable(model[1].forward)
    assert repr(model) == repr(build())


@pytest.mark.parametrize("steps", ["[]", "null", json.dumps([{"edit": "odd", "path": ""}])])
def test_files_of_others_and_damaged_ones_are_refused(tmp_path: Path, steps: str) -> None:
    file = tmp_path / "a.safetensors"
    with pytest.raises(RewriteError, match="no such file"):
        bnkit.load(build(), file)
    save_file({"x": torch.ones(2)}, file)
    with pytest.raises(RewriteError, match="holds no list of changes"):
        bnkit.load(build(), file)
    save_file({"x": torch.ones(2)}, file, {"bnkit": "7"})
    with pytest.raises(RewriteError, match="is of version 7"):
        bnkit.load(build(), file)
    save_file({"x": torch.ones(2)}, file, {"bnkit": "1", "steps": steps})
    with pytest.raises(RewriteError):
        bnkit.load(build(), file)
    file.write_bytes(b"\x00" * 20)
    with pytest.raises(RewriteError, match="cannot be read"):
        bnkit.load(build(), file)
    with pytest.raises(ArgumentTypeError, match="file is a NoneType"):
        bnkit.load(build(), None)  # type: ignore[arg-type]
    with pytest.raises(ArgumentTypeError, match="file is a NoneType"):
        changed(build()).save(None)  # type: ignore[arg-type]
    with pytest.raises(ArgumentTypeError, match="model is a str"):
        bnkit.load("model", file)  # type: ignore[arg-type]


def test_a_file_for_another_model_leaves_it_as_it_was(tmp_path: Path) -> None:
    file = tmp_path / "a.safetensors"
    changed(build()).save(file)
    other = nn.Sequential(nn.Conv2d(3, 5, 3), nn.BatchNorm2d(5), nn.ReLU(), nn.Conv2d(5, 2, 1))
    before, text = {k: v.clone() for k, v in other.state_dict().items()}, repr(other)
    with pytest.raises(
        RewriteError, match=r"does not fit the model: it lacks 3\.weight.*0\.weight"
    ):
        bnkit.load(other, file)
    assert repr(other) == text
    torch.testing.assert_close(other.state_dict(), before, rtol=0, atol=0)
