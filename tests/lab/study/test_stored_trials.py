"""Stores that no run of bnkit wrote: judged as they lie, or refused with the reason."""

from __future__ import annotations

import json

import polars as pl
import pytest

import bnkit.lab
from bnkit.errors import StoreError, StudyError
from bnkit.lab.store import read_study
from helpers.made_studies import write_store, write_trial


@pytest.fixture
def store(tmp_path):
    return write_store(tmp_path / "made", epochs=4, rates=(0.1,))


def test_verdicts_and_page_from_the_schema_alone(store):
    result = bnkit.lab.judge_again(store)
    assert [verdict.outcome for verdict in result.verdicts] == ["inconclusive"]
    assert result.verdicts[0].means["none"] < result.verdicts[0].means["batch"]
    assert result.verdicts[0].diverged == {"batch": 0, "none": 1}
    assert [trial.arm for trial in result.trials] == ["none"] * 3 + ["batch"] * 3
    assert result.report_path.is_file()
    assert result.stored.notes[0].startswith("The trials are shown as they are stored")


def test_half_written_folders_are_left_out_and_named(store):
    (store / "trials" / "half").mkdir()
    (store / "trials" / ".unfinished-x").mkdir()
    result = bnkit.lab.judge_again(store)
    assert len(result.trials) == 6
    assert "2 folders without a whole trial left out: .unfinished-x, half." in result.stored.notes


def test_a_trial_without_metrics_is_left_out_and_named(store):
    (store / "trials" / "trial-none-0.1-1" / "metrics.parquet").unlink()
    result = bnkit.lab.judge_again(store)
    assert len(result.trials) == 5
    assert "1 folder without a whole trial left out: trial-none-0.1-1." in result.stored.notes


def test_trials_without_a_study_file_are_one_message(store):
    (store / "study.toml").unlink()
    with pytest.raises(StoreError, match=r"holds trials, but no study\.toml"):
        bnkit.lab.judge_again(store)


def test_all_trials_diverged_is_a_page_that_says_so(tmp_path):
    diverged = [(arm, 0.1, seed) for arm in ("none", "batch") for seed in (0, 1, 2)]
    store = write_store(tmp_path, epochs=4, rates=(0.1,), diverged=diverged)
    result = bnkit.lab.judge_again(store)
    assert [verdict.outcome for verdict in result.verdicts] == ["inconclusive"]
    assert "all 6 diverged" in result.report_path.read_text(encoding="utf-8")


def test_a_diverged_trial_of_unknown_classes_is_not_guessed(store):
    (path,) = (store / "trials").glob("trial-none-0.1-1/trial.json")
    content = json.loads(path.read_text("utf-8"))
    path.write_text(json.dumps({**content, "spec": {}}), encoding="utf-8")
    result = bnkit.lab.judge_again(store)
    assert result.verdicts[0].seeds == 2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"store_version": 2}, r"trial.json has store version 2.*reads version 1"),
        ({"store_version": None}, "store version None"),
        ({"arm": None}, "arm = None"),
        ({"seed": "0"}, "seed = '0'"),
        ({"status": "running"}, r'status = .running.*"complete" or "diverged"'),
        ({"status": "diverged", "diverged_step": None}, "diverged_step = None"),
        ({"grid": [1]}, r"grid = \[1\]"),
    ],
)
def test_what_cannot_be_read_is_refused_with_the_reason(store, change, message):
    write_trial(store, "extra", "none", {}, 9, [], changes=change)
    with pytest.raises(StoreError, match=message):
        bnkit.lab.judge_again(store)


def test_damaged_metrics_are_refused_by_name(store):
    (store / "trials" / "trial-none-0.1-0" / "metrics.parquet").write_bytes(b"PAR1 half")
    with pytest.raises(StoreError, match=r"trial-none-0.1-0.metrics.parquet.*Delete the folder"):
        bnkit.lab.judge_again(store)


def test_columns_without_any_value_may_be_absent_or_of_another_width(store):
    path = store / "trials" / "trial-none-0.1-0" / "metrics.parquet"
    frame = pl.read_parquet(path).filter(pl.col("layer").is_null(), pl.col("key").is_null())
    frame = frame.drop("layer", "key", "unit").with_columns(pl.col("step", "epoch").cast(pl.Int16))
    frame.write_parquet(path)
    assert bnkit.lab.judge_again(store).metrics.height > 0


def test_a_seed_among_the_grids_keys_is_the_seed(store):
    write_trial(store, "extra", "none", {"seed": 7, "training.optimizer.lr": 0.1}, 7, [])
    path = store / "trials" / "extra" / "trial.json"
    content = json.loads(path.read_text("utf-8"))
    del content["seed"]
    path.write_text(json.dumps(content), encoding="utf-8")
    bnkit.lab.judge_again(store)
    (extra,) = [trial for trial in read_study(store).trials if trial.id == "extra"]
    assert (extra.seed, extra.grid) == (7, {"training.optimizer.lr": 0.1})


def test_a_claim_that_cannot_be_read_is_named(store):
    path = store / "study.toml"
    path.write_text(path.read_text("utf-8").replace('"higher"', '"taller"'), encoding="utf-8")
    with pytest.raises(StudyError, match=r"study.toml: claim 1"):
        bnkit.lab.judge_again(store)


def test_claims_that_are_no_tables_are_named(store):
    path = store / "study.toml"
    table = path.read_text("utf-8").partition("[[claims]]")[0]
    path.write_text('claims = ["more"]\n' + table, encoding="utf-8")
    with pytest.raises(StudyError, match=r"claim 1: 'more'; it should be a table"):
        bnkit.lab.judge_again(store)
