"""Trials side by side in processes, with one account of the steps they have taken."""

from __future__ import annotations

import os
import shutil
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import joblib
from joblib.externals.loky.process_executor import TerminatedWorkerError

from bnkit.errors import TrialError
from bnkit.lab.data import Dataset
from bnkit.lab.store import TrialRecord, TrialStore
from bnkit.lab.study.progress import Progress
from bnkit.lab.study.trial import TrialJob, run_trial
from bnkit.lab.training import TrainingSettings

_POLL_SECONDS = 0.2
_PARENT_POLL_SECONDS = 1.0


@dataclass(frozen=True)
class _Caller:
    process: int
    directory: Path


def worker_count(trainings: Sequence[TrainingSettings]) -> int:
    """Return how many processes train side by side: the cores divided between them.

    Trials on an accelerator run one after the other, because they share its memory.
    """
    if any(not training.device.startswith("cpu") for training in trainings):
        return 1
    threads = max(training.threads for training in trainings)
    return max(1, min(len(trainings), int(joblib.cpu_count()) // threads))


def run_trials(
    jobs: Sequence[TrialJob],
    datasets: Mapping[str, Dataset],
    root: Path,
    *,
    workers: int,
    progress: Progress,
    describe: Callable[[TrialRecord], str],
) -> None:
    """Train and store every job; a job that raises ends the run, those that had finished are kept.

    Args:
        jobs: what to train.
        datasets: job id → its data.
        root: the study's folder.
        workers: processes; 1 trains in this one.
        progress: told of steps and finished trials.
        describe: record → the line shown for it.

    Raises:
        BnkitError: what a trial raised, or that a process was killed.
    """
    # In the store, so that the next run removes it if this one is killed.
    folder = TrialStore(root).unfinished_folder("progress")
    caller = _Caller(os.getpid(), Path.cwd())
    try:
        tasks = (
            joblib.delayed(_run_reported)(job, datasets[job.id], root, folder, caller)
            for job in jobs
        )
        with _watched(folder, progress):
            finished = joblib.Parallel(n_jobs=workers, return_as="generator_unordered")(tasks)
            try:
                for record in finished:
                    progress.trial_finished(describe(record))
            except TerminatedWorkerError as error:
                raise TrialError(
                    "a training process was killed, perhaps because memory ran out",
                    required="each of the processes holds a copy of the data and a network",
                    remedy="Finished trials are kept; run again with fewer --workers",
                ) from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _run_reported(
    job: TrialJob, dataset: Dataset, root: Path, folder: Path, caller: _Caller
) -> TrialRecord:
    if os.getpid() != caller.process:
        _end_with(caller.process)
        # joblib keeps its processes for later runs, and they stay in the folder where they began.
        os.chdir(caller.directory)
        # Standard output is for results; what a user's network prints goes where progress goes.
        sys.stdout = sys.stderr

    def report(steps: int) -> None:
        (folder / job.id).write_text(str(steps), encoding="ascii")

    return run_trial(job, dataset, root, report)


@cache
def _end_with(parent: int) -> None:
    """Make this process end when its parent has ended, whatever it is doing.

    A run killed outright cannot stop its processes: without this they would train on for nobody,
    and then wait for work without end.
    """

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(_PARENT_POLL_SECONDS)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


@contextmanager
def _watched(folder: Path, progress: Progress) -> Iterator[None]:
    finished = threading.Event()

    def watch() -> None:
        while not finished.wait(_POLL_SECONDS):
            progress.update(_steps_taken(folder))

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        finished.set()
        watcher.join()


def _steps_taken(folder: Path) -> int:
    # A file being written at this moment can be empty; the next look sees its content.
    return sum(int(path.read_text(encoding="ascii") or 0) for path in folder.iterdir())
