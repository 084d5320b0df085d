"""Every study of the catalogue, in both profiles: its networks build and its arms apply."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import numpy as np
import pytest

import bnkit.lab
from bnkit.lab.data import Dataset, DataSettings, open_source
from bnkit.lab.data.names import SOURCES
from bnkit.lab.study.preflight import check_job
from bnkit.lab.study.spec import PlannedTrial, plan
from bnkit.lab.study.study_file import find_study, resolve, study_names
from bnkit.lab.study.trial import TrialJob

# Data that lie in files: the shape of an image.
SHAPES = {"mnist": (1, 28, 28), "hindi-digits": (1, 32, 32), "cifar-10": (3, 32, 32)}


def dataset_of(data: DataSettings) -> Dataset:
    """Return the study's data if they are embedded, else random images of their shape."""
    if not SOURCES[data.name].is_stored:
        return open_source(data).load()
    generator = np.random.default_rng(0)
    images = generator.random((200, *SHAPES[data.name]), dtype=np.float32)
    labels = np.arange(200) % 10
    names = tuple(str(label) for label in range(10))
    return Dataset(images, labels, images[:20], labels[:20], names)


def distinct(trials: list[PlannedTrial]) -> list[PlannedTrial]:
    """Return one trial of each arm, at its first and its last grid point."""
    by_arm: dict[str, list[PlannedTrial]] = {}
    for trial in trials:
        by_arm.setdefault(trial.arm, []).append(trial)
    return [trial for group in by_arm.values() for trial in (group[0], group[-1])]


# Six sizes of batch in five arms, each built at its first and last grid point; and VGGs in several
# arms, which the quick profiles build at half the width.
LONG = {("batch-sizes", False), ("how-many-layers", False), ("cifar-vgg", False)}
CASES = [
    pytest.param(*case, marks=[pytest.mark.slow] if case in LONG else [])
    for case in product(study_names(), (False, True))
]


@pytest.mark.parametrize(("name", "quick"), CASES)
def test_networks_build_and_arms_apply(name: str, quick: bool) -> None:
    for trial in distinct(plan(resolve(find_study(name), quick=quick))):
        check_job(TrialJob("x", trial), dataset_of(trial.settings.data))


@pytest.mark.parametrize("name", study_names())
def test_quick_profiles_use_embedded_data_and_make_the_same_claims(name: str) -> None:
    full, quick = (resolve(find_study(name), quick=quick) for quick in (False, True))
    used = {trial.settings.data.name for trial in plan(quick)}
    assert not any(SOURCES[data].is_stored or SOURCES[data].needs_path for data in used)
    said = [
        [(claim.id, claim.text, claim.kind, claim.better, claim.than) for claim in study.claims]
        for study in (full, quick)
    ]
    assert said[0] == said[1]
    assert list(full.arms) == list(quick.arms)
    assert len(quick.seeds) >= 3, "fewer give no verdict"


@pytest.mark.slow  # about half a minute: a whole quick profile, trained and judged
def test_a_quick_profile_ends_in_verdicts(tmp_path: Path) -> None:
    result = bnkit.lab.run("mnist-sigmoid", quick=True, out=tmp_path)
    assert [verdict.seeds for verdict in result.verdicts] == [10] * 5
    assert result.verdicts[0].outcome == "supported"
