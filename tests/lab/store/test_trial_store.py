from __future__ import annotations

import math
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import polars as pl
import pytest

from bnkit.errors import StoreError
from bnkit.lab.store import MetricRow, TrialRecord, TrialStore


def record(trial_id: str = "a" * 16) -> TrialRecord:
    return TrialRecord(
        id=trial_id,
        arm="with",
        seed=3,
        grid={"training.optimizer.lr": 0.1},
        spec={"norm": "batch"},
        classes=10,
        status="diverged",
        diverged_step=7,
        versions={"torch": "2"},
        machine={"cores": 2},
        notes=("The data are small.",),
        seconds=1.5,
    )


ROWS = [
    MetricRow(0, 0, "train loss", 2.5, "nat"),
    MetricRow(9, 1, "train loss", math.nan, "nat", layer="conv1", key="p50"),
]


@pytest.fixture
def store(tmp_path: Path) -> TrialStore:
    made = TrialStore(tmp_path / "study")
    made.prepare()
    return made


def test_a_trial_comes_back_as_it_was_saved(store: TrialStore) -> None:
    store.save(record(), ROWS)
    assert store.has(record().id)
    assert store.load(record().id) == record()
    frame = store.metrics([record().id])
    assert frame.columns == ["trial", "step", "epoch", "metric", "layer", "key", "value", "unit"]
    assert frame.schema["step"] == pl.Int64
    assert frame.schema["epoch"] == pl.Int32
    assert frame.row(0) == (record().id, 0, 0, "train loss", None, None, 2.5, "nat")
    assert frame.row(1)[4:6] == ("conv1", "p50")
    assert math.isnan(frame.row(1)[6])


def test_metrics_of_no_trial_are_an_empty_frame(store: TrialStore) -> None:
    assert store.metrics([]).is_empty()


def test_the_files_can_be_queried_directly(store: TrialStore) -> None:
    store.save(record(), ROWS)
    frame = pl.read_parquet(store.trials / "*" / "metrics.parquet")
    assert frame.height == 2


def test_the_first_of_two_equal_trials_is_kept(store: TrialStore) -> None:
    store.save(record(), ROWS)
    store.save(record(), ROWS[:1])
    assert store.metrics([record().id]).height == 2
    assert [p.name for p in store.trials.iterdir()] == [record().id]


def test_a_trial_folder_without_its_record_is_replaced(store: TrialStore) -> None:
    (store.trials / record().id).mkdir()
    assert not store.has(record().id)
    store.save(record(), ROWS)
    assert store.load(record().id) == record()


def test_nothing_is_left_when_saving_fails(store: TrialStore) -> None:
    with pytest.raises(AttributeError):
        store.save(record(), [("not", "a", "row")])  # type: ignore[list-item]
    assert not list(store.trials.iterdir())


def test_a_process_killed_while_saving_leaves_no_trial(store: TrialStore) -> None:
    script = f"""
    import os, signal
    from pathlib import Path
    from bnkit.lab.store import TrialStore, trial_store
    from test_trial_store import record, ROWS
    trial_store.write_atomically = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
    TrialStore(Path({str(store.root)!r})).save(record(), ROWS)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)],
        cwd=Path(__file__).parent,
        check=False,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parent)},
    )
    assert done.returncode == -9
    left = [path.name for path in store.trials.iterdir()]
    assert len(left) == 1
    assert left[0].startswith(".unfinished-")
    assert not store.has(record().id)
    store.prepare()
    assert not list(store.trials.iterdir()), "what a killed process left is removed"


def test_what_a_living_process_is_writing_is_left_alone(store: TrialStore) -> None:
    folder = store.unfinished_folder(record().id)
    store.prepare()
    assert folder.is_dir()


def test_an_unwritable_folder_is_one_message(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    with pytest.raises(StoreError, match=r"cannot write .*--out"):
        TrialStore(file / "study").prepare()


@pytest.mark.parametrize(
    "content", ["", "[]", "{}", '{"store_version": 1}', '{"store_version": 99}']
)
def test_a_damaged_record_is_named(store: TrialStore, content: str) -> None:
    store.save(record(), ROWS)
    (store.trials / record().id / "trial.json").write_text(content)
    with pytest.raises(StoreError, match=r"trial.json"):
        store.load(record().id)


def test_damaged_metrics_are_named(store: TrialStore) -> None:
    store.save(record(), ROWS)
    (store.trials / record().id / "metrics.parquet").write_bytes(b"PAR1")
    with pytest.raises(StoreError, match=r"metrics.parquet"):
        store.metrics([record().id])


def test_two_processes_that_finish_one_trial_at_once_leave_one(
    store: TrialStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    rename = Path.rename

    def first_by_another(folder: Path, place: Path) -> Path:
        if folder.name.startswith(".unfinished") and not place.exists():
            place.mkdir()
            (place / "trial.json").write_text("{}")
        return rename(folder, place)

    monkeypatch.setattr(Path, "rename", first_by_another)
    store.save(record(), ROWS)
    assert [path.name for path in store.trials.iterdir()] == [record().id]


def test_folders_that_are_not_ours_are_left_alone(store: TrialStore) -> None:
    for name in (".unfinished-backup", ".unfinished-x-otherhost-1"):
        (store.trials / name).mkdir()
    store.prepare()
    assert len(list(store.trials.iterdir())) == 2


def test_a_full_disk_is_one_message(store: TrialStore, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pl.DataFrame, "write_parquet", full)
    with pytest.raises(StoreError, match="No space left on device"):
        store.save(record(), ROWS)
    assert not list(store.trials.iterdir())
