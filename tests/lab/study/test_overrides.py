from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bnkit.lab.study.overrides import expand, leaves_grid, overlay, plain


def test_dotted_keys_become_tables() -> None:
    assert expand({"training.optimizer.lr": 0.1, "training.epochs": 3}) == {
        "training": {"optimizer": {"lr": 0.1}, "epochs": 3}
    }


def test_tables_merge_deeply_and_neither_is_changed() -> None:
    below = {"training": {"optimizer": {"name": "sgd", "lr": 1}, "epochs": 2}}
    above = {"training": {"optimizer": {"lr": 2}}}
    merged = overlay(below, above)
    assert merged == {"training": {"optimizer": {"name": "sgd", "lr": 2}, "epochs": 2}}
    assert below["training"]["optimizer"]["lr"] == 1


def test_another_optimizer_does_not_inherit_the_old_ones_keys() -> None:
    below = {"training": {"optimizer": {"name": "sgd", "lr": 1, "momentum": 0.9}}}
    merged = overlay(below, {"training": {"optimizer": {"name": "adam"}}})
    assert merged["training"]["optimizer"] == {"name": "adam"}


def test_the_same_optimizer_named_again_keeps_its_keys() -> None:
    below = {"training": {"optimizer": {"name": "sgd", "lr": 1}}}
    assert overlay(below, {"training": {"optimizer": {"name": "sgd"}}}) == below


def test_another_data_set_keeps_the_batch_size_and_drops_the_path() -> None:
    below = {"data": {"name": "folder", "path": "x", "batch_size": 8}}
    assert overlay(below, {"data": {"name": "digits"}})["data"] == {
        "name": "digits",
        "batch_size": 8,
    }


def test_steps_replace_epochs_and_epochs_steps() -> None:
    assert overlay({"training": {"epochs": 3}}, {"training": {"steps": 9}}) == {
        "training": {"steps": 9}
    }
    assert overlay({"training": {"steps": 9}}, {"training": {"epochs": 3}}) == {
        "training": {"epochs": 3}
    }


def test_the_order_of_dotted_keys_does_not_matter() -> None:
    name, rate = {"training.optimizer.name": "adam"}, {"training.optimizer.lr": 0.5}
    assert expand({**name, **rate}) == expand({**rate, **name})
    below = {"training": {"optimizer": {"name": "sgd", "lr": 0.1, "momentum": 0.9}}}
    assert overlay(below, expand({**rate, **name})) == {
        "training": {"optimizer": {"name": "adam", "lr": 0.5}}
    }


def test_expanding_leaves_the_values_alone() -> None:
    table = {"name": "adam"}
    expand({"training.optimizer": table, "training.optimizer.lr": 0.5})
    assert table == {"name": "adam"}


def test_another_data_set_does_not_inherit_the_preparation() -> None:
    below = {"data": {"name": "folder", "path": "x", "colour": "rgb", "mean": [0.5], "std": [1.0]}}
    assert overlay(below, {"data": {"name": "digits"}}) == {"data": {"name": "digits"}}


def test_a_grid_varies_one_key_and_no_other() -> None:
    below = {"network": {"name": "a", "args": {"width": 8}}, "training": {"epochs": 3}}
    assert overlay(below, {"network": {"name": "b"}}, by_name=False)["network"] == {
        "name": "b",
        "args": {"width": 8},
    }
    assert overlay(below, {"training": {"steps": 9}}, by_name=False)["training"] == {"steps": 9}


@pytest.mark.parametrize(
    ("grid_key", "overridden", "expected"),
    [
        ("training.epochs", "training.epochs", True),
        ("training.epochs", "training.steps", True),
        ("training.optimizer.lr", "training.optimizer", True),
        ("training.optimizer", "training.optimizer.lr", False),
        ("training.optimizer.lr", "training.optimizer.lrs", False),
        ("data.path", "data.name", True),
        ("data.batch_size", "data.name", False),
        ("training.epochs", "data.batch_size", False),
    ],
)
def test_an_overridden_key_leaves_the_grid(grid_key: str, overridden: str, expected: bool) -> None:
    assert leaves_grid(grid_key, overridden) is expected


def test_values_from_python_become_what_a_file_holds() -> None:
    given = {"a": np.float32(0.5), "b": (1, np.int64(2)), "c": None, "d": Path("x"), "e": {"f": 1}}
    assert plain(given) == {"a": 0.5, "b": [1, 2], "d": "x", "e": {"f": 1}}
    assert type(plain(given)["a"]) is float


def test_a_table_written_as_its_name_can_be_overridden_key_by_key() -> None:
    below = {"network": {"init": "he"}, "training": {"schedule": "cosine"}}
    above = expand({"network.init.distribution": "uniform", "training.schedule.warmup": 2})
    assert overlay(below, above) == {
        "network": {"init": {"name": "he", "distribution": "uniform"}},
        "training": {"schedule": {"name": "cosine", "warmup": 2}},
    }


def test_another_schedule_or_init_does_not_inherit_the_old_ones_keys() -> None:
    below = {
        "network": {"name": "dense", "init": {"name": "normal", "std": 1.0}},
        "training": {"schedule": {"name": "step", "every": 2}, "weight_decay": 0.1},
    }
    above = {
        "network": {"init": {"name": "he"}},
        "training": {"schedule": {"name": "cosine", "warmup": 1}},
    }
    assert overlay(below, above) == {
        "network": {"name": "dense", "init": {"name": "he"}},
        "training": {"schedule": {"name": "cosine", "warmup": 1}, "weight_decay": 0.1},
    }


def test_another_network_keeps_the_initial_weights() -> None:
    """They are the study's, and hold for a network of the user's as well."""
    below = {"network": {"name": "dense", "args": {"hidden": [3]}, "init": "he"}}
    assert overlay(below, {"network": {"name": "my.py:Net"}}) == {
        "network": {"name": "my.py:Net", "init": "he"}
    }
