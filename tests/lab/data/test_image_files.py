"""Files of every kind; each expectation is worked out from the pixels that were written."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bnkit.errors import DataError
from bnkit.lab.data import DataSettings
from bnkit.lab.data.image_files import DecodedImage, decode, quiet_decoding


def decoded(path: Path, **changes) -> DecodedImage:
    with quiet_decoding():
        return decode(path, DataSettings(name="folder", path=path.parent, **changes))


RAMP = np.arange(12, dtype=np.uint8).reshape(3, 4) * 20
COLOURS = np.stack([RAMP, RAMP[::-1], np.full_like(RAMP, 7)], axis=-1)


@pytest.mark.parametrize("extension", ["png", "bmp", "gif", "tif", "pgm", "webp"])
def test_grey_files_come_back_as_written(tmp_path, extension):
    path = tmp_path / f"x.{extension}"
    Image.fromarray(RAMP).save(path, **({"lossless": True} if extension == "webp" else {}))
    pixels = decoded(path, colour="grey").pixels
    np.testing.assert_array_equal(pixels, RAMP)


@pytest.mark.parametrize("extension", ["png", "bmp", "tif", "ppm", "tga"])
def test_coloured_files_come_back_as_written(tmp_path, extension):
    path = tmp_path / f"x.{extension}"
    Image.fromarray(COLOURS).save(path)
    np.testing.assert_array_equal(decoded(path).pixels, COLOURS)


def test_extensions_are_read_in_any_case(tmp_path):
    Image.fromarray(RAMP).save(tmp_path / "X.PNG")
    np.testing.assert_array_equal(decoded(tmp_path / "X.PNG").pixels, RAMP)


def test_one_bit_is_black_and_white(tmp_path):
    bits = RAMP > 100
    Image.fromarray(bits).save(tmp_path / "x.png")
    np.testing.assert_array_equal(decoded(tmp_path / "x.png").pixels, bits * np.uint8(255))


def test_a_grey_palette_is_grey_and_a_coloured_one_is_not(tmp_path):
    grey = Image.fromarray(RAMP // 20).convert("P")
    grey.putpalette([value for level in range(256) for value in (level, level, level)])
    grey.save(tmp_path / "grey.png")
    with Image.open(tmp_path / "grey.png") as stored:
        assert stored.mode == "P"
    np.testing.assert_array_equal(decoded(tmp_path / "grey.png").pixels, RAMP // 20)
    coloured = grey.copy()
    coloured.putpalette([value for level in range(256) for value in (level, 255 - level, 0)])
    coloured.save(tmp_path / "coloured.png")
    levels = RAMP // 20
    expected = np.stack([levels, 255 - levels, np.zeros_like(levels)], axis=-1)
    np.testing.assert_array_equal(decoded(tmp_path / "coloured.png").pixels, expected)


@pytest.mark.parametrize("extension", ["png", "tif", "pgm"])
def test_sixteen_bits_keep_their_precision(tmp_path, extension):
    values = np.array([[0, 1, 256], [32768, 65534, 65535]], dtype=np.uint16)
    path = tmp_path / f"x.{extension}"
    if extension == "pgm":
        path.write_bytes(b"P5 3 2 65535\n" + values.astype(">u2").tobytes())
    else:
        Image.fromarray(values).save(path)
    pixels = decoded(path).pixels
    assert pixels.dtype == np.float32
    np.testing.assert_array_equal(pixels, values.astype(np.float32) / np.float32(65535))
    assert decoded(path, colour="rgb").pixels.shape == (2, 3, 3)
    assert decoded(path, image_size=2).pixels.shape == (2, 2)


@pytest.mark.parametrize("dtype", [np.int32, np.float32])
def test_thirty_two_bits_have_no_agreed_white(tmp_path, dtype):
    Image.fromarray(RAMP.astype(dtype)).save(tmp_path / "x.tif")
    with pytest.raises(DataError, match=r"x.tif: has pixels of 32 bits.*8 or 16 bits.*arrays"):
        decoded(tmp_path / "x.tif")


def test_transparent_pixels_are_laid_on_white(tmp_path):
    hidden = np.dstack([COLOURS, np.full((3, 4), 255, dtype=np.uint8)])
    hidden[0, :, 3] = 0
    hidden[1, 0] = (0, 0, 0, 51)  # a fifth black, four fifths white
    Image.fromarray(hidden).save(tmp_path / "x.png")
    image = decoded(tmp_path / "x.png")
    assert image.was_transparent
    assert (image.pixels[0] == 255).all()
    np.testing.assert_array_equal(image.pixels[1, 0], [204, 204, 204])
    np.testing.assert_array_equal(image.pixels[2], COLOURS[2])


def test_an_opaque_alpha_channel_changes_nothing(tmp_path):
    Image.fromarray(COLOURS).convert("RGBA").save(tmp_path / "x.png")
    image = decoded(tmp_path / "x.png")
    assert not image.was_transparent
    np.testing.assert_array_equal(image.pixels, COLOURS)


def test_grey_with_transparency_stays_grey(tmp_path):
    alpha = np.full((3, 4), 255, dtype=np.uint8)
    alpha[0, 0] = 0
    grey = Image.fromarray(RAMP)
    Image.merge("LA", [grey, Image.fromarray(alpha)]).save(tmp_path / "channel.png")
    grey.save(tmp_path / "key.png", transparency=0)  # RAMP is 0 at (0, 0) alone
    expected = RAMP.copy()
    expected[0, 0] = 255
    for name in ("channel.png", "key.png"):
        np.testing.assert_array_equal(decoded(tmp_path / name).pixels, expected)


def test_a_palette_with_a_transparent_entry_is_laid_on_white(tmp_path):
    image = Image.fromarray((RAMP > 100).astype(np.uint8)).convert("P")
    image.putpalette([200, 0, 0, 0, 0, 200] + [0] * 762)
    image.save(tmp_path / "x.png", transparency=0)
    result = decoded(tmp_path / "x.png")
    assert result.was_transparent
    expected = np.where((RAMP > 100)[..., None], [0, 0, 200], [255, 255, 255])
    np.testing.assert_array_equal(result.pixels, expected)


def test_cmyk_becomes_red_green_blue(tmp_path):
    inks = np.zeros((3, 4, 4), dtype=np.uint8)
    inks[0] = (255, 0, 0, 0)  # cyan ink: no red
    inks[1] = (0, 0, 0, 255)  # black
    Image.frombytes("CMYK", (4, 3), inks.tobytes()).save(tmp_path / "x.tif")
    pixels = decoded(tmp_path / "x.tif").pixels
    np.testing.assert_array_equal(pixels[:, 0], [[0, 255, 255], [0, 0, 0], [255, 255, 255]])


def test_grey_is_the_luma_of_the_colours(tmp_path):
    Image.fromarray(COLOURS).save(tmp_path / "x.png")
    luma = COLOURS @ np.array([0.299, 0.587, 0.114])
    grey = decoded(tmp_path / "x.png", colour="grey").pixels
    # Bytes: rounded to a whole number, with weights of 16 bits.
    np.testing.assert_allclose(grey, luma, atol=0.5 + 255 * 3 / 2**16, rtol=0)


def test_photographs_are_turned_upright(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: show it a quarter turn clockwise
    Image.fromarray(RAMP).save(tmp_path / "x.png", exif=exif)
    image = decoded(tmp_path / "x.png")
    np.testing.assert_array_equal(image.pixels, np.rot90(RAMP, k=-1))
    assert image.stored_size == (4, 3)


def test_reducing_averages_instead_of_picking_pixels(tmp_path):
    stripes = np.zeros((64, 64), dtype=np.uint8)
    stripes[:, ::2] = 255
    Image.fromarray(stripes).save(tmp_path / "x.png")
    pixels = decoded(tmp_path / "x.png", image_size=8).pixels
    picked = np.asarray(Image.fromarray(stripes).resize((8, 8), Image.Resampling.NEAREST))
    assert np.abs(pixels.astype(float) - 127.5).max() < 10
    assert np.abs(picked.astype(float) - 127.5).max() > 100  # what aliasing would give


def test_height_comes_before_width(tmp_path):
    Image.fromarray(COLOURS).save(tmp_path / "x.png")
    assert decoded(tmp_path / "x.png", image_size=(10, 20)).pixels.shape == (10, 20, 3)


def test_of_several_frames_the_first_is_taken(tmp_path):
    frames = [Image.fromarray(RAMP), Image.fromarray(255 - RAMP)]
    frames[0].save(tmp_path / "x.tif", save_all=True, append_images=frames[1:])
    image = decoded(tmp_path / "x.tif")
    assert image.has_frames
    np.testing.assert_array_equal(image.pixels, RAMP)


def _png_of_size(width: int, height: int) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        check = zlib.crc32(kind + data)
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", check)

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")


@pytest.mark.parametrize("extension", ["jpg", "png", "gif", "tif", "bmp", "webp"])
@pytest.mark.parametrize("kept", [0.9, 0.5, 0.1])
def test_a_truncated_file_is_named(tmp_path, extension, kept):
    path = tmp_path / f"broken.{extension}"
    noise = np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    Image.fromarray(noise).save(path)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * kept)])
    with pytest.raises(
        DataError, match=rf"broken.{extension}: cannot be decoded as an image \(.+\)"
    ):
        decoded(path)


@pytest.mark.parametrize(
    "content, message",
    [
        (b"", "empty, 0 bytes"),
        (b"only text", "no image format that Pillow knows"),
        (_png_of_size(10_000, 10_000), "100000000 pixels.*exceeds limit"),
    ],
)
def test_a_file_that_is_no_image_is_named(tmp_path, content, message):
    path = tmp_path / "fake.jpg"
    path.write_bytes(content)
    with pytest.raises(DataError, match=rf"fake.jpg: .*{message}.*Replace, convert or remove it"):
        decoded(path)


def test_a_file_that_is_gone_is_named(tmp_path):
    with pytest.raises(DataError, match=r"gone.png: cannot be read"):
        decoded(tmp_path / "gone.png")
