"""How long the Hindi-digits comparison takes: the article's pipeline against `bnkit.lab.run`.

Both train the three-conv network with and without batch norm, one seed, batch 32, SGD with learning
rate 0.001, and measure loss and accuracy on both splits after each epoch. Ours trains the arms side
by side, one thread each, channels-last. Bar: at most half of the article's wall time with `--full`:
17,000 + 3,000 images, 30 epochs.

Without it two epochs on fewer images, where starting processes and measuring the untrained networks
weigh more than they do in 30, and the bar does not apply. A longer run of ours shows what a further
epoch takes; its share of an epoch of the article's is what `--full` comes near to.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

import bnkit.lab
from bnkit.lab.data import DataSettings, open_source

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import article_pipeline
from images import write_images
from result_rows import measured_on, spread, write_rows

BAR = 0.5
LONGER = 3
FULL_EPOCHS = 30


def study(folder: Path, epochs: int) -> dict[str, Any]:
    """Return the same comparison as a study."""
    return {
        "study": {"name": "training-benchmark"},
        "data": {
            "name": "folder",
            "path": str(folder),
            "colour": "grey",
            "batch_size": article_pipeline.BATCH_SIZE,
        },
        "network": {"name": "three-conv"},
        "training": {
            "epochs": epochs,
            "optimizer": {"name": "sgd", "lr": article_pipeline.LEARNING_RATE},
            "memory_format": "channels-last",
        },
        "grid": {"seed": [article_pipeline.SEED]},
    }


def check_equal_images(folder: Path) -> None:
    """Raise unless both pipelines see the same pixels under the same labels."""
    dataset = open_source(DataSettings(name="folder", path=folder, colour="grey")).load()
    theirs = [article_pipeline.Digits(folder / "test")[index] for index in range(100)]
    np.testing.assert_array_equal(
        dataset.test_images[:100], np.stack([image.numpy() for image, _ in theirs])
    )
    np.testing.assert_array_equal(dataset.test_labels[:100], [label for _, label in theirs])


def ours(folder: Path, epochs: int) -> dict[str, float]:
    """Run the study into a new folder and return arm → training loss after the last epoch."""
    with tempfile.TemporaryDirectory() as out:
        result = bnkit.lab.run(study(folder, epochs), out=out, progress=False)
    last = result.metrics.filter(metric="train loss", epoch=epochs)
    return {row["arm"]: row["value"] for row in last.iter_rows(named=True)}


def theirs(folder: Path, epochs: int) -> dict[str, float]:
    """Run the article's pipeline and return arm → training loss after the last epoch."""
    return {
        arm: results["train loss"][-1]
        for arm, results in article_pipeline.run(folder, epochs).items()
    }


def check_alike(found: dict[str, float], expected: dict[str, float]) -> None:
    """Raise unless each arm's last training loss is near: seeds agree, and draws do not."""
    for arm, loss in expected.items():
        if not abs(found[arm] - loss) <= 0.25 * loss + 0.02:
            raise AssertionError(f"{arm}: training loss {found[arm]:.3f}, the article's {loss:.3f}")


def timed(pipeline: Any, folder: Path, epochs: int) -> tuple[float, dict[str, float]]:
    """Return wall seconds and what the pipeline returned."""
    start = time.perf_counter()
    losses = pipeline(folder, epochs)
    return time.perf_counter() - start, losses


def median_share(mine: list[float], published: list[float]) -> float:
    """Return the median of ours over the article's, run by run; 0 if ours was not measured."""
    shares = [a / b for a, b in zip(mine, published, strict=False)]
    return statistics.median(shares) if shares else 0.0


def measure(train: int, test: int, epochs: int, repeats: int) -> dict[str, Any]:
    """Return one row: both pipelines in turn, with what they found."""
    seconds: dict[str, list[float]] = {"article": [], "bnkit": [], "bnkit further epoch": []}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_images(folder, train, test)
        check_equal_images(folder)
        for _ in range(repeats):
            their_seconds, expected = timed(theirs, folder, epochs)
            our_seconds, found = timed(ours, folder, epochs)
            check_alike(found, expected)
            seconds["article"].append(their_seconds)
            seconds["bnkit"].append(our_seconds)
            if epochs < FULL_EPOCHS:
                longer, _ = timed(ours, folder, LONGER * epochs)
                further = (longer - our_seconds) / ((LONGER - 1) * epochs)
                seconds["bnkit further epoch"].append(further)
    share = median_share(seconds["bnkit"], seconds["article"])
    further = median_share(seconds["bnkit further epoch"], seconds["article"]) * epochs
    return {
        "train images": train,
        "test images": test,
        "epochs": epochs,
        "threads": torch.get_num_threads(),
        "unit": "s",
        **{name: spread(values) for name, values in seconds.items() if values},
        "bnkit first": round(seconds["bnkit"][0], 3),
        "train loss": {arm: [round(found[arm], 4), round(expected[arm], 4)] for arm in expected},
        "share": round(share, 4),
        "share of a further epoch": round(further, 4),
        **({"bar": BAR, "within bar": share <= BAR} if epochs == FULL_EPOCHS else {}),
        **measured_on(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, help="folder for training.json")
    parser.add_argument("--full", action="store_true", help="17,000 + 3,000 images, 30 epochs")
    parser.add_argument("--repeats", type=int, help="default 2, with --full 1")
    options = parser.parse_args()
    size = (17_000, 3_000, FULL_EPOCHS) if options.full else (5_000, 1_000, 2)
    row = measure(*size, options.repeats or (1 if options.full else 2))
    write_rows("training_full" if options.full else "training", [row], options.out)


if __name__ == "__main__":
    main()
