"""What results were computed with, and on: versions and machine."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

import torch

from bnkit import __version__
from bnkit._machine import processor


def versions() -> dict[str, str]:
    """Return the versions that results depend on."""
    return {
        "bnkit": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": version("numpy"),
    }


def machine(device: str) -> Mapping[str, Any]:
    """Return what a trial ran on."""
    return {
        "system": platform.platform(),
        "processor": processor(),
        "cores": os.cpu_count(),
        "accelerator": torch.cuda.get_device_name(device) if device.startswith("cuda") else None,
    }
