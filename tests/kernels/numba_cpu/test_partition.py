"""How the work is divided: everything once, and no cache line twice."""

from __future__ import annotations

import itertools

from hypothesis import given, settings
from hypothesis import strategies as st

from bnkit.kernels.numba_cpu.partition import Partition, Sizes, pieces, whole_channels
from bnkit.kernels.numba_cpu.problem import CHANNELS_LAST, CONTIGUOUS

few = settings(max_examples=200, deadline=None, derandomize=True)
sizes = st.builds(
    Sizes,
    n=st.integers(1, 300),
    c=st.integers(1, 300),
    s=st.integers(1, 5000),
    layout=st.just(CONTIGUOUS),
    value_bytes=st.sampled_from([2, 4, 8]),
)


def covered(partition: Partition, given_sizes: Sizes) -> int:
    """Return how many values the tasks cover, none of them twice by construction."""
    ranges = [
        [min(step, size - start) for start in range(0, size, step)]
        for size, step in zip(given_sizes[:3], partition[:3], strict=True)
    ]
    assert partition.tasks == len(ranges[0]) * len(ranges[1]) * len(ranges[2])
    assert partition.parts == len(ranges[0]) * len(ranges[2])
    return sum(n * c * s for n, c, s in itertools.product(*ranges))


@few
@given(sizes, st.integers(1, 16))
def test_tasks_cover_everything_once(given_sizes: Sizes, threads: int) -> None:
    values = given_sizes.n * given_sizes.c * given_sizes.s
    whole = whole_channels(given_sizes, threads)
    for partition in filter(None, (whole, pieces(given_sizes, threads))):
        assert covered(partition, given_sizes) == values
        assert 1 <= partition.threads <= threads
    if whole is not None:
        assert whole.parts == 1


def test_small_work_is_one_task() -> None:
    small = Sizes(8, 16, 64, CONTIGUOUS, 4)
    assert whole_channels(small, 4) == pieces(small, 4) == Partition(8, 16, 64, 1, 1, 1)


def test_short_rows_are_joined_to_whole_cache_lines() -> None:
    # 49 float32 values are 196 bytes: 16 rows are 49 lines.
    partition = whole_channels(Sizes(32, 2048, 49, CONTIGUOUS, 4), 2)
    assert partition is not None
    assert partition.c == 16


def test_channels_last_and_few_channels_are_divided_along_the_batch() -> None:
    assert whole_channels(Sizes(100_000, 64, 1, CHANNELS_LAST, 4), 2) is None
    few_channels = Sizes(64, 3, 4096, CONTIGUOUS, 4)
    assert whole_channels(few_channels, 2) is None
    assert pieces(few_channels, 2).parts == 8
    one_image = pieces(Sizes(1, 3, 100_000, CONTIGUOUS, 4), 2)
    assert one_image.parts > 1
    assert one_image.s % 64 == 0
