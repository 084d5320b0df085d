from __future__ import annotations

import pytest
from torch import nn

from bnkit.errors import ArgumentTypeError, RewriteError
from bnkit.rewrite.layer_choice import chosen_layers, matches

MODEL = nn.ModuleDict(
    {
        "stem": nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)),
        "layer1": nn.Sequential(nn.BatchNorm2d(4), nn.BatchNorm2d(4)),
        "layer10": nn.BatchNorm2d(4),
    }
)


def chosen(patterns: object) -> list[str]:
    found = chosen_layers(
        MODEL,
        patterns,  # type: ignore[arg-type]
        lambda module: isinstance(module, nn.BatchNorm2d),
        "batch norm",
    )
    return list(found)


@pytest.mark.parametrize(
    ("patterns", "paths"),
    [
        (None, ["stem.1", "layer1.0", "layer1.1", "layer10"]),
        ("layer1", ["layer1.0", "layer1.1"]),
        ("layer1.*", ["layer1.0", "layer1.1"]),
        ("layer1*", ["layer1.0", "layer1.1", "layer10"]),
        ("*.1", ["stem.1", "layer1.1"]),
        (["layer10", "stem"], ["stem.1", "layer10"]),
    ],
)
def test_patterns_name_layers_and_what_holds_them(patterns: object, paths: list[str]) -> None:
    assert chosen(patterns) == paths


def test_a_pattern_that_names_nothing_gives_the_nearest_names() -> None:
    with pytest.raises(
        RewriteError, match=r"'layer1\.5' names no batch norm; .*nearest are layer1\.1"
    ):
        chosen("layer1.5")
    with pytest.raises(RewriteError, match=r"'stem\.0' names no batch norm"):
        chosen(["layer1", "stem.0"])
    for odd in ([3], 3, []):
        with pytest.raises(ArgumentTypeError, match=r"layers is .*; the path of a layer"):
            chosen(odd)
    with pytest.raises(RewriteError, match="has no batch norm"):
        chosen_layers(nn.ReLU(), None, lambda _: False, "batch norm")


def test_the_whole_model_has_the_empty_path() -> None:
    assert not matches("", "layer1")
    assert matches("", "*")


def test_a_shared_layer_is_chosen_by_each_of_its_paths() -> None:
    shared = nn.BatchNorm2d(4)
    model = nn.Sequential(shared, nn.ReLU(), shared, nn.BatchNorm2d(4))
    for patterns, paths in {"2": ["0"], "[23]": ["0", "3"], "0": ["0"], "*": ["0", "3"]}.items():
        found = chosen_layers(
            model, patterns, lambda module: isinstance(module, nn.BatchNorm2d), "batch norm"
        )
        assert list(found) == paths
        assert found[paths[0]] is model[int(paths[0])]
