from __future__ import annotations

import copy
import dataclasses
import functools
import os
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import cloudpickle
import numpy as np
import pytest
import torch
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


CARRIED: dict[str, tuple[Any, Any]] = {
    "tensor": (torch.zeros(3), torch.ones(3)),
    "tensor's shape": (torch.zeros(2, 3), torch.zeros(3, 2)),
    "tensor's dtype": (torch.zeros(3), torch.zeros(3, dtype=torch.int32)),
    "bfloat16": (torch.zeros(3, dtype=torch.bfloat16), torch.ones(3, dtype=torch.bfloat16)),
    "scalar tensor": (torch.tensor(1.0), torch.tensor(2.0)),
    "strided tensor": (torch.arange(6.0).view(2, 3).t(), torch.arange(6.0).view(3, 2)),
    "sparse tensor": (torch.eye(2).to_sparse(), (2 * torch.eye(2)).to_sparse()),
    "state dict": ({"w": torch.zeros(3)}, {"w": torch.ones(3)}),
    "frozen parameter": (nn.Parameter(torch.ones(1)), nn.Parameter(torch.ones(1), False)),
    "array": (np.zeros(3), np.ones(3)),
    "array of objects": (np.array([1, "a"], object), np.array([1, "b"], object)),
    "numpy scalar": (np.float32(1), np.float32(2)),
    "dtype": (torch.float32, torch.float64),
    "torch function": (torch.relu, torch.tanh),
    "class of torch": (nn.ReLU, nn.Tanh),
    "list and tuple": ([1, 2], (1, 2)),
    "order of layers": ({"a": 1, "b": 2}, {"b": 2, "a": 1}),
    "path": (Path("a"), Path("b")),
    "range": (range(3), range(4)),
}


@pytest.mark.parametrize("kind", CARRIED)
def test_values_count_by_content(kind: str) -> None:
    one, other = CARRIED[kind]
    again = copy.deepcopy(one)
    assert fingerprint(partial(build, one)) == fingerprint(partial(build, again))
    assert fingerprint(partial(build, one)) != fingerprint(partial(build, other))


def test_a_module_counts_with_its_weights() -> None:
    one, other = nn.Linear(2, 2), nn.Linear(2, 2)
    again = copy.deepcopy(one)
    assert fingerprint(partial(build, one)) == fingerprint(partial(build, again))
    assert fingerprint(partial(build, one)) != fingerprint(partial(build, other))


def test_a_value_that_contains_itself_is_described() -> None:
    def nested(width: int) -> list[Any]:
        values: list[Any] = [width]
        values.append({"inside": values})
        return values

    assert fingerprint(partial(build, nested(3))) == fingerprint(partial(build, nested(3)))
    assert fingerprint(partial(build, nested(3))) != fingerprint(partial(build, nested(4)))


NOTEBOOK: dict[str, str] = {
    "a class it names": (
        "class Net(nn.Module):\n  def __init__(s): s.w = WIDTH\ndef build(): return Net()\n"
    ),
    "a function it names": "def width(): return WIDTH\ndef build(): return width()\n",
    "a value it names": "w = WIDTH\ndef build(): return w\n",
    "a tensor it names": "w = torch.full((2,), WIDTH)\ndef build(): return w\n",
    "a value that an inner function names": "w = WIDTH\ndef build(): return lambda: w\n",
    "tuple attribute": "class build(nn.Module):\n  widths = (WIDTH,)\n",
    "base class": "class B(nn.Module):\n  w = WIDTH\nclass build(B): pass\n",
    "property": "class build:\n  @property\n  def w(s): return WIDTH\n",
    "static method": "class build:\n  @staticmethod\n  def w(): return WIDTH\n",
    "dataclass": "@dataclasses.dataclass\nclass build:\n  w: int = WIDTH\n",
    "slots": "class C:\n  __slots__ = ('w',)\nc = C()\nc.w = WIDTH\ndef build(): return c\n",
    "functions that call each other": (
        "def other(n): return build(n - 1) if n else WIDTH\ndef build(n=3): return other(n)\n"
    ),
    "attribute of the function": "def build(): pass\nbuild.width = WIDTH\n",
    "names of arguments": "def build(w_WIDTH): pass\n",
}


def notebook(text: str, width: int) -> Callable[..., Any]:
    """Return `build` of code that has no file."""
    names = {"__name__": "__main__", "nn": nn, "torch": torch}
    names |= {"functools": functools, "dataclasses": dataclasses}
    exec(text.replace("WIDTH", str(width)), names)
    return names["build"]  # type: ignore[return-value]


@pytest.mark.parametrize("kind", NOTEBOOK)
def test_what_a_notebook_defines_counts(kind: str) -> None:
    text = NOTEBOOK[kind]
    assert fingerprint(notebook(text, 8)) == fingerprint(notebook(text, 8))
    assert fingerprint(notebook(text, 8)) != fingerprint(notebook(text, 16))


def test_a_cached_function_counts_by_what_it_wraps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pickle takes it for a mere name of the main module."""
    hashes = []
    for width in (8, 8, 16):
        build = notebook("@functools.lru_cache\ndef build(): return WIDTH\n", width)
        monkeypatch.setattr(sys.modules["__main__"], "build", build, raising=False)
        hashes.append(fingerprint(build))
    assert hashes[0] == hashes[1] != hashes[2]


def test_a_notebook_variable_that_is_not_named_does_not_count() -> None:
    text = "other = WIDTH\ndef build(): return 3\n"
    assert fingerprint(notebook(text, 8)) == fingerprint(notebook(text, 16))


class Undescribable:
    """Can be pickled, but does not tell the description how."""

    def __reduce_ex__(self, protocol: Any) -> Any:
        if sys._getframe(1).f_code.co_name == "_object":
            raise TypeError("no")
        return Undescribable, ()


def test_what_cannot_be_described_or_pickled_never_equals_anything(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    function = partial(build, Undescribable())
    assert fingerprint(function) == fingerprint(function)
    real, calls = cloudpickle.dumps, iter([True, False, True, False])

    def dumps(value: Any) -> bytes:
        if next(calls):
            return real(value)  # type: ignore[no-any-return]
        raise TypeError("no")

    monkeypatch.setattr(cloudpickle, "dumps", dumps)
    assert fingerprint(function) != fingerprint(function)


@pytest.mark.parametrize("named", ["build", "Net"])
def test_files_that_its_file_imports_count(tmp_path: Path, named: str) -> None:
    (tmp_path / "net.py").write_text(
        "from blocks import W\nclass Net:\n    width = W\ndef build():\n    return W\n"
    )
    printed = []
    for width in (4, 4, 64):
        (tmp_path / "blocks.py").write_text(f"W = {width}\n")
        code = (
            f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import net\n"
            "from bnkit.lab.study.callable_fingerprints import fingerprint\n"
            f"print(fingerprint(net.{named}), 'torch' in sys.modules)"
        )
        command = [sys.executable, "-c", code]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        printed.append(done.stdout.split())
    assert printed[0] == printed[1] != printed[2]
    assert printed[0][1] == "False"


def test_what_cannot_be_sent_to_another_process_is_refused() -> None:
    lock = threading.Lock()
    with pytest.raises(StudyError, match=r"cannot be pickled .*processes of their own"):
        fingerprint(lambda: lock)


SCRIPT = """
import dataclasses
import functools
from pathlib import Path
import numpy as np
import torch
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

class Config:
    __slots__ = ("names",)
    def __init__(self):
        self.names = {"u", "v", "w"}

config = Config()
weights = {"w": torch.arange(3.0)}
array = np.arange(3.0)

def build():
    return Net(), config, weights, array, torch.relu, {Path("a"), Path("b"), Path("c")}

@dataclasses.dataclass(frozen=True)
class Sizes:
    names: frozenset = frozenset({"l", "m", "n"})

@functools.lru_cache
def sizes():
    return Sizes()

hashes = [
    fingerprint(x)
    for x in (Net, make(3), lambda: make(4), build, Sizes, functools.partial(make, config), sizes)
]
print(*hashes)
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
        for seed in range(2)
    }
    assert len(printed) == 1
    assert len(set(printed.pop().split())) == 7
