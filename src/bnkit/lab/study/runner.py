"""A study from settings to results: what is missing is trained, then everything is judged."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
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
    TrialRecord,
    TrialStore,
    read_findings,
    read_settings,
    write_results,
    write_settings,
)
from bnkit.lab.study import callable_fingerprints
from bnkit.lab.study.claims import judge, summarize
from bnkit.lab.study.fingerprints import target_fingerprint, trial_id
from bnkit.lab.study.progress import Progress, Silent, format_seconds
from bnkit.lab.study.spec import PlannedTrial, StudySettings, plan, validate

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
        command: what repeats the run.
        workers: processes; None divides the cores.
        progress: told how far the run is.
    """

    settings: StudySettings
    root: Path
    builder: Callable[..., Any] | None = None
    arrays: Any = None
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
        trials = plan(self.settings)
        ids = [trial_id(trial, self.fingerprints(trial)) for trial in trials]
        store = TrialStore(self.root)
        missing = [pair for pair in zip(ids, trials, strict=True) if not store.has(pair[0])]
        if missing:
            self._train(missing, store, len(ids) - len(missing))
        self._write_settings()
        write_findings(self.root, self.settings, ids, self.command)

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
            if self.builder
            else network_fingerprint(name)
        )

    def _source(self, data: DataSettings) -> DataSource:
        key = _content_key(data)
        if key not in self._sources:
            given = self.arrays is not None
            self._sources[key] = from_arrays(self.arrays, data) if given else open_source(data)
        return self._sources[key]

    def _train(
        self, missing: list[tuple[str, PlannedTrial]], store: TrialStore, stored: int
    ) -> None:
        from bnkit.lab.study.parallel import run_trials, worker_count
        from bnkit.lab.study.preflight import check_device, check_job, distinct_arms
        from bnkit.lab.study.trial import TrialJob

        jobs = [TrialJob(key, trial, self.builder) for key, trial in missing]
        training = missing[0][1].settings.training
        for device in {trial.settings.training.device for _, trial in missing}:
            check_device(device)
        datasets = self._load(jobs)
        for job in distinct_arms(jobs):
            check_job(job, datasets[job.id])
        store.prepare()
        self._write_settings()
        steps = sum(_steps(trial, datasets[key]) for key, trial in missing)
        default = worker_count(training.threads, training.device, len(jobs))
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
        try:
            name = read_settings(self.root).get("study", {}).get("name")
        except StoreError:
            return
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

    Raises:
        StoreError: the folder holds no study, or none of its trials is stored.
    """
    content = read_settings(root)
    hashes = content.pop("fingerprints", {})
    settings = validate(content, str(root / "study.toml"))
    ids = [trial_id(trial, _hashes_of(trial, hashes)) for trial in plan(settings)]
    if not any(TrialStore(root).has(key) for key in ids):
        raise StoreError(
            f"{root} holds no finished trial of its study",
            required="at least one finished trial",
            remedy=f"Run `bnkit study run {root / 'study.toml'} --out {root}`",
        )
    write_findings(root, settings, ids, str(read_findings(root).get("command", "")))


def write_findings(root: Path, settings: StudySettings, ids: list[str], command: str) -> None:
    """Judge the claims over the stored trials and write the results file."""
    store = TrialStore(root)
    stored = [key for key in ids if store.has(key)]
    records = [store.load(key) for key in stored]
    metrics = store.metrics(stored)
    notes = list(dict.fromkeys(note for record in records for note in record.notes))
    if len(stored) < len(ids):
        notes.append(f"Partial results: {len(stored)} of {len(ids)} trials have finished so far.")
    write_results(
        root,
        trial_ids=stored,
        verdicts=judge(settings.claims, records, metrics),
        summaries=summarize(records, metrics),
        notes=notes,
        command=command,
    )


def network_fingerprint(name: str) -> str:
    """Return the hash of the file that a network is defined in, ours or the user's."""
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
