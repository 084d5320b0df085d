from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from torch import nn

from bnkit.errors import StudyError
from bnkit.lab.study.callable_fingerprints import fingerprint


def build(width: int = 3) -> nn.Module:
    return nn.Linear(width, 2)


def closure(width: int) -> Callable[[], nn.Module]:
    return lambda: nn.Linear(width, 2)


def local_class(width: int) -> type[nn.Module]:
    class Local(nn.Linear):
        def __init__(self) -> None:
            super().__init__(width, 2)

    return Local


class Builder:
    def __init__(self, width: int) -> None:
        self.width = width

    def __call__(self) -> nn.Module:
        return build(self.width)

    def method(self) -> nn.Module:
        return self()


VARIANTS: dict[str, Callable[[int], Callable[..., nn.Module]]] = {
    "closure": closure,
    "partial": lambda width: partial(build, width),
    "local class": local_class,
    "instance": Builder,
    "method": lambda width: Builder(width).method,
    "default": lambda width: lambda given=width: build(given),
}


@pytest.mark.parametrize("kind", VARIANTS)
def test_what_a_builder_carries_counts(kind: str) -> None:
    make = VARIANTS[kind]
    assert fingerprint(make(8)) == fingerprint(make(8))
    assert fingerprint(make(8)) != fingerprint(make(16))


def test_what_cannot_be_sent_to_another_process_is_refused() -> None:
    lock = threading.Lock()
    with pytest.raises(StudyError, match=r"cannot be pickled .*processes of their own"):
        fingerprint(lambda: lock)


SCRIPT = """
from torch import nn
from bnkit.lab.study.callable_fingerprints import fingerprint

class Net(nn.Module):
    kinds = {"a", "b", "c"}
    def __init__(self):
        super().__init__()
        self.known = "k" in {"q", "k", "z"}

def make(width, names=frozenset({"x", "y", "z"})):
    class Inner(nn.Module):
        def forward(self, x):
            return x * width if "x" in names else x
    return Inner

print(fingerprint(Net), fingerprint(make(3)), fingerprint(lambda: make(4)))
"""


@pytest.mark.parametrize("as_file", [True, False])
def test_every_process_gets_the_same_hash(tmp_path: Path, as_file: bool) -> None:
    """From a script, and from code without a file, as in a notebook."""
    code = textwrap.dedent(SCRIPT)
    (tmp_path / "script.py").write_text(code)
    command = [sys.executable, *([str(tmp_path / "script.py")] if as_file else ["-c", code])]
    printed = {
        subprocess.run(
            command,
            env={**os.environ, "PYTHONHASHSEED": str(seed)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in range(3)
    }
    assert len(printed) == 1
    assert len(set(printed.pop().split())) == 3
