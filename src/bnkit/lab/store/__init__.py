"""Trials on disk, their schema and queries; imports no torch."""

from typing import TYPE_CHECKING

from bnkit._lazy import attach

if TYPE_CHECKING:
    from bnkit._files import write_atomically as write_atomically
    from bnkit.lab.store.schema import MetricRow as MetricRow
    from bnkit.lab.store.schema import Summary as Summary
    from bnkit.lab.store.schema import TrialRecord as TrialRecord
    from bnkit.lab.store.schema import Verdict as Verdict
    from bnkit.lab.store.study_store import REPORT_FILE as REPORT_FILE
    from bnkit.lab.store.study_store import SETTINGS_FILE as SETTINGS_FILE
    from bnkit.lab.store.study_store import StoredStudy as StoredStudy
    from bnkit.lab.store.study_store import read_results as read_results
    from bnkit.lab.store.study_store import read_settings as read_settings
    from bnkit.lab.store.study_store import read_study as read_study
    from bnkit.lab.store.study_store import write_results as write_results
    from bnkit.lab.store.study_store import write_settings as write_settings
    from bnkit.lab.store.trial_store import METRIC_SCHEMA as METRIC_SCHEMA
    from bnkit.lab.store.trial_store import TrialStore as TrialStore

__getattr__, __dir__ = attach(
    __name__,
    {
        "METRIC_SCHEMA": "bnkit.lab.store.trial_store",
        "REPORT_FILE": "bnkit.lab.store.study_store",
        "SETTINGS_FILE": "bnkit.lab.store.study_store",
        "MetricRow": "bnkit.lab.store.schema",
        "StoredStudy": "bnkit.lab.store.study_store",
        "Summary": "bnkit.lab.store.schema",
        "TrialRecord": "bnkit.lab.store.schema",
        "TrialStore": "bnkit.lab.store.trial_store",
        "Verdict": "bnkit.lab.store.schema",
        "read_results": "bnkit.lab.store.study_store",
        "read_settings": "bnkit.lab.store.study_store",
        "read_study": "bnkit.lab.store.study_store",
        "write_atomically": "bnkit._files",
        "write_results": "bnkit.lab.store.study_store",
        "write_settings": "bnkit.lab.store.study_store",
    },
)
