from __future__ import annotations

import pytest
from pydantic import ValidationError

from bnkit.errors import DataError
from bnkit.lab.data import SOURCES, DataSettings, open_source


@pytest.mark.parametrize("one, many", [(0.5, [0.5]), (1, (1.0,))])
def test_one_number_and_a_list_of_it_are_the_same_setting(one, many):
    assert DataSettings(name="digits", mean=one) == DataSettings(name="digits", mean=many)


def test_one_size_stands_for_height_and_width():
    assert DataSettings(name="digits", image_size=28).image_size == (28, 28)
    assert DataSettings(name="digits", image_size=[20, 30]).image_size == (20, 30)


def test_settings_survive_json():
    settings = DataSettings(name="digits", mean=0.5, std=[0.1, 0.2, 0.3], image_size=28)
    assert DataSettings.model_validate(settings.model_dump(mode="json")) == settings


@pytest.mark.parametrize(
    "change, message",
    [
        ({"name": "didgits"}, 'data.name = "didgits"; one of digits.*Did you mean "digits"'),
        ({"name": "zzz"}, 'data.name = "zzz"; one of digits, .*mnist, .*folder, arrays'),
        ({"name": "folder"}, 'data.name = "folder" needs data.path'),
        ({"name": "arrays"}, 'data.name = "arrays" needs data.path'),
        ({"path": "x"}, 'data.name = "digits" is built in and takes no data.path'),
        ({"name": "given", "path": "x"}, 'data.name = "given" is handed over in Python'),
        ({"std": 0}, r"data.std = \[0.0\].*greater than 0"),
        ({"std": [1, -0.5, 1]}, "greater than 0"),
        ({"mean": []}, r"data.mean = \[\]; one number, or a list of one per channel"),
        ({"mean": float("nan")}, "finite"),
        ({"mean": True}, "valid number"),
        ({"mean": "half"}, "data.mean = 'half'; one number, or a list"),
        ({"std": {"a": 1}}, "data.std = {'a': 1}; one number, or a list"),
        ({"batch_size": 0}, "greater than 0"),
        ({"batch_size": 32.0}, "valid integer"),
        ({"batch_size": True}, "valid integer"),
        ({"image_size": 0}, "greater than 0"),
        ({"image_size": [28]}, r"data.image_size = \[28\]; one whole number, or \[height, width\]"),
        ({"image_size": [28, 28, 3]}, r"data.image_size = \[28, 28, 3\]; one whole"),
        ({"colour": "red"}, "'grey' or 'rgb'"),
        ({"test_share": 1}, "less than 1"),
        ({"test_share": 0}, "greater than 0"),
        ({"train_examples": 0}, "greater than 0"),
        ({"test_examples": 2.5}, "valid integer"),
        ({"name": "minst"}, 'Did you mean "mnist"'),
        ({"name": "wine", "path": "x"}, 'data.name = "wine" is built in'),
        ({"split_seed": -1}, "greater than or equal to 0"),
        ({"batchsize": 3}, "Extra inputs"),
    ],
)
def test_what_no_study_can_mean_is_refused(change, message):
    with pytest.raises(ValidationError, match=message):
        DataSettings.model_validate({"name": "digits", **change})


def test_every_source_can_be_opened(tmp_path):
    for name, entry in SOURCES.items():
        settings = DataSettings(name=name, path=tmp_path if entry.needs_path else None)
        source = open_source(settings)
        assert callable(source.load)
        assert callable(source.fingerprint)


def test_arrays_of_python_code_cannot_be_opened_without_it():
    with pytest.raises(DataError, match=r"handed over in Python.*digits, folder, arrays.*data="):
        open_source(DataSettings(name="given"))
