"""Hashes of all that determines a trial: settings, data, and the code of network and loss."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

from bnkit.inspection.target import find_source
from bnkit.lab.networks.names import NETWORKS
from bnkit.lab.study.spec import PlannedTrial


def trial_id(trial: PlannedTrial, fingerprints: Mapping[str, str]) -> str:
    """Return the trial's id: 16 hexadecimal digits that change with anything that changes it.

    Paths do not enter it, contents do: a data set or network file may be moved.

    Args:
        trial: arm, seed and resolved settings.
        fingerprints: of its `data`, `network` and `loss`.
    """
    settings = trial.settings.model_dump(mode="json")
    settings["data"].pop("path")
    settings["network"]["name"] = settings["network"]["name"].rpartition(":")[2]
    settings["training"]["loss"] = settings["training"]["loss"].rpartition(":")[2]
    content = {
        "arm": trial.arm,
        "seed": trial.seed,
        "settings": settings,
        "fingerprints": dict(sorted(fingerprints.items())),
    }
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()[:16]


def target_fingerprint(name: str) -> str:
    """Return a hash of the file that a target, or a network of bnkit, is defined in.

    Files that it imports are not followed.
    """
    target = NETWORKS.get(name, name)
    return hashlib.sha256(find_source(target, Path.cwd()).read_bytes()).hexdigest()
