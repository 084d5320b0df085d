"""From what a user typed to settings; a wrong value is one message that names the right ones."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from typing import Any

from bnkit.bench.cases import (
    CHANNELS_LAST_RANKS,
    ITEM_BYTES,
    LAYOUTS,
    MODES,
    NAMED_SHAPES,
    OPERATIONS,
    PASSES,
    QUICK_SHAPES,
    BenchSettings,
    Shape,
    shape_text,
    values_per_channel,
)
from bnkit.errors import ArgumentError, did_you_mean

QUICK_SECONDS_PER_CASE = 0.25
_RANKS = range(2, 6)
_SHAPE = re.compile(r"\d+(?:[x×]\d+)*", re.IGNORECASE)


def read_settings(
    *,
    shapes: Iterable[str] = (),
    dtypes: Iterable[str] = (),
    layouts: Iterable[str] = (),
    operations: Iterable[str] = (),
    modes: Iterable[str] = (),
    passes: Iterable[str] = (),
    threads: int | None = None,
    rounds: int | None = None,
    quick: bool = False,
    compiles: bool | None = None,
    cold: bool = False,
) -> BenchSettings:
    """Return the settings that these options ask for; what is not given keeps its default.

    Args:
        shapes: texts such as "32x64x56x56", "resnet50", "three-conv", or several with commas.
        dtypes, layouts, operations, modes, passes: names, or several with commas.
        threads: at most the processors of this machine.
        rounds: times that each peer is measured.
        quick: fewer shapes, less time for each, and torch.compile only where asked for.
        compiles: whether torch.compile is a peer; None: unless quick.
        cold: whether peers are timed with the caches as the one before left them.

    Raises:
        ArgumentError: a value that an option does not take.
    """
    given: dict[str, Any] = {
        "shapes": parse_shapes(shapes),
        "dtypes": choose("--dtype", dtypes, tuple(ITEM_BYTES)),
        "layouts": choose("--layout", layouts, LAYOUTS),
        "operations": choose("--operation", operations, OPERATIONS),
        "modes": choose("--mode", modes, MODES),
        "passes": choose("--pass", passes, PASSES),
    }
    if quick:
        given["seconds_per_case"] = QUICK_SECONDS_PER_CASE
        given["shapes"] = given["shapes"] or QUICK_SHAPES
    settings = BenchSettings(
        **{name: value for name, value in given.items() if value},
        threads=_at_least_one("--threads", threads),
        rounds=_at_least_one("--rounds", rounds),
        compiles=not quick if compiles is None else compiles,
        cold=cold,
    )
    _check(settings)
    return settings


def choose(option: str, texts: Iterable[str], allowed: Sequence[str]) -> tuple[str, ...]:
    """Return the names in `texts`, in the order given, each once.

    Raises:
        ArgumentError: a name that is not allowed.
    """
    chosen = _words(option, texts, f"it takes {', '.join(allowed)}")
    for name in chosen:
        if name not in allowed:
            raise ArgumentError(
                f"{option} got {name!r}",
                required=f"it takes {', '.join(allowed)}",
                remedy=did_you_mean(name, allowed),
            )
    return chosen


def parse_shapes(texts: Iterable[str]) -> tuple[Shape, ...]:
    """Return the shapes that texts such as "8x16,resnet50" name, each once.

    Raises:
        ArgumentError: neither a shape nor the name of a set of shapes.
    """
    takes = f"it takes shapes such as 32x64x56x56, and the names {', '.join(NAMED_SHAPES)}"
    shapes: list[Shape] = []
    for word in _words("--shapes", texts, takes):
        shapes += NAMED_SHAPES.get(word) or (_parse_shape(word, takes),)
    return tuple(dict.fromkeys(shapes))


def _parse_shape(word: str, takes: str) -> Shape:
    if not _SHAPE.fullmatch(word):
        near = did_you_mean(word, NAMED_SHAPES)
        raise ArgumentError(f"--shapes got {word!r}", required=takes, remedy=near)
    shape = tuple(int(size) for size in re.split("[x×]", word.lower()))
    if len(shape) not in _RANKS:
        axes = f"{len(shape)} axis" if len(shape) == 1 else f"{len(shape)} axes"
        raise ArgumentError(
            f"--shapes got {word!r}, which has {axes}",
            required=f"a shape is (N, C, *S), with {_RANKS[0]} to {_RANKS[-1]} axes",
        )
    if 0 in shape:
        raise ArgumentError(
            f"--shapes got {word!r}, an empty tensor", required="each axis has at least 1 value"
        )
    return shape


def _words(option: str, texts: Iterable[str], takes: str) -> tuple[str, ...]:
    texts = list(texts)
    split = (word.strip() for text in texts for word in text.split(","))
    words = tuple(dict.fromkeys(word for word in split if word))
    if texts and not words:
        raise ArgumentError(f"{option} got {','.join(texts)!r}", required=takes)
    return words


def _at_least_one(option: str, value: int | None) -> int | None:
    if value is not None and value < 1:
        raise ArgumentError(f"{option} got {value}", required="it must be at least 1")
    return value


def _check(settings: BenchSettings) -> None:
    """Raise for settings that cannot be measured together, or here."""
    processors = os.cpu_count() or 1
    if settings.threads is not None and settings.threads > processors:
        raise ArgumentError(
            f"--threads got {settings.threads}",
            required=f"this machine has {processors} processors",
            remedy="More threads than processors wait for each other, and measure that",
        )
    for shape in settings.shapes:
        if "training" in settings.modes and values_per_channel(shape) == 1:
            raise ArgumentError(
                f"--shapes got {shape_text(shape)}, one value per channel",
                required="training statistics need at least two",
                remedy="Use a larger shape, or --mode eval",
            )
    if not any(True for _ in settings.cases()):
        raise ArgumentError(
            f"--layout got channels-last for {', '.join(map(shape_text, settings.shapes))}",
            required=f"it needs shapes of {' or '.join(map(str, CHANNELS_LAST_RANKS))} axes",
            remedy="Use --layout contiguous",
        )
    _check_memory(settings)


def _check_memory(settings: BenchSettings) -> None:
    """Raise if the largest case does not fit into memory: it would be killed without a word."""
    # x, residual, gradient; y, two gradients of three peers; what torch keeps; float32 copies.
    tensors = 20
    largest = max(settings.cases(), key=lambda case: case.tensor_mib)
    needed_gib = largest.tensor_mib * tensors / 1024
    try:
        free_gib = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30
    except (AttributeError, ValueError, OSError):  # not every system tells
        return
    if needed_gib > free_gib:
        raise ArgumentError(
            f"{shape_text(largest.shape)} in {largest.dtype} needs about {needed_gib:.0f} GiB",
            required=f"{free_gib:.0f} GiB are free",
            remedy="Use a smaller shape",
        )
