"""Whole runs with what training and networks can be set to."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import torch
from torch import nn

import bnkit
import bnkit.lab
from bnkit.lab.data import Dataset, DataSettings, open_source
from bnkit.lab.study.random_state import seeded
from bnkit.lab.study.spec import plan
from bnkit.lab.study.study_file import find_study, resolve
from bnkit.lab.study.trial import TrialJob, build_arm

TRAINING: dict[str, Any] = {
    "epochs": 2,
    "optimizer": {"name": "adamw", "lr": 0.01},
    "schedule": {"name": "cosine", "warmup": 1},
    "weight_decay": 0.01,
    "accumulate": 2,
    "clip_norm": 1.0,
    "precision": "bfloat16",
    "memory_format": "channels-last",
    "early_stopping": {"metric": "train loss", "patience": 1},
    "validate_every": 7,
}
STUDY: dict[str, Any] = {
    "study": {"name": "training"},
    "data": {"name": "digits", "batch_size": 64},
    "network": {"name": "dense", "args": {"hidden": [8], "dropout": 0.1}, "init": "he"},
    "training": TRAINING,
    "grid": {"seed": [0]},
}


def run(out: Path, study: Any = STUDY, **arguments: Any) -> bnkit.lab.StudyResult:
    return bnkit.lab.run(study, out=out, **{"workers": 1, **arguments})


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> bnkit.lab.StudyResult:
    return run(tmp_path_factory.mktemp("training"))


def test_everything_set_at_once_gives_the_same_metrics_in_processes(
    finished: bnkit.lab.StudyResult, tmp_path: Path
) -> None:
    other = run(tmp_path, workers=2)
    assert other.metrics.equals(finished.metrics)
    assert {trial.status for trial in finished.trials} == {"complete"}


def test_what_the_caller_has_set_changes_no_metric(
    finished: bnkit.lab.StudyResult, tmp_path: Path
) -> None:
    torch.set_default_dtype(torch.float64)
    try:
        with torch.no_grad(), bnkit.use_kernel("reference"), torch.autocast("cpu"):
            other = run(tmp_path)
        assert torch.get_default_dtype() == torch.float64
    finally:
        torch.set_default_dtype(torch.float32)
    assert other.metrics.equals(finished.metrics)


def test_steps_and_checkpoints_count_optimizer_steps(finished: bnkit.lab.StudyResult) -> None:
    examples = len(open_source(DataSettings(name="digits")).load().train_labels)
    per_epoch = math.ceil(math.ceil(examples / 64) / 2)
    steps = sorted(set(finished.metrics["step"]))
    assert steps == [0, *range(7, 2 * per_epoch, 7), 2 * per_epoch]


def test_a_stopped_trial_is_noted_and_judged_at_the_last_epoch(tmp_path: Path) -> None:
    stopping = {"metric": "test accuracy", "patience": 1, "min_change": 0.9}
    training = {"epochs": 4, "optimizer": {"name": "sgd", "lr": 0.1}, "early_stopping": stopping}
    claim = {"id": "a", "text": "it is higher", "kind": "higher", "metric": "test accuracy"}
    claims = [{**claim, "better": "with", "than": "without", "at_epoch": 4}]
    study = {**STUDY, "training": training, "claims": claims, "grid": {"seed": [0, 1, 2]}}
    result = run(tmp_path, study)
    notes = [note for note in result.stored.notes if "stopped early" in note]
    assert len(notes) == 6
    assert notes[0].startswith("Arm 'without', seed 0: stopped early at step ")
    (verdict,) = result.verdicts
    assert verdict.seeds == 3
    accuracy = result.metrics.filter(
        (pl.col("metric") == "test accuracy") & (pl.col("arm") == "with")
    )
    by_epoch = accuracy.group_by("epoch").agg(pl.col("value").mean()).sort("epoch")["value"]
    assert len(by_epoch) == 5
    assert by_epoch[2] == by_epoch[3] == by_epoch[4] != by_epoch[1]


class Net(nn.Module):
    """A user's network."""

    def __init__(self, input_shape: tuple[int, ...], classes: int) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Flatten(), nn.Linear(64, 8), nn.BatchNorm1d(8), nn.ReLU())
        self.head = nn.Linear(8, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.body(x))


def built(study: Any, builder: Any) -> dict[str, nn.Module]:
    """Return arm and grid point → the network that a trial starts from."""
    dataset: Dataset = open_source(DataSettings(name="digits")).load()
    networks = {}
    for trial in plan(resolve(find_study(study))):
        job = TrialJob("x", trial, builder)
        with seeded(trial.seed):
            example = torch.from_numpy(dataset.train_images[:4])
            if trial.settings.training.precision == "float64":
                example = example.double()
            rewrite = build_arm(job, dataset, example).rewrite
        networks[" ".join([trial.arm, *map(str, trial.grid.values())])] = rewrite.model
    return networks


def test_initial_weights_are_drawn_before_the_arms_on_a_users_network() -> None:
    study = {
        **STUDY,
        "network": {"name": "given:Net", "init": {"name": "normal", "std": 1.0}},
        "training": {"epochs": 1, "optimizer": {"name": "sgd", "lr": 0.1}},
        "grid": {"seed": [1], "network.init.std": [0.5, 2.0]},
    }
    networks = built(study, Net)
    assert networks.keys() == {"without 0.5", "without 2.0", "with 0.5", "with 2.0"}
    for key in ("body.1.weight", "head.weight", "head.bias"):
        without, with_norm = (
            networks[f"{arm} 2.0"].state_dict()[key] for arm in ("without", "with")
        )
        assert torch.equal(without, with_norm)
        # One draw, scaled: the grid varies the deviation and nothing else.
        torch.testing.assert_close(networks["with 0.5"].state_dict()[key] * 4, with_norm)
    assert networks["with 2.0"].head.weight.std().item() == pytest.approx(2.0, rel=0.2)
    assert torch.equal(networks["with 2.0"].body[2].weight, torch.ones(8))


def test_float64_starts_from_float32s_weights() -> None:
    training = {"epochs": 1, "optimizer": {"name": "sgd", "lr": 0.1}}
    grid = {"seed": [1], "training.precision": ["float32", "float64"]}
    for init in ("default", "glorot"):
        network = {"name": "three-conv", "init": init}
        networks = built({**STUDY, "network": network, "training": training, "grid": grid}, None)
        for arm in ("with", "without"):
            single, double = (
                networks[f"{arm} {name}"].state_dict() for name in grid["training.precision"]
            )
            assert double["0.weight"].dtype == torch.float64
            torch.testing.assert_close(
                {key: value.double() for key, value in single.items()},
                {key: value.double() for key, value in double.items()},
                rtol=0,
                atol=0,
            )


@pytest.mark.parametrize("precision", ["float64", "float16"])
def test_other_precisions_run_to_verdicts(precision: str, tmp_path: Path) -> None:
    training = {"epochs": 1, "optimizer": {"name": "sgd", "lr": 0.1}, "precision": precision}
    network = {"name": "three-conv", "args": {"filters": 2}}
    result = run(tmp_path, {**STUDY, "network": network, "training": training})
    assert {trial.status for trial in result.trials} == {"complete"}
