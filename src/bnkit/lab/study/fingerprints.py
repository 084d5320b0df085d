"""Hashes of all that determines a trial: settings, data, and the code of network and loss."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

from bnkit.inspection.target_sources import content_hash, target_sources
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
    for later in ("probes", "norm_share"):  # trials stored before there were these keep their ids
        if not settings[later]:
            del settings[later]
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
    """Return a hash of the files that a target, or a network of bnkit, is defined in.

    These are its own file and what that imports from the user's files; of a network of bnkit, its
    file alone.
    """
    return content_hash(target_sources(NETWORKS.get(name, name), Path.cwd()))
