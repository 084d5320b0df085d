"""Weights from files: what fits, what does not, what holds code."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from bnkit.checker.weights import load_weights
from bnkit.errors import CheckError
from helpers.rule_case import conv_net, look_trained


def stored(folder: Path, content: Any, name: str = "w.pt") -> Path:
    torch.save(content, folder / name)
    return folder / name


@pytest.mark.parametrize("within", ["", "state_dict", "model"])
def test_a_state_dict_is_loaded_also_from_a_checkpoint(tmp_path: Path, within: str) -> None:
    weights: Any = look_trained(conv_net()).state_dict()
    content = {within: weights, "epoch": 3} if within else weights
    model = conv_net()
    load_weights(model, stored(tmp_path, content))
    torch.testing.assert_close(dict(model.state_dict()), dict(weights), rtol=0, atol=0)


def test_safetensors_wrapped_names_and_files_without_counters(tmp_path: Path) -> None:
    weights = look_trained(conv_net()).state_dict()
    kept = {f"module.{k}": v for k, v in weights.items() if not k.endswith("tracked")}
    save_file(kept, tmp_path / "w.safetensors")
    model = conv_net()
    load_weights(model, tmp_path / "w.safetensors")
    torch.testing.assert_close(model[4].running_mean, weights["4.running_mean"], rtol=0, atol=0)


def test_weights_that_do_not_fit_name_the_keys(tmp_path: Path) -> None:
    weights = conv_net().state_dict()
    weights["1.weight"] = torch.ones(7)
    weights["more"] = weights.pop("4.bias")
    message = r"lacks 4\.bias; it adds more; it has another shape of 1\.weight \(\(7,\), in the"
    with pytest.raises(CheckError, match=message):
        load_weights(conv_net(), stored(tmp_path, weights))


class RunsCode:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, ("echo run > ran.txt",)


def test_a_file_with_code_in_it_is_refused_and_not_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CheckError, match="would run code") as caught:
        load_weights(conv_net(), stored(tmp_path, {"weight": RunsCode()}))
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "ran.txt").exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "there is no such file"), (b"x", "cannot be read|damaged"), ([1], "without weights")],
)
def test_other_files_are_refused(tmp_path: Path, content: Any, message: str) -> None:
    file = tmp_path / "w.pt"
    if isinstance(content, bytes):
        file.write_bytes(content)
    elif content is not None:
        stored(tmp_path, content)
    with pytest.raises(CheckError, match=message):
        load_weights(conv_net(), file)
