from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bnkit.errors import StudyError
from bnkit.lab.study.fingerprints import trial_id
from bnkit.lab.study.overrides import expand, overlay
from bnkit.lab.study.spec import plan, validate
from bnkit.lab.study.study_file import find_study, resolve, study_names

BASE: dict[str, Any] = {
    "study": {"name": "example"},
    "data": {"name": "digits"},
    "network": {"name": "three-conv"},
    "training": {"epochs": 2, "optimizer": {"name": "sgd", "lr": 0.1}},
    "grid": {"seed": [0, 1, 2]},
    "arms": {"without": {"norm": "none"}, "with": {"norm": "batch"}},
    "claims": [
        {
            "id": "accuracy",
            "text": "higher",
            "kind": "higher",
            "metric": "test accuracy",
            "better": "with",
            "than": "without",
        }
    ],
}


CLAIM_OF_BASE = BASE["claims"][0]


def changed(dotted: dict[str, Any]) -> dict[str, Any]:
    return overlay(BASE, expand(dotted))


def test_trials_are_arms_by_grid_points_by_seeds_in_this_order() -> None:
    settings = validate(
        {**BASE, "grid": {"seed": [0, 1], "training.optimizer.lr": [0.1, 0.2]}}, "x"
    )
    trials = plan(settings)
    assert [(t.arm, t.grid["training.optimizer.lr"], t.seed) for t in trials] == [
        (arm, lr, seed) for arm in ("without", "with") for lr in (0.1, 0.2) for seed in (0, 1)
    ]
    assert [t.settings.training.optimizer.lr for t in trials] == [
        t.grid["training.optimizer.lr"] for t in trials
    ]


def test_overrides_merge_in_the_order_file_profile_arm_grid_command_line() -> None:
    content = {
        **changed({"training.epochs": 1, "data.batch_size": 1}),
        "profiles": {"quick": {"training": {"epochs": 2}, "data": {"batch_size": 2}}},
        "grid": {"seed": [0], "data.batch_size": [4]},
    }
    content["arms"] = {
        "without": {"norm": "none", "data": {"batch_size": 3}, "training": {"epochs": 3}},
        "with": {"norm": "batch"},
    }
    source = find_study(content)
    sizes = {t.arm: t.settings.data.batch_size for t in plan(resolve(source, quick=True))}
    epochs = {t.arm: t.settings.training.epochs for t in plan(resolve(source, quick=True))}
    assert sizes == {"without": 4, "with": 4}, "the grid comes after the arm"
    assert epochs == {"without": 3, "with": 2}, (
        "the arm after the profile, the profile after the file"
    )
    settings = resolve(source, quick=True, overrides={"data.batch_size": 5, "training.epochs": 6})
    assert {(t.settings.data.batch_size, t.settings.training.epochs) for t in plan(settings)} == {
        (5, 6)
    }


def test_arms_claims_and_seeds_may_be_left_out() -> None:
    content = {key: BASE[key] for key in ("study", "data", "network", "training")}
    settings = validate(content, "x")
    assert list(settings.arms) == ["without", "with"]
    assert [claim.id for claim in settings.claims] == ["accuracy", "training-loss"]
    assert settings.seeds == [0, 1, 2, 3, 4]


def test_an_empty_list_of_claims_stays_empty_through_the_resolved_file() -> None:
    settings = validate({**BASE, "claims": []}, "x")
    assert validate(settings.to_dict(), "x").claims == ()


def test_the_resolved_file_plans_the_same_trials() -> None:
    settings = resolve(find_study("digits"), overrides={"training.epochs": 3})
    assert plan(validate(settings.to_dict(), "x")) == plan(settings)


@pytest.mark.parametrize("name", study_names())
@pytest.mark.parametrize("quick", [False, True])
def test_every_study_of_the_catalogue_is_valid(name: str, quick: bool) -> None:
    settings = resolve(find_study(name), quick=quick)
    assert settings.study.name == name
    assert settings.study.title
    assert settings.study.question.endswith("?")
    assert settings.claims


FINGERPRINTS = {"data": "d", "network": "n"}


def ids(content: dict[str, Any]) -> list[str]:
    return [trial_id(trial, FINGERPRINTS) for trial in plan(validate(content, "x"))]


def test_ids_are_distinct_and_repeatable() -> None:
    assert ids(BASE) == ids(BASE)
    assert len(set(ids(BASE))) == 6


@pytest.mark.parametrize(
    "dotted",
    [
        {"training.epochs": 3},
        {"training.optimizer.lr": 0.2},
        {"training.threads": 2},
        {"training.device": "cuda"},
        {"data.batch_size": 16},
        {"data.image_size": 16},
        {"network.args": {"filters": 8}},
        {"network.name": "dense"},
        {"training.loss": "loss.py:function"},
        {"network.init": "he"},
        {"training.schedule": "cosine"},
        {"training.weight_decay": 0.1},
        {"training.accumulate": 2},
        {"training.reference_batch": 16},
        {"training.precision": "float64"},
        {"training.early_stopping": {"patience": 3}},
    ],
    ids=str,
)
def test_ids_change_with_whatever_changes_a_trial(dotted: dict[str, Any]) -> None:
    assert not set(ids(BASE)) & set(ids(changed(dotted)))


def test_ids_change_with_fingerprints() -> None:
    trial = plan(validate(BASE, "x"))[0]
    assert trial_id(trial, FINGERPRINTS) != trial_id(trial, {**FINGERPRINTS, "data": "other"})


@pytest.mark.parametrize("dotted", [{"study.title": "other"}, {"study.name": "other"}], ids=str)
def test_ids_do_not_change_with_words(dotted: dict[str, Any]) -> None:
    assert ids(BASE) == ids(changed(dotted))
    assert ids(BASE) == ids({**BASE, "claims": []})


def test_ids_do_not_depend_on_where_files_lie() -> None:
    def moved(place: str) -> list[str]:
        return ids(
            changed(
                {
                    "data.name": "folder",
                    "data.path": f"/{place}/images",
                    "network.name": f"/{place}/net.py:build",
                }
            )
        )

    assert moved("here") == moved("there")


def test_more_seeds_keep_the_trials_there_are() -> None:
    more = {**BASE, "grid": {"seed": [0, 1, 2, 3]}}
    assert set(ids(BASE)) < set(ids(more))


BAD = {
    "arms of a number": ({"arms": 3}, "arms = 3"),
    "grid of a number": ({"grid": 3}, "grid = 3"),
    "study of text": ({"study": "x"}, "study = 'x'"),
    "epochs of a boolean": ({"training.epochs": True}, "training.epochs = True"),
    "epochs of text": ({"training.epochs": "5"}, "training.epochs = '5'"),
    "the same grid point twice": (
        {"grid": {"seed": [0], "data.image_size": [8, [8, 8]]}},
        "are the same settings",
    ),
    "unknown top-level key": ({"trainig": {}}, r"unknown key 'trainig'.*Did you mean 'training'"),
    "unknown data key": ({"data.batchsize": 3}, r"unknown key 'batchsize' in \[data\].*batch_size"),
    "unknown training key": ({"training.epoch": 3}, r"unknown key 'epoch' in \[training\].*epochs"),
    "unknown optimizer key": (
        {"training.optimizer.momntum": 0.9},
        r"unknown key 'momntum' in \[training.optimizer\].*momentum",
    ),
    "unknown optimizer": (
        {"training.optimizer.name": "sdg"},
        r"training.optimizer.name = 'sdg'; one of sgd, adam, adamw",
    ),
    "unknown schedule": (
        {"training.schedule": "cosin"},
        r"training.schedule.name = 'cosin'; one of constant, step, cosine",
    ),
    "unknown schedule key": (
        {"training.schedule": {"name": "step", "every": 2, "gamma": 0.1}},
        r"unknown key 'gamma' in \[training.schedule\]; known keys are name, every, unit, factor",
    ),
    "missing schedule key": (
        {"training.schedule": {"name": "step"}},
        r"training.schedule.every is missing",
    ),
    "unit of days": (
        {"training.schedule": {"name": "step", "every": 2, "unit": "days"}},
        r"training.schedule.unit = 'days'; it should be 'epochs' or 'steps'",
    ),
    "unknown init": (
        {"network.init": "xavier"},
        r"network.init.name = 'xavier'; one of default, normal, glorot, he",
    ),
    "unknown init key": (
        {"network.init": {"name": "he", "std": 1.0}},
        r"unknown key 'std' in \[network.init\]; known keys are name, distribution",
    ),
    "negative deviation": (
        {"network.init": {"name": "normal", "std": -1.0}},
        r"network.init.std = -1.0; it should be greater than 0",
    ),
    "init without a name": (
        {"network.init": {"std": 1.0}},
        r"network.init.*name",
    ),
    "unknown early stopping key": (
        {"training.early_stopping": {"patients": 3}},
        r"unknown key 'patients' in \[training.early_stopping\].*'patience'",
    ),
    "unknown precision": ({"training.precision": "half"}, r"training.precision = 'half'"),
    "decay of norms alone": ({"training.decay_norm": True}, "needs training.weight_decay > 0"),
    "negative learning rate": (
        {"training.optimizer.lr": -0.1},
        r"training.optimizer.lr = -0.1; it should be greater than 0",
    ),
    "infinite learning rate": ({"training.optimizer.lr": float("inf")}, "finite"),
    "zero epochs": ({"training.epochs": 0}, r"training.epochs = 0; it should be greater than 0"),
    "epochs and steps": (
        {"training": {"epochs": 1, "steps": 1}},
        "training.epochs or training.steps",
    ),
    "text for a number": ({"data.batch_size": "many"}, r"data.batch_size = 'many'; it should be"),
    "unknown data": (
        {"data.name": "digit"},
        "data.name = .digit.; one of digits, .*folder, arrays.*digits",
    ),
    "folder without path": ({"data.name": "folder"}, "needs data.path"),
    "unknown norm": ({"arms.with.norm": "bach"}, r"\[arms.with\]: norm = 'bach'.*'batch'"),
    "unknown arm key": ({"arms.with.lr": 1}, r"\[arms.with\]: unknown key 'lr'"),
    "unknown grid key": (
        {"grid": {"seed": [0], "optimizer.lr": [1]}},
        r"unknown key 'optimizer.lr' in \[grid\].*'training.optimizer.lr'",
    ),
    "wrong grid key": (
        {"grid": {"seed": [0], "training.optimizer.lrr": [1]}},
        r"unknown key 'lrr' in \[training.optimizer\].*'lr'",
    ),
    "empty grid": ({"grid": {"seed": []}}, "grid.seed"),
    "seed twice": ({"grid": {"seed": [1, 1]}}, "each value may stand there once"),
    "seed of text": ({"grid": {"seed": ["a"]}}, "whole numbers"),
    "negative seed": ({"grid": {"seed": [-1]}}, "whole numbers"),
    "bad name": ({"study.name": "a/b"}, "study.name = 'a/b'"),
    "missing name": ({"study": {"title": "x", "name": None}}, "study.name"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_mistake_is_one_message_that_names_it(case: str) -> None:
    dotted, words = BAD[case]
    is_table = set(dotted) & {"grid", "arms", "study"}
    content = {**BASE, **dotted} if is_table else changed(dotted)
    if case == "epochs and steps":
        content["training"]["steps"] = 1
        content["training"]["epochs"] = 1
    with pytest.raises(StudyError, match=f"(?s){words}"):
        resolve(find_study(content))


CLAIM = BASE["claims"][0]
BAD_CLAIMS = {
    "unknown arm": ({"than": "none"}, "names arm 'none'; the arms are without, with"),
    "unknown kind": ({"kind": "greater"}, "kind"),
    "unknown key": ({"metrik": 1}, r"unknown key 'metrik' in \[claims\].*metric"),
    "same arm": ({"than": "with"}, "the same arm"),
    "margin missing": ({"kind": "equivalent"}, "needs margin"),
    "factor missing": ({"kind": "ratio-at-least"}, "needs factor"),
    "along missing": ({"kind": "trend"}, "needs along"),
    "not in grid": ({"where": {"training.epochs": 3}}, r"not in \[grid\]"),
}


@pytest.mark.parametrize("case", BAD_CLAIMS)
def test_a_mistake_in_a_claim_is_one_message(case: str) -> None:
    change, words = BAD_CLAIMS[case]
    with pytest.raises(StudyError, match=words):
        validate({**BASE, "claims": [{**CLAIM, **change}]}, "x")


def test_two_claims_of_one_id_are_refused() -> None:
    with pytest.raises(StudyError, match="two claims have the id 'accuracy'"):
        validate({**BASE, "claims": [CLAIM, CLAIM]}, "x")


def test_an_unknown_study_names_the_nearest() -> None:
    with pytest.raises(StudyError, match=r"no study 'digit'.*Did you mean 'digits'"):
        find_study("digit")


def test_malformed_toml_names_the_line(tmp_path: Path) -> None:
    file = tmp_path / "s.toml"
    file.write_text('[study]\nname = "x"\ntitle = unquoted\n')
    with pytest.raises(StudyError, match=r"s.toml: not valid TOML: .*line 3"):
        find_study(file)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(
        StudyError, match=r"cannot read the study file .*absent.toml \(No such file"
    ):
        find_study(tmp_path / "absent.toml")


def test_quick_without_a_quick_profile_is_refused() -> None:
    with pytest.raises(StudyError, match=r"no \[profiles.quick\]"):
        resolve(find_study(BASE), quick=True)


def test_paths_are_relative_to_the_study_file(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text(
        '[data]\nname = "folder"\npath = "images"\n[network]\nname = "net.py:build"\n'
        '[training]\nepochs = 1\noptimizer = { name = "adam" }\n'
    )
    settings = resolve(find_study(file))
    assert settings.study.name == "mine"
    assert settings.data["path"] == str(tmp_path / "images")
    assert settings.network["name"] == f"{tmp_path / 'net.py'}:build"


def test_paths_on_the_command_line_are_relative_to_the_current_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    settings = resolve(find_study("digits"), overrides={"network.name": "net.py:build"})
    assert settings.network["name"] == f"{tmp_path / 'net.py'}:build"


def trial_training(content: dict[str, Any], overrides: dict[str, Any]) -> list[Any]:
    return [t.settings.training for t in plan(resolve(find_study(content), overrides=overrides))]


def test_an_override_holds_everywhere() -> None:
    arms = {
        "without": {"norm": "none", "training": {"epochs": 3, "optimizer": {"lr": 0.7}}},
        "with": {"norm": "batch"},
    }
    content = {**BASE, "arms": arms}
    steps = trial_training(content, {"training.steps": 10})
    assert {(training.steps, training.epochs) for training in steps} == {(10, None)}
    table = {"training.optimizer": {"name": "sgd", "lr": 0.2}}
    assert {training.optimizer.lr for training in trial_training(content, table)} == {0.2}
    arms["with"]["training"] = {"optimizer": {"name": "adam"}}
    for grid in (
        {"seed": [0]},
        {"seed": [0], "training.optimizer.name": ["sgd", "adam"]},
        {"seed": [0], "training.optimizer": [{"name": "sgd", "lr": 0.3}, {"name": "adam"}]},
    ):
        overridden = trial_training({**content, "grid": grid}, {"training.optimizer.lr": 0.4})
        assert {training.optimizer.lr for training in overridden} == {0.4}
        assert {training.optimizer.name for training in overridden} == {"sgd", "adam"}


def test_overrides_are_kept_in_the_resolved_file() -> None:
    settings = resolve(
        find_study(
            {
                **BASE,
                "arms": {
                    "with": {"training": {"optimizer": {"name": "adam"}}},
                    "without": {"norm": "none"},
                },
            }
        ),
        overrides={"training.optimizer.lr": 0.4},
    )
    assert plan(validate(settings.to_dict(), "x")) == plan(settings)


def test_a_grid_over_networks_keeps_their_arguments() -> None:
    content = {
        **changed({"network.args": {"hidden": [4]}, "network.name": "dense"}),
        "grid": {"seed": [0], "network.name": ["dense", "three-conv"]},
    }
    arguments = [t.settings.network.args for t in plan(resolve(find_study(content)))]
    assert arguments == [{"hidden": [4]}] * 4


def test_another_data_set_leaves_a_grid_over_paths(tmp_path: Path) -> None:
    content = {
        **changed({"data.name": "folder", "data.path": "a"}),
        "grid": {"seed": [0], "data.path": ["a", "b"]},
    }
    trials = plan(resolve(find_study(content), overrides={"data.name": "digits"}))
    assert {trial.settings.data.name for trial in trials} == {"digits"}
    assert len(trials) == 2


@pytest.mark.parametrize("claims", [3, [3], [{**CLAIM_OF_BASE, "where": 3}]], ids=str)
def test_claims_that_are_no_tables_are_refused_with_overrides_too(claims: Any) -> None:
    with pytest.raises(StudyError, match="claims"):
        resolve(find_study({**BASE, "claims": claims}), overrides={"training.epochs": 1})


@pytest.mark.parametrize("key", ["norm", "arms.with.norm", "study.name"])
def test_what_cannot_be_overridden_is_said_so(key: str) -> None:
    with pytest.raises(StudyError, match=r"cannot be overridden; .*\[training\], or grid.KEY"):
        resolve(find_study(BASE), overrides={key: "x"})


def test_the_order_of_overrides_does_not_matter() -> None:
    pairs = [("training.optimizer.lr", 0.05), ("training.optimizer.name", "adam")]
    for ordered in (pairs, pairs[::-1]):
        (found,) = {t.optimizer.model_dump_json() for t in trial_training(BASE, dict(ordered))}
        assert '"adam","lr":0.05' in found


def test_an_override_of_what_a_claim_speaks_of_is_refused() -> None:
    claim = {**BASE["claims"][0], "where": {"training.optimizer.lr": 0.1}}
    content = {
        **BASE,
        "grid": {"seed": [0], "training.optimizer.lr": [0.1, 0.2]},
        "claims": [claim],
    }
    with pytest.raises(StudyError, match=r"is overridden, and the claim 'accuracy' speaks of it"):
        resolve(find_study(content), overrides={"training.optimizer.lr": 0.1})


def test_a_quick_profile_that_is_no_table_is_refused() -> None:
    with pytest.raises(StudyError, match=r"profiles.quick = 3"):
        resolve(find_study({**BASE, "profiles": {"quick": 3}}), quick=True)


def test_a_path_object_is_made_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    content = changed({"data.name": "folder", "data.path": Path("images")})
    assert resolve(find_study(content)).data["path"] == str(tmp_path / "images")


def test_a_module_beside_the_study_is_found_from_anywhere(tmp_path: Path) -> None:
    (tmp_path / "package").mkdir()
    (tmp_path / "package" / "net.py").write_text("")
    file = tmp_path / "mine.toml"
    file.write_text(
        '[data]\nname = "digits"\n[network]\nname = "package.net:build"\n'
        '[training]\nepochs = 1\noptimizer = { name = "adam" }\n'
        '[grid]\nseed = [0]\n"network.name" = ["package.net:build", "torch.nn:Linear"]\n'
    )
    settings = resolve(find_study(file))
    net = f"{tmp_path / 'package' / 'net.py'}:build"
    assert settings.network["name"] == net
    assert settings.grid["network.name"] == [net, "torch.nn:Linear"]


CLAIM_MISTAKES = {
    "unknown metric": ({"metric": "test acuracy"}, r"'test acuracy'.*Did you mean 'test accuracy'"),
    "published of no arm": ({"published": {"wth": 0.5}}, "published figure of arm 'wth'"),
    "value outside the grid": (
        {"where": {"training.optimizer.lr": 0.5}},
        r"training.optimizer.lr = 0.5; the grid has 0.1, 0.2",
    ),
}


@pytest.mark.parametrize("case", CLAIM_MISTAKES)
def test_a_claim_that_can_never_be_judged_is_refused_before_training(case: str) -> None:
    change, words = CLAIM_MISTAKES[case]
    grid = {"seed": [0], "training.optimizer.lr": [0.1, 0.2]}
    with pytest.raises(StudyError, match=words):
        validate({**BASE, "grid": grid, "claims": [{**CLAIM, **change}]}, "x")


@pytest.mark.parametrize(
    ("dotted", "words"),
    [
        ({"arms.with.nrm": "none"}, r"unknown key 'nrm'.*Did you mean 'norm'"),
        (
            {"training.optimizer.name": "adam", "training.optimizer.momentum": 0.9},
            r"unknown key 'momentum' .*known keys are name, lr, betas",
        ),
        ({"training.loss": "nll"}, "must be 'cross-entropy' or file.py:function"),
        ({"study.name": "my study"}, "no spaces"),
        ({"arms": {}}, "at least one must be given"),
        ({"grid": {"seed": [0], "lr": [1]}}, r"Did you mean 'training.optimizer.lr'"),
    ],
    ids=str,
)
def test_messages_speak_of_the_key_that_was_meant(dotted: dict[str, Any], words: str) -> None:
    is_table = set(dotted) & {"grid", "arms"}
    content = {**BASE, **dotted} if is_table else changed(dotted)
    with pytest.raises(StudyError, match=f"(?s){words}"):
        resolve(find_study(content))


RATE = "training.optimizer.lr"
READING_MISTAKES = {
    "unknown reading": ({"reading": "aera"}, "'last', 'best', 'area'.*Did you mean 'area'"),
    "unknown kind": ({"kind": "highr"}, "Did you mean 'higher'"),
    "no metric": ({"metric": None}, r"claims.0: a claim needs metric"),
    "no target": ({"reading": "epochs-to-target"}, "needs target"),
    "percent": ({"reading": "epochs-to-target", "target": 95}, "95 % is 0.95"),
    "target of another reading": ({"target": 0.9}, "does not use target; leave it out. It uses id"),
    "epoch of a curve": (
        {"reading": "best", "at_epoch": 2},
        'kind "higher" and reading "best" does not use at_epoch.*from_epoch',
    ),
    "rate without along": ({"reading": "largest-usable", "metric": None}, "needs along"),
    "rate with a metric": ({"reading": "largest-usable", "along": RATE}, "does not use metric"),
    "rate of a kind": (
        {"reading": "largest-usable", "along": RATE, "kind": "equivalent", "margin": 1.0},
        "the kinds for it are higher, lower, ratio-at-least, which-is-better",
    ),
    "checkpoints of a curve": (
        {"reading": "area", "kind": "at-every-checkpoint"},
        'reading "area" cannot be judged by kind "at-every-checkpoint"',
    ),
    "rates that are words": (
        {"reading": "largest-usable", "along": "network.name", "metric": None},
        "it needs at least two values, all of them numbers above 0",
    ),
    "layer of the whole": ({"layer": "conv1"}, "recorded as one value per checkpoint"),
    "spread of a fixed point": (
        {"across": "range", "where": {RATE: 0.1, "network.name": "dense"}},
        "one only; give .grid. a key with several values",
    ),
    "spread of epochs": (
        {"across": "range", "reading": "epochs-to-target", "target": 0.5},
        "does not use across",
    ),
    "trend along a fixed key": (
        {"kind": "trend", "along": RATE, "direction": "lower", "where": {RATE: 0.1}},
        f"where fixes {RATE}",
    ),
}


@pytest.mark.parametrize("case", READING_MISTAKES)
def test_a_mistake_in_a_reading_names_the_keys(case: str) -> None:
    change, words = READING_MISTAKES[case]
    grid = {"seed": [0], RATE: [0.1, 0.2], "network.name": ["dense", "three-conv"]}
    claim = {key: value for key, value in {**CLAIM, **change}.items() if value is not None}
    with pytest.raises(StudyError, match=words):
        validate({**BASE, "grid": grid, "claims": [claim]}, "x")


def test_readings_come_back_from_the_resolved_file() -> None:
    claims = [
        {**CLAIM, "id": "speed", "kind": "lower", "reading": "epochs-to-target", "target": 0.9},
        {**CLAIM, "id": "spread", "across": "deviation", "reading": "best", "from_epoch": 2},
        {
            **{key: value for key, value in CLAIM.items() if key != "metric"},
            "id": "rate",
            "reading": "largest-usable",
            "along": RATE,
        },
    ]
    content = {**BASE, "grid": {"seed": [0], RATE: [0.1, 0.2]}, "claims": claims}
    settings = validate(content, "x")
    assert validate(settings.to_dict(), "x").claims == settings.claims
    assert settings.to_dict()["claims"] == claims


@pytest.mark.parametrize(
    ("arm", "words"),
    [
        ({"norm": "batch", "norm_share": 0.0}, "norm_share.*greater than 0"),
        ({"norm": "batch", "norm_share": 1.5}, "norm_share.*less than or equal to 1"),
        ({"norm": "none", "norm_share": 0.5}, "this arm keeps none. Leave out norm_share"),
    ],
)
def test_a_share_of_the_batch_norms_is_a_share(arm: dict[str, Any], words: str) -> None:
    with pytest.raises(StudyError, match=words):
        validate({**BASE, "arms": {"with": {}, "without": arm}, "claims": []}, "x")


def test_a_share_changes_the_id_of_a_trial() -> None:
    content = {**BASE, "claims": [], "arms": {"a": {}}}
    shares: list[dict[str, Any]] = [{}, {"norm_share": 0.25}, {"norm_share": 0.5}]
    trials = [plan(validate({**content, "arms": {"a": arm}}, "x"))[0] for arm in shares]
    assert len({trial_id(trial, {}) for trial in trials}) == len(shares)
