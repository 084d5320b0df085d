"""Whole runs from one call: resuming, killing, repeating, the user's own network and data."""

from __future__ import annotations

import contextlib
import os
import random
import re
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

import bnkit.lab
from bnkit.errors import BnkitError, DataError, NetworkError, StoreError, StudyError, TrialError
from bnkit.lab import judge_again
from bnkit.lab.store import TrialStore, read_study

SMALL: dict[str, Any] = {
    "study": {"name": "small", "title": "A small study", "question": "Does it run?"},
    "data": {"name": "digits"},
    "network": {"name": "dense", "args": {"hidden": [8]}},
    "training": {"epochs": 1, "optimizer": {"name": "sgd", "lr": 0.1}},
    "grid": {"seed": [0, 1, 2]},
}


def run(out: Path, study: Any = SMALL, **arguments: Any) -> bnkit.lab.StudyResult:
    return bnkit.lab.run(study, out=out, workers=1, **arguments)


def trial_folders(out: Path) -> dict[str, int]:
    """Return trial → modification time of its record."""
    return {p.parent.name: p.stat().st_mtime_ns for p in out.glob("trials/*/trial.json")}


class Net(nn.Module):
    """A network as a user writes it: convolutions without biases, a residual addition."""

    def __init__(self, input_shape: tuple[int, ...], classes: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(input_shape[0], 6, 3, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(6)
        self.conv2 = nn.Conv2d(6, 6, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(6)
        self.head = nn.Linear(6, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.norm1(self.conv1(x)))
        x = torch.relu(x + self.norm2(self.conv2(x)))
        return self.head(x.mean((2, 3)))


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> bnkit.lab.StudyResult:
    return run(tmp_path_factory.mktemp("finished") / "small")


def test_a_run_leaves_its_whole_folder(finished: bnkit.lab.StudyResult) -> None:
    names = {path.name for path in finished.folder.iterdir()}
    assert names == {"study.toml", "trials", "results.json", "report.html"}
    assert len(finished.trials) == 6
    assert [verdict.id for verdict in finished.verdicts] == ["accuracy", "training-loss"]
    assert "accuracy" in str(finished)
    assert any("batch norm removed (2)" in note for note in finished.stored.notes)


def test_metrics_are_one_long_frame(finished: bnkit.lab.StudyResult) -> None:
    frame = finished.metrics
    assert frame.height == 6 * 2 * 4
    assert {"arm", "seed", "step", "epoch", "metric", "value", "unit"} <= set(frame.columns)
    last = frame.filter(pl.col("metric") == "test accuracy", pl.col("epoch") == 1)
    assert last["value"].is_between(0.0, 1.0).all()
    summary = next(s for s in finished.summaries if (s.arm, s.metric) == ("with", "test accuracy"))
    mean = last.filter(pl.col("arm") == "with")["value"].mean()
    assert summary.mean == pytest.approx(mean)


def test_a_second_run_trains_nothing(finished: bnkit.lab.StudyResult) -> None:
    before = trial_folders(finished.folder)
    again = run(finished.folder)
    assert trial_folders(finished.folder) == before
    assert again.verdicts == finished.verdicts
    assert again.stored.notes == finished.stored.notes


def test_the_same_study_elsewhere_gives_identical_metrics(
    finished: bnkit.lab.StudyResult, tmp_path: Path
) -> None:
    other = run(tmp_path / "again")
    assert other.metrics.equals(finished.metrics)
    assert other.verdicts == finished.verdicts


def test_processes_give_the_same_metrics_as_this_one(
    finished: bnkit.lab.StudyResult, tmp_path: Path
) -> None:
    other = bnkit.lab.run(SMALL, out=tmp_path / "parallel", workers=2)
    assert other.metrics.equals(finished.metrics)


def test_relative_folders_hold_in_processes_kept_from_an_earlier_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        monkeypatch.chdir(tmp_path / name)
        bnkit.lab.run(SMALL, out="runs", workers=2)
        assert trial_folders(tmp_path / name / "runs")


def test_more_seeds_train_only_what_is_missing(tmp_path: Path) -> None:
    run(tmp_path, seeds=1)
    before = trial_folders(tmp_path)
    result = run(tmp_path, seeds=2)
    after = trial_folders(tmp_path)
    assert len(before) == 2
    assert len(after) == 4
    assert before.items() <= after.items()
    assert {trial.seed for trial in result.trials} == {0, 1}
    assert len(run(tmp_path, seeds=1).trials) == 2, "fewer seeds show fewer trials and delete none"
    assert trial_folders(tmp_path) == after


def test_arms_are_fair(tmp_path: Path) -> None:
    """Under one seed the weights that remain are equal bit for bit, before any step."""
    from bnkit.lab.data import DataSettings, open_source
    from bnkit.lab.study.random_state import seeded
    from bnkit.lab.study.spec import plan
    from bnkit.lab.study.study_file import find_study, resolve
    from bnkit.lab.study.trial import TrialJob, build_arm

    dataset = open_source(DataSettings(name="digits")).load()
    study = {**SMALL, "network": {"name": "given:Net"}}
    trials = [t for t in plan(resolve(find_study(study))) if t.seed == 1]
    built = {}
    for trial in trials:
        with seeded(1):
            example = torch.from_numpy(dataset.train_images[:4])
            built[trial.arm] = build_arm(TrialJob("x", trial, Net), dataset, example).rewrite.model
    weights = built["with"].state_dict()
    bare = built["without"].state_dict()
    assert {"conv1.weight", "conv2.weight", "head.weight", "head.bias"} <= bare.keys()
    for key in weights.keys() & bare.keys():
        assert torch.equal(weights[key], bare[key])
    assert bare.keys() - weights.keys() == {"conv1.bias", "conv2.bias"}


def test_a_users_network_and_arrays(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    labels = np.arange(90) % 3
    images = generator.normal(size=(90, 2, 6, 7)) + labels[:, None, None, None]
    result = run(tmp_path, network=Net, data=(images, labels))
    assert result.stored.settings["network"]["name"] == "given:Net"
    assert {trial.classes for trial in result.trials} == {3}
    before = trial_folders(tmp_path)
    run(tmp_path, network=Net, data=(images, labels))
    assert trial_folders(tmp_path) == before
    images[0, 0, 0, 0] += 1
    run(tmp_path, network=Net, data=(images, labels))
    assert len(trial_folders(tmp_path)) == 2 * len(before), "other data are other trials"


def test_a_study_file_with_a_network_file_and_an_image_folder(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    for split, count in (("train", 12), ("test", 4)):
        for label in ("cat", "dog"):
            folder = tmp_path / "pictures" / split / label
            folder.mkdir(parents=True)
            for number in range(count):
                shade = generator.integers(0, 128, (10, 9, 3)) + 127 * (label == "dog")
                Image.fromarray(shade.astype(np.uint8)).save(folder / f"{number}.png")
    (tmp_path / "blocks.py").write_text("from torch import nn\nNorm = nn.BatchNorm2d\n")
    (tmp_path / "my_net.py").write_text(
        textwrap.dedent(
            """
            from torch import nn
            from blocks import Norm

            def build(input_shape, classes):
                return nn.Sequential(
                    nn.Conv2d(input_shape[0], 4, 3), Norm(4), nn.ReLU(),
                    nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.LazyLinear(classes),
                )
            """
        )
    )
    study = tmp_path / "pictures.toml"
    study.write_text(
        '[data]\nname = "folder"\npath = "pictures"\nbatch_size = 8\n'
        '[network]\nname = "my_net.py:build"\n'
        '[training]\nepochs = 2\noptimizer = { name = "adam", lr = 0.01 }\n'
        "[grid]\nseed = [0, 1, 2]\n"
    )
    path_before = list(sys.path)
    result = run(tmp_path / "out", study)
    assert sys.path == path_before
    assert len(result.trials) == 6
    assert result.trials[0].spec["network"]["name"].endswith("my_net.py:build")
    before = trial_folders(tmp_path / "out")
    (tmp_path / "my_net.py").write_text((tmp_path / "my_net.py").read_text() + "\n# changed\n")
    run(tmp_path / "out", study, seeds=1)
    assert len(trial_folders(tmp_path / "out")) == len(before) + 2


def test_random_state_and_threads_are_left_alone(tmp_path: Path) -> None:
    states = torch.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate()
    threads = torch.get_num_threads()
    run(tmp_path, seeds=1)
    assert torch.equal(states[0], torch.get_rng_state())
    assert states[1:] == (np.random.get_state()[1].tolist(), random.getstate())
    assert torch.get_num_threads() == threads


def test_a_diverged_trial_is_recorded_and_the_study_goes_on(tmp_path: Path) -> None:
    study = {
        **SMALL,
        "arms": {
            "with": {"norm": "batch"},
            "without": {"norm": "none", "training": {"optimizer": {"lr": 1e30}}},
        },
    }
    result = run(tmp_path, study)
    statuses = {(t.arm, t.status) for t in result.trials}
    assert statuses == {("with", "complete"), ("without", "diverged")}
    assert all(t.diverged_step and t.diverged_step > 0 for t in result.trials if t.arm == "without")
    assert {v.diverged["without"] for v in result.verdicts} == {3}
    summary = next(s for s in result.summaries if (s.arm, s.metric) == ("without", "test accuracy"))
    assert summary.mean == pytest.approx(0.1)
    assert run(tmp_path, study).verdicts == result.verdicts


def test_a_network_that_raises_midway_ends_the_run_and_keeps_what_had_finished(
    tmp_path: Path,
) -> None:
    (tmp_path / "net.py").write_text(
        textwrap.dedent(
            """
            import torch
            from torch import nn

            class Net(nn.Sequential):
                def __init__(self, input_shape, classes):
                    hidden = nn.Linear(64, 9), nn.BatchNorm1d(9)
                    super().__init__(nn.Flatten(), *hidden, nn.Linear(9, classes))
                    self.steps = 0
                def forward(self, x):
                    self.steps += self.training
                    if self.steps > 60 and torch.initial_seed() == 1:
                        raise ValueError("out of luck")
                    return super().forward(x)
            """
        )
    )
    study = {**SMALL, "network": {"name": f"{tmp_path / 'net.py'}:Net"}}
    study["training"] = {**SMALL["training"], "epochs": 3}
    out = tmp_path / "out"
    with pytest.raises(TrialError, match=r"arm 'without', seed 1: raised ValueError: out of luck"):
        run(out, study)
    assert len(trial_folders(out)) == 1
    assert not list(out.glob("trials/.unfinished*"))
    result = judge_again(out)
    assert [v.outcome for v in result.verdicts] == ["inconclusive", "inconclusive"]
    assert any("1 of 6 trials" in note for note in result.stored.notes)


KILLED = """
import sys
from test_study_run import SMALL
import bnkit.lab
if __name__ == "__main__":
    study = {**SMALL, "training": {**SMALL["training"], "epochs": 40}}
    bnkit.lab.run(study, out=sys.argv[1], workers=2)
"""


def _processes_with(variable: str) -> list[str]:
    """Return the processes whose environment names this folder."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if variable.encode() in (process / "environ").read_bytes():
                found.append(process.name)
    return found


@pytest.mark.slow  # half a minute: it starts and kills the study several times
def test_killed_in_the_middle_and_started_again(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(KILLED)
    out = tmp_path / "killed"
    environment = {
        **os.environ,
        "PYTHONPATH": str(Path(__file__).parent),
        "BNKIT_TEST_RUN": str(out),
    }
    process = subprocess.Popen([sys.executable, str(script), str(out)], env=environment)
    deadline = time.monotonic() + 120
    while not trial_folders(out) and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    kept = trial_folders(out)
    assert 0 < len(kept) < 6, "killed in the middle"
    while _processes_with(str(out)) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not _processes_with(str(out)), "no process trains on for nobody"
    study = {**SMALL, "training": {**SMALL["training"], "epochs": 40}}
    resumed = run(out, study)
    assert kept.items() <= trial_folders(out).items(), "finished trials were kept"
    uninterrupted = run(tmp_path / "whole", study)
    assert resumed.metrics.equals(uninterrupted.metrics)
    assert resumed.verdicts == uninterrupted.verdicts
    for trial in out.glob("trials/[!.]*"):
        assert {p.name for p in trial.iterdir()} == {"trial.json", "metrics.parquet"}


def sharing() -> nn.Module:
    return SHARED


SHARED = nn.Sequential(nn.Flatten(), nn.Linear(64, 10), nn.BatchNorm1d(10))


class Tuple(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(64, 10), nn.BatchNorm1d(10))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.layers(x), x


def few_logits() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 3), nn.BatchNorm1d(3))


def wrong_channels() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.LazyLinear(10))


def no_batch_norm() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 10))


class FailsInEval(Tuple):
    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            raise ValueError("not for inference")
        return self.layers(x)


class Uncopied(FailsInEval):
    def __deepcopy__(self, memo: object) -> nn.Module:
        raise TypeError("unique")

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


def unseeded() -> nn.Module:
    network = Tuple().layers
    with torch.no_grad():
        network[1].weight.copy_(torch.from_numpy(np.random.default_rng().normal(size=(10, 64))))
    return network


def on_meta() -> nn.Module:
    return Tuple().layers.to("meta")


def scripted() -> nn.Module:
    return torch.jit.trace(Tuple().layers.eval(), torch.zeros(2, 1, 8, 8))


BAD_NETWORKS = {
    "fails in eval": (FailsInEval, "raised ValueError in eval mode .*: not for inference"),
    "cannot be copied": (Uncopied, r"cannot be copied \(TypeError: unique\)"),
    "unseeded": (unseeded, "has other values of 1.weight when it is built again"),
    "on the meta device": (on_meta, "cannot be moved to cpu"),
    "scripted": (scripted, "is a ScriptModule"),
    "shared": (sharing, "the same module"),
    "tuple": (Tuple, "returned a tuple"),
    "few logits": (few_logits, r"shape \(32, 3\).*\(32, 10\)"),
    "wrong channels": (wrong_channels, "raised RuntimeError on data of shape .*input_shape"),
    "no batch norm": (no_batch_norm, "no batch norm"),
    "an instance": (SHARED, "an instance of Sequential"),
    "a number": (3, "network is a int"),
    "unknown": ("three-cov", "Did you mean 'three-conv'"),
    "absent file": ("absent.py:build", r"there is no file .*absent.py"),
    "absent module": ("no.such.module:build", "no module 'no.such.module'"),
}


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
@pytest.mark.parametrize("case", BAD_NETWORKS)
def test_a_bad_network_is_one_message_and_earlier_results_stay(
    case: str, finished: bnkit.lab.StudyResult
) -> None:
    network, words = BAD_NETWORKS[case]
    before = {p: p.read_bytes() for p in finished.folder.rglob("*") if p.is_file()}
    with pytest.raises(BnkitError, match=words):
        run(finished.folder, network=network)
    assert {p: p.read_bytes() for p in finished.folder.rglob("*") if p.is_file()} == before


def test_bad_data_leave_earlier_results_alone(
    finished: bnkit.lab.StudyResult, tmp_path: Path
) -> None:
    before = {p: p.read_bytes() for p in finished.folder.rglob("*") if p.is_file()}
    images = np.zeros((20, 1, 8, 8), np.float32)
    images[3, 0, 1, 2] = np.nan
    with pytest.raises(DataError, match="nan at index"):
        run(finished.folder, data=(images, np.arange(20) % 2))
    with pytest.raises(DataError, match="5000"):
        run(finished.folder, overrides={"data.batch_size": 5000})
    with pytest.raises(DataError):
        run(finished.folder, data=tmp_path)
    assert {p: p.read_bytes() for p in finished.folder.rglob("*") if p.is_file()} == before


def test_a_last_batch_of_one_is_found_before_training(tmp_path: Path) -> None:
    images = np.random.default_rng(0).normal(size=(33, 64))
    labels = np.arange(33) % 3
    arrays = (images, labels, images, labels)
    with pytest.raises(StudyError, match=r"last batch .* one image .*drop_last = true"):
        run(tmp_path, data=arrays)
    assert not list(tmp_path.iterdir())
    run(tmp_path, data=arrays, overrides={"data.drop_last": True}, seeds=1)


def test_a_folder_of_another_study_is_not_touched(finished: bnkit.lab.StudyResult) -> None:
    with pytest.raises(StudyError, match=r"holds results of the study 'small'.*--out"):
        run(finished.folder, {**SMALL, "study": {"name": "other"}})


def test_an_unwritable_folder_is_one_message(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match=r"cannot write .*file/out"):
        run(tmp_path / "file" / "out", seeds=1)


def test_an_unusable_device_is_one_message(tmp_path: Path) -> None:
    with pytest.raises(StudyError, match=r"device = 'xpu:3' cannot be used .*--device cpu"):
        run(tmp_path, device="xpu:3")


def test_a_report_of_no_study_is_one_message(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="holds no study"):
        judge_again(tmp_path)


def test_a_report_judges_again_without_training(finished: bnkit.lab.StudyResult) -> None:
    (finished.folder / "report.html").unlink()
    results = (finished.folder / "results.json").read_bytes()
    (finished.folder / "results.json").unlink()
    again = judge_again(finished.folder)
    assert again.verdicts == finished.verdicts
    assert (finished.folder / "report.html").is_file()
    (finished.folder / "results.json").write_bytes(results)
    assert read_study(finished.folder).command == finished.stored.command


def test_a_loss_of_the_users_own(tmp_path: Path) -> None:
    (tmp_path / "losses.py").write_text(
        "from torch.nn import functional as F\n"
        "def smooth(logits, labels):\n"
        "    return F.cross_entropy(logits, labels, label_smoothing=0.1)\n"
        "def vector(logits, labels):\n    return logits.sum(1)\n"
    )
    loss = f"{tmp_path / 'losses.py'}:smooth"
    result = run(tmp_path / "a", seeds=1, overrides={"training.loss": loss})
    assert result.trials[0].status == "complete"
    with pytest.raises(NetworkError, match=r"training.loss = .*vector.* raised RuntimeError"):
        run(tmp_path / "b", overrides={"training.loss": f"{tmp_path / 'losses.py'}:vector"})


def test_grid_points_are_columns_and_average_within_a_seed(tmp_path: Path) -> None:
    study = {**SMALL, "grid": {"seed": [0, 1, 2], "training.optimizer.lr": [0.05, 0.1]}}
    result = run(tmp_path, study)
    assert len(result.trials) == 12
    assert set(result.metrics["training.optimizer.lr"]) == {0.05, 0.1}
    assert {s.grid["training.optimizer.lr"] for s in result.summaries} == {0.05, 0.1}


def test_progress_goes_to_standard_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(tmp_path, seeds=1, progress=True)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "training 2 trials" in captured.err
    assert re.search(r"2/2 with, seed 0: test accuracy 0\.\d+ in \d", captured.err)


def test_the_store_is_where_the_result_says(finished: bnkit.lab.StudyResult) -> None:
    store = TrialStore(finished.folder)
    assert all(store.has(trial.id) for trial in finished.trials)


def test_a_grid_added_later_keeps_the_trials_and_judges_them(tmp_path: Path) -> None:
    run(tmp_path / "a", SMALL)
    before = trial_folders(tmp_path / "a")
    claims = [
        {
            "id": "trend",
            "text": "accuracy rises with the learning rate",
            "kind": "trend",
            "metric": "test accuracy",
            "better": "with",
            "along": "training.optimizer.lr",
            "direction": "higher",
        },
        {
            "id": "there",
            "text": "accuracy is higher at 0.1",
            "kind": "higher",
            "metric": "test accuracy",
            "better": "with",
            "than": "without",
            "where": {"training.optimizer.lr": 0.1},
        },
    ]
    study = {**SMALL, "grid": {"seed": [0, 1, 2], "training.optimizer.lr": [0.05, 0.1]}}
    study["claims"] = claims
    grown = run(tmp_path / "a", study)
    assert before.items() <= trial_folders(tmp_path / "a").items()
    assert grown.verdicts == run(tmp_path / "b", study).verdicts
    assert {trial.grid["training.optimizer.lr"] for trial in grown.trials} == {0.05, 0.1}
    assert judge_again(tmp_path / "a").verdicts == grown.verdicts


def test_a_study_file_that_no_run_wrote_is_not_overwritten(tmp_path: Path) -> None:
    file = tmp_path / "study.toml"
    file.write_text("# mine\n[study]\nname = 'small'\n")
    with pytest.raises(StudyError, match=r"study.toml is a study file that no run wrote"):
        run(tmp_path)
    assert file.read_text().startswith("# mine")
    file.write_text("[study\n")
    with pytest.raises(StoreError, match=r"cannot read .*study.toml"):
        run(tmp_path)


def test_results_keep_their_own_settings_when_a_later_run_fails(tmp_path: Path) -> None:
    first = run(tmp_path, SMALL)
    (tmp_path / "net.py").write_text(
        "import torch\nfrom torch import nn\n"
        "class Net(nn.Sequential):\n"
        "    calls = 0\n"
        "    def __init__(self):\n"
        "        super().__init__(nn.Flatten(), nn.Linear(64, 10), nn.BatchNorm1d(10))\n"
        "    def forward(self, x):\n"
        "        Net.calls += 1\n"
        "        if Net.calls > 150:\n"
        "            raise ValueError('broken')\n"
        "        return super().forward(x)\n"
    )
    with pytest.raises(TrialError, match="broken"):
        run(tmp_path, network=f"{tmp_path / 'net.py'}:Net")
    kept = bnkit.lab.StudyResult.read(tmp_path)
    assert kept.stored.settings == first.stored.settings
    assert kept.verdicts == first.verdicts


def test_the_command_repeats_the_call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    result = bnkit.lab.run(
        "digits", seeds=1, quick=True, device="cpu", overrides={"training.epochs": 1}, workers=1
    )
    again = eval(result.stored.command)
    assert again.verdicts == result.verdicts
    assert len(trial_folders(tmp_path / "runs" / "digits")) == 2


def test_whole_numbers_of_any_kind_are_seeds(tmp_path: Path) -> None:
    assert {t.seed for t in run(tmp_path, seeds=np.int64(2)).trials} == {0, 1}
    assert {t.seed for t in run(tmp_path, seeds=np.array([1, 3])).trials} == {1, 3}
    with pytest.raises(StudyError, match=r"seeds = 1.5"):
        run(tmp_path, seeds=1.5)
