"""Image files like the Hindi digits: 32×32, grey, white strokes on black, ten classes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

SIDE = 32
CLASSES = 10
POINTS = 6


def write_images(folder: Path, train: int, test: int) -> None:
    """Write `train/<digit>/*.png` and `test/<digit>/*.png`, balanced over the digits.

    A class is a line through random points; each image moves the points a little.
    """
    generator = np.random.default_rng(0)
    classes = generator.uniform(5, SIDE - 5, (CLASSES, POINTS, 2))
    for split, count in (("train", train), ("test", test)):
        for index in range(count):
            digit = index % CLASSES
            place = folder / split / str(digit)
            place.mkdir(parents=True, exist_ok=True)
            points = classes[digit] + generator.normal(0, 1.5, (POINTS, 2))
            image = Image.new("L", (SIDE, SIDE))
            line = [(float(x), float(y)) for x, y in points]
            ImageDraw.Draw(image).line(line, fill=int(generator.integers(180, 256)), width=3)
            image.save(place / f"{index:05d}.png")
