"""A whole bench on tiny tensors, and what it does when something is wrong."""

from __future__ import annotations

import json

import pytest
import torch

import bnkit
from bnkit.bench import BenchSettings, Case, render_markdown, render_text, run_bench
from bnkit.bench.peers import bnkit_peer, why_not_compile

SETTINGS = BenchSettings(
    shapes=((4, 3, 5, 6),),
    operations=("bn-relu",),
    layouts=("contiguous",),
    rounds=2,
    compiles=False,
)


def small(**changes):
    return BenchSettings(**(vars(SETTINGS) | changes))


@pytest.fixture(scope="module")
def result():
    return run_bench(SETTINGS)


def test_a_bench_measures_every_peer(result):
    (row,) = result.rows
    assert row.samples.keys() == {"bnkit", "torch", "limit", "limit_reused"}
    assert row.case == Case((4, 3, 5, 6), "float32", "contiguous", "bn-relu")
    assert row.rounds == 2
    assert row.vs_torch > 0
    assert row.vs_limit > 0
    assert result.is_right
    assert all(errors["bnkit"] <= errors["allowed"] for errors in row.errors.values())


def test_the_row_names_the_kernel_that_the_tensor_gets(result):
    choice = bnkit.kernel_for(torch.zeros(4, 3, 5, 6), is_followed=True)
    assert (result.rows[0].kernel, result.rows[0].kernel_reason) == choice


def test_as_json_it_has_machine_settings_summaries_and_rows(result):
    content = json.loads(json.dumps(result.to_dict(), allow_nan=False))
    assert content["format_version"] == 1
    assert content["machine"]["versions"]["torch"] == torch.__version__
    assert content["settings"]["rounds"] == 2
    assert content["threads"] == torch.get_num_threads()
    (summary,), (row,) = content["summaries"], content["rows"]
    assert summary["vs_torch"] == pytest.approx(row["vs_torch"], rel=1e-5)
    assert summary["vs_limit"] is None  # no tensor beyond 4 MiB
    for peer in ("bnkit", "torch", "limit", "limit_reused"):
        assert 0 < row[f"{peer}_forward_ms"] < row[f"{peer}_ms"]
    assert row["kernel"] in bnkit.kernels.kernel_names()


@pytest.mark.parametrize("passes", ["both", "forward"])
def test_eval_mode_and_other_ranks(passes):
    settings = small(shapes=((1, 3), (4, 3, 7)), modes=("eval",), passes=(passes,))
    assert [row.case.mode for row in run_bench(settings).rows] == ["eval", "eval"]


def test_what_is_wrong_is_not_timed():
    def scales(case, inputs):
        peer = bnkit_peer(case, inputs)
        layer = peer.layer
        peer._call = lambda x: layer(x) * 1.0001
        return peer

    result = run_bench(SETTINGS, implementation=scales)
    (row,) = result.rows
    assert row.refusal.startswith("wrong: y is off by")
    assert "bnkit" not in row.samples
    assert len(row.samples["torch"]) == 2
    assert not result.is_right
    assert result.summaries[0].refused_shapes == ((4, 3, 5, 6),)
    text = render_text(result)
    assert "WRONG" in text
    assert "Not timed: bnkit on 4x3x5x6 bn-relu float32 contiguous training: wrong" in text


def test_threads_are_set_for_the_run_and_given_back():
    before = torch.get_num_threads()
    result = run_bench(small(threads=1))
    assert (result.threads, result.rows[0].threads) == (1, 1)
    assert torch.get_num_threads() == before


def test_ctrl_c_keeps_what_was_measured():
    calls = []

    def told_to_end(case, inputs):
        calls.append(case)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return bnkit_peer(case, inputs)

    settings = small(shapes=((4, 3, 5, 6), (2, 3, 5, 6), (1, 3, 5, 6)))
    result = run_bench(settings, implementation=told_to_end)
    assert result.was_interrupted
    assert len(result.rows) == 1
    assert "Interrupted: 2 cases not measured." in render_text(result)


def test_the_text_has_times_ratios_and_the_kernel(result):
    text = render_text(result)
    row = result.rows[0]
    assert "bn-relu, float32, contiguous, training, forward + backward" in text
    line = next(line for line in text.splitlines() if line.startswith("4x3x5x6"))
    assert f"{row.vs_torch:.2f}" in line.split()
    assert line.endswith(row.kernel)
    assert f"Kernel {row.kernel} for 1 case: {row.kernel_reason}." in text
    assert "compile ms" not in text


def test_the_page_in_markdown_has_the_same_cells(result):
    page = render_markdown(result)
    assert "### bn-relu, float32, contiguous, training, forward + backward" in page
    (line,) = (line for line in page.splitlines() if line.startswith("| 4x3x5x6"))
    assert f"{result.rows[0].vs_torch:.2f}" in line


def test_a_missing_compiler_is_said(monkeypatch):
    monkeypatch.setenv("CXX", "no-such-compiler")
    assert "no-such-compiler is not found" in why_not_compile()
    result = run_bench(small(compiles=True))
    assert "no-such-compiler" in result.rows[0].absent["compile"]
    assert "Not timed: compile on 4x3x5x6" in render_text(result)
    assert result.is_right


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_torch_compile_is_a_peer_where_there_is_a_compiler():
    if why_not_compile():
        pytest.skip(why_not_compile())
    (row,) = run_bench(small(compiles=True)).rows
    assert row.vs_compile > 0
    assert "compile ms" in render_text(run_bench(small(compiles=True)))
