"""The kernel among threads, forks, and folders that cannot be written to."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numba
import pytest
import torch

from bnkit.functional import batch_norm
from bnkit.kernels.numba_cpu import compilation, team
from bnkit.kernels.numba_cpu.problem import CONTIGUOUS, Configuration

STEP = """
import os, sys, torch, bnkit
def step(n=16):
    torch.manual_seed(n)
    x = torch.randn(n, 64, 20, 20, requires_grad=True)
    layer = bnkit.BatchNormAct2d(64)
    with bnkit.use_kernel("numba"):
        y = layer(x)
    y.square().sum().backward()
    expected = torch.nn.BatchNorm2d(64)(x).relu()
    torch.testing.assert_close(y, expected, rtol=1e-4, atol=1e-5)
"""


def run(program: str, **environment: str) -> str:
    """Run a program in a process of its own, and return what it printed."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", STEP + textwrap.dedent(program)],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_numba_is_imported_with_the_first_program_and_not_before() -> None:
    printed = run("""
        layer = bnkit.BatchNorm2d(3)
        layer(torch.randn(2, 3, 4, 4))
        print("numba" in sys.modules, bnkit.kernel_for(torch.zeros(1024, 1024)).name)
        step()
        print("numba" in sys.modules)
    """)
    assert printed.split() == ["False", "numba", "True"]


def test_a_forked_child_works_on_one_thread() -> None:
    """torch's own operators would hang there on two threads; so the child runs none of them."""
    printed = run("""
        import warnings
        warnings.simplefilter("ignore", DeprecationWarning)
        from bnkit.kernels import kernel_named
        from bnkit.kernels.numba_cpu import team
        torch.set_num_threads(2)
        x, numba = torch.randn(16, 64, 20, 20), kernel_named("numba")
        before = numba.statistics(x)
        child = os.fork()
        if child == 0:
            after = numba.statistics(x)
            same = after.mean.tolist() == before.mean.tolist()
            os._exit(0 if team.threads() == 1 and same else 1)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
        assert team.threads() == 2
    """)
    assert printed.split() == ["0"]


@pytest.mark.parametrize("kind", ["a file", pytest.param("damaged", marks=pytest.mark.slow)])
def test_a_cache_that_cannot_be_used_costs_time_and_nothing_else(tmp_path: Path, kind: str) -> None:
    folder = tmp_path / "cache"
    if kind == "a file":
        folder.write_text("not a folder")
        run("step()", NUMBA_CACHE_DIR=str(folder))
        return
    run("step()", NUMBA_CACHE_DIR=str(folder))
    kept = [path for path in folder.rglob("*") if path.is_file()]
    assert kept
    for path in kept:
        path.write_bytes(b"damaged")
    run("step()", NUMBA_CACHE_DIR=str(folder))


def test_a_failing_cache_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []
    cfunc = numba.cfunc

    def without_room(*arguments: object, **options: object) -> object:
        asked.append(options.get("cache"))
        if options.get("cache"):
            raise OSError(28, "No space left on device")
        return cfunc(*arguments, **options)

    monkeypatch.setattr(numba, "cfunc", without_room)
    monkeypatch.setattr(compilation, "_addresses", {})
    configuration = Configuration("float32", "float32", CONTIGUOUS)
    assert compilation.address_of(configuration) != 0
    assert asked == [True, None]
    assert compilation.address_of(configuration) != 0
    assert len(asked) == 2


def test_several_threads_at_once() -> None:
    x = torch.randn(8, 32, 24, 24)
    expected = torch.nn.functional.batch_norm(x, None, None, training=True).relu()

    def work(_: int) -> None:
        for _ in range(20):
            y = batch_norm(x, None, None, training=True, activation="relu", kernel="numba")
            torch.testing.assert_close(y, expected, rtol=1e-4, atol=1e-5)

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(work, range(6)))


def test_the_number_of_threads_is_torchs(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    def parallel(program: int, block: int, wanted: int, flags: int) -> None:
        asked.append(wanted)
        team._alone(program)(block)

    monkeypatch.setattr(team, "_parallel", lambda: parallel)
    before = torch.get_num_threads()
    x = torch.randn(16, 64, 24, 24)
    try:
        for count in (1, 2, 3):
            torch.set_num_threads(count)
            batch_norm(x, None, None, training=True, kernel="numba")
    finally:
        torch.set_num_threads(before)
    assert asked == [2, 3]


def test_a_torch_without_gnu_openmp_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    from bnkit.kernels.numba_cpu import limits

    monkeypatch.setattr(team, "_parallel", lambda: None)
    assert "GNU OpenMP" in (limits._machine_refusal(torch.float32) or "")
