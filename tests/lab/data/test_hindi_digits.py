from __future__ import annotations

import numpy as np
import pytest

from bnkit.errors import DataError
from bnkit.lab.data import Dataset, DataSettings, open_source
from helpers.stored_files import (
    digit_images,
    pixels,
    png,
    real_data,
    tar_gz,
    write_files,
    zip_bytes,
)

IMAGES = digit_images()
ROOT = "DevanagariHandwrittenCharacterDataset"
LETTERS = {f"{split}/character_1_ka/1.png": png(pixels(32, 32)) for split in ("Train", "Test")}


def below(prefix, files):
    return {f"{prefix}{name}": content for name, content in files.items()}


FORMS = {
    "full set": below(f"{ROOT}/", IMAGES | LETTERS),
    "full archive": {f"{ROOT}.zip": zip_bytes(below(f"{ROOT}/", IMAGES | LETTERS))},
    "article's archive": {
        "a/hindi_hw_digits.tar.gz": tar_gz(
            {f"./{name.replace('T', 't')}": content for name, content in IMAGES.items()}
        )
    },
    "plain numbers": below("devanagari/x/", digit_images("{}")),
}


def source(folder, **changes):
    return open_source(DataSettings(name="hindi-digits", batch_size=4, **changes), folder)


def load(folder, **changes) -> Dataset:
    return source(folder, **changes).load()


@pytest.mark.parametrize("form", FORMS)
def test_every_form_gives_the_ten_digits_in_grey(tmp_path, form):
    data = load(write_files(tmp_path, FORMS[form]))
    assert data.train_images.shape == (30, 1, 32, 32)
    assert data.test_images.shape == (20, 1, 32, 32)
    assert data.class_names == tuple("0123456789")
    np.testing.assert_array_equal(data.train_labels, np.repeat(np.arange(10), 3))
    # The second image of the digit 7, by the seed that `digit_images` gave it.
    expected = pixels(32, 32, seed=107).astype(np.float32) / np.float32(255)
    np.testing.assert_array_equal(data.train_images[22, 0], expected)
    assert "30 training and 20 test images, where the articles' set has 17000" in data.notes[-1]


def test_the_fingerprint_is_the_same_in_every_form_and_changes_with_an_image(tmp_path):
    found = {source(write_files(tmp_path / f, files)).fingerprint() for f, files in FORMS.items()}
    assert len(found) == 1
    changed = {**FORMS["full set"], f"{ROOT}/Test/digit_3/1.png": png(pixels(32, 32, seed=9))}
    assert source(write_files(tmp_path / "changed", changed)).fingerprint() not in found


def test_images_of_another_size_and_colour_become_grey_32_by_32(tmp_path):
    files = digit_images(side=28) | {"Train/digit_0/9.png": png(pixels(28, 28, 3))}
    data = load(write_files(tmp_path, files))
    assert data.train_images.shape == (31, 1, 32, 32)
    assert "resized to 32×32 pixels: 51" in data.notes[-1]
    assert load(tmp_path, image_size=8, colour="rgb").input_shape == (3, 8, 8)


def test_numbered_folders_are_taken_only_where_a_name_says_which_digits_they_are(tmp_path):
    write_files(tmp_path / "roman", digit_images("{}"))
    with pytest.raises(DataError, match=r"is not in .*roman"):
        load(tmp_path / "roman")
    (tmp_path / "roman").rename(tmp_path / "Hindi")
    assert len(load(tmp_path / "Hindi").train_labels) == 30


def test_absent_files_give_one_message_that_says_where_to_get_them(tmp_path):
    with pytest.raises(DataError) as caught:
        load(tmp_path)
    for words in ("hindi_hw_digits.tar.gz", "kaggle.com", "--data-dir", "bnkit study run digits"):
        assert words in str(caught.value)


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (
            {k: v for k, v in IMAGES.items() if "Test/digit_4" not in k},
            r"has no test images of 4; train/digit_0 … digit_9",
        ),
        ({**IMAGES, "Train/digit_2/0.png": b""}, r"Train/digit_2/0.png: cannot be .*empty"),
        ({**IMAGES, "Train/digit_2/0.png": b"GIF89a"}, r"Train/digit_2/0.png: cannot be decoded"),
        ({**IMAGES, "../Train/digit_2/1.png": b"x"}, r"lies outside the archive's own"),
    ],
)
def test_archives_that_cannot_be_right_are_refused(tmp_path, files, message):
    write_files(tmp_path, {f"{ROOT}.zip": zip_bytes(files)})
    with pytest.raises(DataError, match=message):
        load(tmp_path)


def test_a_damaged_zip_is_refused(tmp_path):
    whole = zip_bytes(IMAGES)
    archive = tmp_path / f"{ROOT}.zip"
    archive.write_bytes(whole[:-100])
    with pytest.raises(DataError, match="is no zip archive, or its end is missing"):
        load(tmp_path)
    archive.write_bytes(whole.replace(IMAGES["Train/digit_5/1.png"][60:80], b"x" * 20))
    with pytest.raises(DataError, match=r"is damaged .*CRC"):
        load(tmp_path)


def test_the_real_images_are_balanced():
    data = load(real_data("hindi-digits"))
    assert data.input_shape == (1, 32, 32)
    assert len(set(np.bincount(data.train_labels))) == 1
    assert len(data.train_labels) >= 2_440
    assert (data.train_images.min(), data.train_images.max()) == (0.0, 1.0)
