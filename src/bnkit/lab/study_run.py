"""One call from a study to its results: the same door for Python and for the command line."""

from __future__ import annotations

import operator
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from bnkit.errors import NetworkError, StudyError
from bnkit.lab.data.names import GIVEN, SOURCES
from bnkit.lab.recording import is_recorded
from bnkit.lab.study.overrides import plain
from bnkit.lab.study.progress import Progress, Silent, progress_for
from bnkit.lab.study.runner import Run, rejudge
from bnkit.lab.study.study_file import find_study, resolve
from bnkit.lab.study_result import StudyResult

# A list in a [data] table has at most this many numbers, one per channel; longer ones are arrays.
MOST_CHANNELS = 16


def run(
    study: str | Path | Mapping[str, Any],
    *,
    network: str | Callable[..., Any] | None = None,
    data: Any = None,
    data_dir: str | Path | None = None,
    seeds: int | Sequence[int] | None = None,
    out: str | Path | None = None,
    device: str | None = None,
    quick: bool = False,
    overrides: Mapping[str, Any] | None = None,
    workers: int | None = None,
    progress: bool | None = None,
    command: str = "",
) -> StudyResult:
    """Run a study: train its missing trials, judge its claims, write its folder and its report.

    Args:
        study: name of a study of the catalogue, path of a study file, or its content as a
            dictionary. `{}` with `network`, `data` and `training` overrides is enough.
        network: what to train instead: a name, `file.py:attribute`, or a function or class that
            returns a new module, called with `input_shape=` and `classes=` if it takes them.
        data: what to train on instead: a name such as `"digits"`, the path of an image folder or
            .npz file, a `[data]` table as a dictionary, or arrays: (images, labels), (train_images,
            train_labels, test_images, test_labels), or a mapping with those names.
        data_dir: the folder that `mnist`, `cifar-10` and `hindi-digits` lie in, up to three folders
            deep; default the one that BNKIT_DATA_DIR names, else bnkit's cache folder.
        seeds: N for 0 … N−1, or the seeds.
        out: the study's folder; default `runs/<study>`.
        device: where to train.
        quick: use the study's quick profile.
        overrides: dotted key → value, such as {"training.epochs": 5}.
        workers: processes; default the cores divided by threads per trial.
        progress: show progress on standard error; default only if it is a terminal.
        command: what repeats the run, for the report; default this call.

    Returns:
        The results; printing them shows the verdicts.

    Raises:
        BnkitError: a message for the user; earlier results in `out` are left as they were.
    """
    if workers is not None and workers < 1:
        raise StudyError(f"workers = {workers}", required="at least one process")
    source = find_study(study)
    if isinstance(study, Mapping) and isinstance(study.get("study", {}), Mapping):
        named = {"name": "study", **study.get("study", {})}
        source = replace(source, content={**source.content, "study": named})
    builder = network if callable(network) else None
    changes = {
        **_network_changes(network),
        **_data_changes(data),
        **(overrides or {}),
        **_choices(seeds, device),
    }
    source = replace(source, content=plain(source.content))
    settings = resolve(source, quick=quick, overrides=plain(changes))
    if out is not None and not isinstance(out, str | Path):
        raise StudyError(f"out = {out!r}", required="the path of a folder")
    root = Path(out) if out is not None else Path("runs") / settings.study.name
    Run(
        settings=settings,
        root=root,
        builder=builder,
        arrays=data if changes.get("data.name") == GIVEN else None,
        data_dir=data_dir,
        command=command
        or _call_text(
            study,
            network=network,
            data=data,
            data_dir=data_dir,
            seeds=seeds,
            out=out,
            device=device,
            quick=quick or None,
            overrides=overrides,
        ),
        workers=workers,
        progress=_progress(progress),
    ).execute()
    return _reported(root)


def judge_again(folder: str | Path) -> StudyResult:
    """Judge a study's folder again from its stored trials and write its report anew.

    Raises:
        StoreError: the folder holds no study, or no finished trial.
    """
    root = Path(folder)
    if not is_recorded(root):  # a recording has no claims
        rejudge(root)
    return _reported(root)


def _reported(root: Path) -> StudyResult:
    result = StudyResult.read(root)
    result.report()
    return result


def _network_changes(network: Any) -> dict[str, Any]:
    if network is None:
        return {}
    if hasattr(network, "forward") and not isinstance(network, type):
        raise NetworkError(
            f"network is a module, an instance of {type(network).__name__}",
            required="a study builds a new network for every trial, so it needs a function or "
            "class that returns one",
            remedy=f"Give the class, network={type(network).__name__}, or a function",
        )
    if callable(network):
        return {"network.name": f"{GIVEN}:{getattr(network, '__name__', type(network).__name__)}"}
    if not isinstance(network, str):
        raise StudyError(
            f"network is a {type(network).__name__}",
            required="a name, file.py:attribute, or a function or class that returns a new module",
        )
    return {"network.name": network}


def _data_changes(data: Any) -> dict[str, Any]:
    """Return the overrides that make a study train on what was given."""
    if data is None:
        return {}
    if isinstance(data, str | Path):
        if str(data) in SOURCES:
            return {"data.name": str(data)}
        path = Path(data).expanduser()
        kind = "arrays" if path.suffix == ".npz" or path.is_file() else "folder"
        return {"data.name": kind, "data.path": str(data)}
    if isinstance(data, Mapping) and not any(_is_array(value) for value in data.values()):
        return {f"data.{name}": value for name, value in data.items()}
    return {"data.name": GIVEN}


def _is_array(value: Any) -> bool:
    # Settings such as image_size are short lists of numbers; arrays have a shape or hold sequences.
    return hasattr(value, "shape") or (
        isinstance(value, Sequence) and not isinstance(value, str) and len(value) > MOST_CHANNELS
    )


def _choices(seeds: int | Sequence[int] | None, device: str | None) -> dict[str, Any]:
    chosen: dict[str, Any] = {}
    if seeds is not None:
        chosen["grid.seed"] = _seed_list(seeds)
    if device is not None:
        chosen["training.device"] = device
    return chosen


def _seed_list(seeds: Any) -> list[int]:
    """Return the seeds as plain numbers, whatever kind of whole numbers they are."""
    several = isinstance(seeds, Sequence) or hasattr(seeds, "__len__")
    try:
        numbers = [operator.index(seed) for seed in (seeds if several else [seeds])]
    except TypeError:
        numbers = []
    if not numbers or isinstance(seeds, bool | str):
        raise StudyError(
            f"seeds = {seeds!r}", required="a number N for 0 … N−1, or a list of whole numbers"
        )
    return numbers if several else list(range(numbers[0]))


def _progress(show: bool | None) -> Progress:
    if show is None:
        show = sys.stderr.isatty()
    return progress_for(sys.stderr) if show else Silent()


def _call_text(study: Any, **given: Any) -> str:
    """Return the call as text; what cannot be written in a line is named by its type."""
    named = [f"{name}={_short(value)}" for name, value in given.items() if value is not None]
    return f"bnkit.lab.run({', '.join([_short(study), *named])})"


def _short(value: Any) -> str:
    if isinstance(value, str | Path):
        return repr(str(value))
    if callable(value):
        return getattr(value, "__name__", type(value).__name__)
    text = repr(value)
    return text if len(text) <= 60 and "\n" not in text else f"<{type(value).__name__}>"
