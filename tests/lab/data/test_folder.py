from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bnkit.errors import DataError
from bnkit.lab.data import Dataset, DataSettings, open_source

SPLIT = {"train/a": 4, "train/b": 3, "test/a": 2, "test/b": 2}
NUMERALS = Path(__file__).parents[4] / "shared" / "data" / "devanagari-numerals"


def source(path: Path, **changes):
    return open_source(DataSettings(name="folder", path=path, batch_size=1, **changes))


def load(path: Path, **changes) -> Dataset:
    return source(path, **changes).load()


def test_pixels_and_labels_are_those_of_the_files(make_folder):
    root = make_folder(SPLIT)
    data = load(root)
    assert data.class_names == ("a", "b")
    np.testing.assert_array_equal(data.train_labels, [0, 0, 0, 0, 1, 1, 1])
    np.testing.assert_array_equal(data.test_labels, [0, 0, 1, 1])
    files = [f"train/a/{i}.png" for i in range(4)] + [f"train/b/{i}.png" for i in range(3)]
    pixels = np.stack([np.asarray(Image.open(root / file)) for file in files])
    np.testing.assert_array_equal(data.train_images, (pixels / np.float32(255))[:, None])
    assert data.train_images.shape == (7, 1, 4, 5)
    assert data.train_images.dtype == np.float32
    assert data.notes == ()


def test_colours_keep_their_order(make_folder):
    root = make_folder(SPLIT, mode="RGB")
    with Image.open(root / "test/b/1.png") as image:
        expected = np.asarray(image) / np.float32(255)
    np.testing.assert_array_equal(load(root).test_images[-1], expected.transpose(2, 0, 1))


def test_one_folder_is_split_per_class_and_says_so(make_folder):
    data = load(make_folder({"a": 10, "b": 5}), test_share=0.4)
    np.testing.assert_array_equal(np.bincount(data.test_labels), [4, 2])
    np.testing.assert_array_equal(np.bincount(data.train_labels), [6, 3])
    assert "0.4 of each class was held out" in data.notes[0]


def test_split_settings_that_are_not_used_are_named(make_folder):
    notes = load(make_folder(SPLIT), split_seed=3).notes
    assert notes == ("split_seed not used: the data has a test split of its own.",)


@pytest.mark.parametrize(
    "names, order",
    [
        (["10", "9", "0"], ("0", "9", "10")),
        (["b10", "b9", "a"], ("a", "b10", "b9")),
        (["10", "9", "x"], ("10", "9", "x")),
    ],
)
def test_whole_numbers_are_sorted_by_value_and_other_names_as_text(make_folder, names, order):
    assert load(make_folder(dict.fromkeys(names, 2))).class_names == order


def test_split_folders_may_be_capitalized(make_folder):
    root = make_folder({"Train/a": 2, "Train/b": 2, "TEST/a": 1, "TEST/b": 1})
    assert len(load(root).test_labels) == 2


def test_hidden_and_system_files_are_passed_over_and_others_counted(make_folder):
    root = make_folder(SPLIT)
    for name in (".DS_Store", "Thumbs.db", "desktop.ini", "._0.png"):
        (root / "train/a" / name).write_bytes(b"x")
    for name in ("__MACOSX", ".git"):
        (root / name).mkdir()
    assert load(root).notes == ()
    (root / "train/a/notes.txt").write_text("x")
    (root / "readme.md").write_text("x")
    assert "2 files are no images and not read: readme.md, train/a/notes.txt." in load(root).notes


def test_images_outside_class_folders_and_other_splits_are_named(make_folder):
    root = make_folder({**SPLIT, "val/a": 1})
    shutil.copy(root / "val/a/0.png", root / "overview.png")
    notes = load(root).notes
    assert "1 file is outside the class folders and not read: overview.png." in notes
    assert "Folders beside train/ and test/ that are not read: val." in notes


def test_a_class_without_test_images_is_named(make_folder):
    root = make_folder({"train/a": 2, "train/b": 2, "test/a": 1})
    assert "The test split has no example of class b." in load(root).notes


def test_images_of_several_sizes_need_image_size(make_folder):
    root = make_folder({"a": 3, "b": 3})
    Image.new("L", (9, 7)).save(root / "b/1.png")
    message = (
        r"a/0.png has 4×5 pixels.*b/1.png 7×9; .*one size. Set data.image_size, such as \[4, 5\]"
    )
    with pytest.raises(DataError, match=message):
        load(root)
    data = load(root, image_size=(6, 6))
    assert data.input_shape == (1, 6, 6)
    assert data.notes[-1] == (
        "Images resized to 6×6 pixels: 6, "
        "of which stretched, as the ratio of their sides differs: 6."
    )


def test_grey_images_among_coloured_ones_get_three_channels(make_folder):
    root = make_folder({"a": 2, "b": 2}, mode="RGB")
    grey = np.arange(20, dtype=np.uint8).reshape(4, 5)
    Image.fromarray(grey).save(root / "a/2.png")
    data = load(root)
    images = np.concatenate([data.train_images, data.test_images])
    assert data.input_shape == (3, 4, 5)
    expected = np.broadcast_to(grey / np.float32(255), (3, 4, 5))
    assert any(np.array_equal(image, expected) for image in images)


@pytest.mark.parametrize("stored, colour, channels", [("RGB", "grey", 1), ("L", "rgb", 3)])
def test_colour_can_be_chosen(make_folder, stored, colour, channels):
    root = make_folder({"a": 2, "b": 2}, mode=stored)
    assert load(root, colour=colour).input_shape == (channels, 4, 5)


def test_grey_images_stored_in_colour_are_noted(make_folder):
    root = make_folder({"a": 2, "b": 2})
    for file in root.glob("*/*.png"):
        Image.open(file).convert("RGB").save(file)
    assert "stored in colour and look grey" in load(root).notes[-1]
    assert len(load(root, colour="rgb").notes) == 1


def test_transparency_and_frames_are_noted(make_folder):
    root = make_folder(SPLIT)
    Image.new("LA", (5, 4), (10, 0)).save(root / "train/a/0.png")
    frames = [Image.new("L", (5, 4), grey) for grey in (10, 20)]
    frames[0].save(root / "test/b/x.tif", save_all=True, append_images=frames[1:])
    assert load(root).notes == (
        "Images with transparent pixels, laid on white: 1.",
        "Files of several frames, of which the first was taken: 1.",
    )


def test_images_are_normalized_per_channel(make_folder):
    root = make_folder(SPLIT, mode="RGB")
    plain = load(root)
    mean, std = [0.1, 0.2, 0.3], [0.5, 1.0, 2.0]
    data = load(root, mean=mean, std=std)
    for channel in range(3):
        expected = (plain.test_images[:, channel] - np.float32(mean[channel])) / np.float32(
            std[channel]
        )
        np.testing.assert_array_equal(data.test_images[:, channel], expected)


def test_a_batch_larger_than_the_training_split_is_refused(make_folder):
    settings = DataSettings(name="folder", path=make_folder(SPLIT), batch_size=8)
    with pytest.raises(DataError, match="batch_size = 8, and there are 7 training examples"):
        open_source(settings).load()


@pytest.mark.parametrize(
    "counts, message",
    [
        ({}, "holds no folders and no images; one folder per class"),
        ({".": 3}, "holds 3 images and no folders.*Sort the images into folders"),
        ({"a": 3}, "holds one class, 'a'; at least two.*set data.path to .*a; otherwise add"),
        ({"train/a": 3, "test/a": 3}, "train: holds one class, 'a'"),
        ({"a": 3, "b": 0}, "class folder b holds no images.*Fill it or remove it"),
        ({**SPLIT, "test/b": 0}, "test/b: the class folder b holds no images"),
        (
            {"train/a": 2, "train/b": 2, "val/a": 2},
            "holds train/ and no test/ but val/.*Add test/.*or set data.path to .*train",
        ),
        ({"test/a": 2, "test/b": 2}, "holds test/ and no train/;.*Add train/.*set data.path to"),
        (
            {**SPLIT, "test/c": 1, "test/d": 1},
            "test/ has classes that train/ has not: 'c', 'd'; .*among 'a', 'b'",
        ),
        (
            {"training/a": 2, "training/b": 2, "testing/a": 2},
            "class folder testing holds a folder of images, a; images directly.*name the splits",
        ),
        ({"a/x": 1, "a/y": 1, "b": 2}, "class folder a holds a folder of images, x"),
    ],
)
def test_a_folder_that_cannot_be_read_without_guessing_is_refused(make_folder, counts, message):
    root = make_folder({".": 0, **counts})
    with pytest.raises(DataError, match=f"^{root}.*{message}"):
        load(root)
    with pytest.raises(DataError, match=message):
        source(root).fingerprint()


def test_a_class_of_one_image_cannot_be_split(make_folder):
    with pytest.raises(DataError, match=r"class 'b' has 1 example,.*at least two per class"):
        load(make_folder({"a": 3, "b": 1}))


def test_a_path_that_is_no_folder_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"absent: there is no such folder.*Check data.path"):
        load(tmp_path / "absent")
    file = tmp_path / "data.npz"
    file.write_bytes(b"")
    with pytest.raises(DataError, match=r'data.npz: is a file; a folder.*name = "arrays"'):
        load(file)


def test_the_fingerprint_is_of_the_content_and_not_of_the_place(make_folder, tmp_path):
    root = make_folder(SPLIT)
    before = source(root).fingerprint()
    shutil.copytree(root, tmp_path / "elsewhere")
    assert source(tmp_path / "elsewhere").fingerprint() == before
    assert source(root, colour="rgb", image_size=3).fingerprint() == before
    (root / "readme.txt").write_text("not read")
    assert source(root).fingerprint() == before


@pytest.mark.parametrize("change", ["one byte", "renamed", "moved to another class", "removed"])
def test_the_fingerprint_changes_with_the_content(make_folder, change):
    root = make_folder(SPLIT)
    before = source(root).fingerprint()
    file = root / "train/a/0.png"
    if change == "one byte":
        content = bytearray(file.read_bytes())
        content[-1] ^= 1
        file.write_bytes(content)
    elif change == "renamed":
        file.rename(root / "train/a/0_.png")  # the order of the bytes stays the same
    elif change == "moved to another class":
        # The last file of a becomes the first of b: again the bytes come in the same order.
        (root / "train/a/3.png").rename(root / "train/b/+.png")
    else:
        file.unlink()
    assert source(root).fingerprint() != before


@pytest.mark.skipif(not NUMERALS.is_dir(), reason="../shared/data is absent")
def test_handwritten_numerals():
    data = load(NUMERALS)
    assert data.class_names == tuple("0123456789")
    assert data.train_images.shape == (2440, 1, 28, 28)
    assert data.test_images.shape == (440, 1, 28, 28)
    np.testing.assert_array_equal(np.bincount(data.train_labels, minlength=10) > 0, True)
    file = sorted((NUMERALS / "test/9").iterdir())[-1]
    expected = np.asarray(Image.open(file)) / np.float32(255)
    np.testing.assert_array_equal(data.test_images[-1, 0], expected)
