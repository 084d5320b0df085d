"""One image file → pixels: palettes, transparency, 16 bits, CMYK, rotation, size."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from bnkit.errors import DataError
from bnkit.lab.data.hashing import unreadable
from bnkit.lab.data.settings import DataSettings

if TYPE_CHECKING:
    from PIL.Image import Image

EXTENSIONS = frozenset(
    f".{name}"
    for name in (
        *("avif", "bmp", "gif", "heic", "heif", "jfif", "jp2", "jpe", "jpeg", "jpg", "pbm", "pgm"),
        *("png", "pnm", "ppm", "tga", "tif", "tiff", "webp"),
    )
)


@dataclass(frozen=True)
class DecodedImage:
    """An image in memory.

    Attributes:
        pixels: (H, W) if grey, (H, W, 3) if not; uint8, or float32 in [0, 1] for 16 bits.
        stored_size: (height, width) before resizing.
        was_transparent: some pixel was, and the image was laid on white.
        has_frames: it holds several frames, of which this is the first.
    """

    pixels: NDArray[Any]
    stored_size: tuple[int, int]
    was_transparent: bool
    has_frames: bool


@contextmanager
def quiet_decoding() -> Iterator[None]:
    """Keep Pillow's warnings about metadata off the terminal; refuse images of absurd size."""
    from PIL import Image

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        yield


def decode(path: Path, settings: DataSettings, content: bytes | None = None) -> DecodedImage:
    """Return an image upright, in the size and colour that the settings ask for.

    Args:
        path: the file; its first frame is read.
        settings: `image_size` (bilinear, antialiased, aspect ratio not kept) and `colour`; None
            leaves the image as it is stored.
        content: the file's bytes, if it was read already; the path then only names it.

    Raises:
        DataError: it cannot be read or decoded, or has pixels without an agreed white.
    """
    from PIL import Image, ImageOps

    try:
        with Image.open(path if content is None else BytesIO(content)) as opened:
            frames = bool(getattr(opened, "is_animated", False))
            upright = ImageOps.exif_transpose(opened)
            image, was_transparent = _simplified(upright, opened.format, path)
            size = (image.height, image.width)
            if settings.colour == "grey" and image.mode == "RGB":
                image = image.convert("L")
            if settings.image_size is not None and settings.image_size != size:
                height, width = settings.image_size
                image = image.resize((width, height), Image.Resampling.BILINEAR)
            pixels = np.asarray(image)
    except DataError:
        raise
    except (PermissionError, FileNotFoundError) as error:
        raise unreadable(path, error) from error
    except Exception as error:  # decoders of broken files raise whatever they stumble over
        raise _broken(path, error, content) from error
    if settings.colour == "rgb" and pixels.ndim == 2:
        pixels = np.repeat(pixels[:, :, None], 3, axis=2)
    return DecodedImage(pixels, size, was_transparent, frames)


def _simplified(image: Image, stored_as: str | None, path: Path) -> tuple[Image, bool]:
    """Return the image as L, RGB or F (16 bits, in [0, 1]), and whether it was transparent."""
    import PIL.Image

    if image.mode.startswith("I;16") or (image.mode == "I" and stored_as == "PPM"):
        values = np.asarray(image).astype(np.float32) / np.float32(65535)
        return PIL.Image.fromarray(values), False
    if image.mode in ("I", "F"):
        raise DataError(
            f"has pixels of 32 bits (mode {image.mode})",
            required="8 or 16 bits per channel, for which white is agreed on",
            remedy='Convert it, or give the pixels as arrays with data.name = "arrays"',
            where=str(path),
        )
    if image.mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in image.info:
        return _on_white(image)
    if image.mode in ("1", "L"):
        return image.convert("L"), False
    colour = image.convert("RGB")
    return (_grey_if_equal(colour) if image.mode == "P" else colour), False


def _on_white(image: Image) -> tuple[Image, bool]:
    """Return the image laid on white, as hidden colours must not appear, and whether it changed."""
    import PIL.Image

    is_grey = image.mode in ("1", "L", "LA", "La")
    has_palette = image.mode in ("P", "PA")
    layered = image.convert("RGBA")
    lowest_alpha = layered.getchannel("A").getextrema()[0]
    white = PIL.Image.new("RGBA", layered.size, "white")
    flat = PIL.Image.alpha_composite(white, layered).convert("RGB")
    if is_grey:
        flat = flat.convert("L")
    elif has_palette:
        flat = _grey_if_equal(flat)
    return flat, lowest_alpha != 255


def _grey_if_equal(image: Image) -> Image:
    """Return an image with a palette as grey if all colours used are: a palette is only storage."""
    pixels = np.asarray(image)
    is_grey = (pixels[..., 0] == pixels[..., 1]).all() and (pixels[..., 1] == pixels[..., 2]).all()
    return image.getchannel("R") if is_grey else image


def _broken(path: Path, error: Exception, content: bytes | None) -> DataError:
    from PIL import UnidentifiedImageError

    reason = str(error).replace(str(path), path.name).replace(repr(str(path)), path.name)
    if isinstance(error, UnidentifiedImageError):
        reason = "its content is no image format that Pillow knows"
        if (path.stat().st_size if content is None else len(content)) == 0:
            reason = "it is empty, 0 bytes"
    return DataError(
        f"cannot be decoded as an image ({reason or type(error).__name__})",
        required="every file with an image's extension is a whole image",
        remedy="Replace, convert or remove it",
        where=str(path),
    )
