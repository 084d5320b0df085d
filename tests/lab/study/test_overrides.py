from __future__ import annotations

from bnkit.lab.study.overrides import expand, overlay, remove


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


def test_remove_takes_one_dotted_key_out() -> None:
    settings = {"norm": "none", "training": {"optimizer": {"lr": 1, "momentum": 0}}}
    assert remove(settings, "training.optimizer.lr") == {
        "norm": "none",
        "training": {"optimizer": {"momentum": 0}},
    }
    assert remove(settings, "training.absent.key") == settings
