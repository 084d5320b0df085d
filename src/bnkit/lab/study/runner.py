"""A study from settings to results: what is missing is trained, then everything is judged."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bnkit.errors import StoreError, StudyError
from bnkit.inspection.target import is_target
from bnkit.lab.data import (
    Dataset,
    DataSettings,
    DataSource,
    check_batch_size,
    from_arrays,
    open_source,
)
from bnkit.lab.data.names import GIVEN
from bnkit.lab.networks.names import NETWORKS, unknown_network
from bnkit.lab.store import (
    SETTINGS_FILE,
    TrialRecord,
    TrialStore,
    read_results,
    read_settings,
    write_results,
    write_settings,
)
from bnkit.lab.study import callable_fingerprints
from bnkit.lab.study.claims import judge, summarize
from bnkit.lab.study.fingerprints import target_fingerprint, trial_id
from bnkit.lab.study.progress import Progress, Silent, format_seconds
from bnkit.lab.study.spec import PlannedTrial, StudySettings, plan, validate
from bnkit.lab.study.stored_trials import judge_as_stored

if TYPE_CHECKING:
    from bnkit.lab.study.trial import TrialJob


@dataclass
class Run:
    """One run of a study.

    Attributes:
        settings: the resolved study.
        root: the study's folder.
        builder: the function given from Python that builds the network, if one was.
        arrays: the data given from Python, if they were.
        data_dir: where data sets lie; None leaves it to BNKIT_DATA_DIR and the cache folder.
        command: what repeats the run.
        workers: processes; None divides the cores.
        progress: told how far the run is.
    """

    settings: StudySettings
    root: Path
    builder: Callable[..., Any] | None = None
    arrays: Any = None
    data_dir: str | Path | None = None
    command: str = ""
    workers: int | None = None
    progress: Progress = field(default_factory=Silent)
    _sources: dict[str, DataSource] = field(default_factory=dict)
    _fingerprints: dict[str, str] = field(default_factory=dict)

    def execute(self) -> None:
        """Train what is missing, judge the claims, and write the results.

        Everything that can be checked is checked before anything is written; on an error earlier
        results stay as they were.

        Raises:
            BnkitError: a message for the user.
        """
        self._refuse_other_study()
        planned = {
            trial_id(trial, self.fingerprints(trial)): trial for trial in plan(self.settings)
        }
        store = TrialStore(self.root)
        missing = {key: trial for key, trial in planned.items() if not store.has(key)}
        if missing:
            self._train(missing, store, len(planned) - len(missing))
        self._write_settings()
        judge_and_write(self.root, self.settings, planned, self.command)

    def fingerprints(self, trial: PlannedTrial) -> dict[str, str]:
        """Return the hashes of what a trial's data, network and loss are made of."""
        settings = trial.settings
        compute = {
            "data": lambda: self._source(settings.data).fingerprint(),
            "network": lambda: self._network_hash(settings.network.name),
            "loss": lambda: target_fingerprint(settings.training.loss),
        }
        for part, key in _fingerprint_keys(trial).items():
            if key not in self._fingerprints:
                self._fingerprints[key] = compute[part]()
        return _hashes_of(trial, self._fingerprints)

    def _network_hash(self, name: str) -> str:
        return (
            callable_fingerprints.fingerprint(self.builder)
            if self.builder is not None
            else network_fingerprint(name)
        )

    def _source(self, data: DataSettings) -> DataSource:
        key = _content_key(data)
        if key not in self._sources:
            self._sources[key] = (
                from_arrays(self.arrays, data)
                if self.arrays is not None
                else open_source(data, self.data_dir)
            )
        return self._sources[key]

    def _train(self, missing: Mapping[str, PlannedTrial], store: TrialStore, stored: int) -> None:
        from bnkit.lab.study.parallel import run_trials, worker_count
        from bnkit.lab.study.preflight import check_device, check_job, distinct_arms
        from bnkit.lab.study.trial import TrialJob

        jobs = [TrialJob(key, trial, self.builder) for key, trial in missing.items()]
        trainings = [trial.settings.training for trial in missing.values()]
        for device in {training.device for training in trainings}:
            check_device(device)
        datasets = self._load(jobs)
        for job in distinct_arms(jobs):
            check_job(job, datasets[job.id])
        store.prepare()
        self._write_settings()
        steps = sum(_steps(trial, datasets[key]) for key, trial in missing.items())
        default = worker_count(trainings)
        try:
            self.progress.start(len(jobs), stored, steps)
            run_trials(
                jobs,
                datasets,
                self.root,
                workers=min(self.workers or default, len(jobs)),
                progress=self.progress,
                describe=partial(_describe, store),
            )
        finally:
            self.progress.stop()

    def _load(self, jobs: list[TrialJob]) -> dict[str, Dataset]:
        loaded: dict[str, Dataset] = {}
        found = {}
        for job in jobs:
            data = job.trial.settings.data
            key = _content_key(data)
            if key not in loaded:
                self.progress.announce(f"reading data: {_data_text(data)}")
                loaded[key] = self._source(data).load()
            check_batch_size(loaded[key], data)
            found[job.id] = loaded[key]
        return found

    def _refuse_other_study(self) -> None:
        if not (self.root / SETTINGS_FILE).is_file():
            return
        content = read_settings(self.root)
        if "fingerprints" not in content:
            raise StudyError(
                f"{self.root / SETTINGS_FILE} is a study file that no run wrote",
                required="a run writes a file of this name into its folder",
                remedy="Choose another folder with --out",
            )
        name = content.get("study", {}).get("name")
        if name != self.settings.study.name:
            raise StudyError(
                f"{self.root} holds results of the study {name!r}",
                required=f"a folder of its own for {self.settings.study.name!r}",
                remedy="Choose another folder with --out",
            )

    def _write_settings(self) -> None:
        content = {**self.settings.to_dict(), "fingerprints": dict(self._fingerprints)}
        write_settings(self.root, content)


def rejudge(root: Path) -> None:
    """Judge a study's folder again from the trials that are stored in it; nothing is trained.

    A folder that no run wrote is judged from its trials as they lie, which a note then says.

    Raises:
        StoreError: the folder holds no study, or none of its trials is stored.
    """
    content = read_settings(root)
    command = str(read_results(root).get("command", ""))
    is_stored = bool(TrialStore(root).ids())
    hashes = content.pop("fingerprints", None)
    if hashes is None and is_stored:
        judge_as_stored(root, content, command)
        return
    hashes = hashes or {}
    settings = validate(content, str(root / "study.toml"))
    planned = {trial_id(trial, _hashes_of(trial, hashes)): trial for trial in plan(settings)}
    if not any(TrialStore(root).has(key) for key in planned):
        if is_stored:
            judge_as_stored(root, content, command)
            return
        raise StoreError(
            f"{root} holds no finished trial of its study",
            required="at least one finished trial",
            remedy=f"Run `bnkit study run {root / 'study.toml'} --out {root}`",
        )
    judge_and_write(root, settings, planned, command)


def judge_and_write(
    root: Path, settings: StudySettings, planned: Mapping[str, PlannedTrial], command: str
) -> None:
    """Judge the claims over the stored trials of the plan and write the results file."""
    store = TrialStore(root)
    # The grid point is this study's: the trial may have been trained by one with another grid.
    records = [
        replace(store.load(key), grid=dict(trial.grid))
        for key, trial in planned.items()
        if store.has(key)
    ]
    metrics = store.metrics(record.id for record in records)
    notes = list(dict.fromkeys(note for record in records for note in record.notes))
    if len(records) < len(planned):
        notes.append(f"Partial: {len(records)} of {len(planned)} trials have finished so far.")
    write_results(
        root,
        settings=settings.to_dict(),
        trials=records,
        verdicts=judge(settings.claims, records, metrics),
        summaries=summarize(records, metrics),
        notes=notes,
        command=command,
    )


def network_fingerprint(name: str) -> str:
    """Return the hash of the files that a network is defined in, ours or the user's."""
    if name.startswith(f"{GIVEN}:"):
        raise StudyError(
            f"network.name = {name!r} stands for a function handed over in Python",
            required="a run without it must name a network",
            remedy="Pass it again as network= of bnkit.lab.run, or name file.py:attribute",
        )
    if name not in NETWORKS and not is_target(name):
        raise unknown_network(name)
    return target_fingerprint(name)


def _fingerprint_keys(trial: PlannedTrial) -> dict[str, str]:
    """Return part → the name under which its hash stands in the resolved study file."""
    data, training = trial.settings.data, trial.settings.training
    keys = {
        "data": f"data {data.name} {data.path or ''}".strip(),
        "network": f"network {trial.settings.network.name}",
    }
    if training.loss != "cross-entropy":
        keys["loss"] = f"loss {training.loss}"
    return keys


def _hashes_of(trial: PlannedTrial, hashes: Mapping[str, str]) -> dict[str, str]:
    return {part: hashes.get(key, "") for part, key in _fingerprint_keys(trial).items()}


def _data_text(data: DataSettings) -> str:
    return f"{data.name} {data.path}" if data.path else data.name


def _content_key(data: DataSettings) -> str:
    return data.model_dump_json(exclude={"batch_size", "drop_last"})


def _steps(trial: PlannedTrial, dataset: Dataset) -> int:
    data = trial.settings.data
    return trial.settings.training.total_steps(
        len(dataset.train_labels), data.batch_size, data.drop_last
    )


def _describe(store: TrialStore, record: TrialRecord) -> str:
    point = "".join(f", {key} = {value}" for key, value in record.grid.items())
    return f"{record.arm}{point}, seed {record.seed}: {_outcome(store, record)}"


def _outcome(store: TrialStore, record: TrialRecord) -> str:
    took = f"in {format_seconds(record.seconds)}"
    if record.diverged_step is not None:
        return f"diverged at step {record.diverged_step}, recorded as such, {took}"
    accuracies = store.metrics([record.id]).filter(metric="test accuracy")["value"]
    return f"test accuracy {accuracies[-1]:.3f} {took}"
