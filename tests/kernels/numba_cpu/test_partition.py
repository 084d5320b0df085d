"""How the work is divided: everything once, and no cache line twice."""

from __future__ import annotations

import itertools

from hypothesis import assume, given, settings
from hypothesis import strategies as st

from bnkit.kernels.numba_cpu.partition import (
    Partition,
    Sizes,
    next_task,
    pieces,
    short_rows,
    whole_channels,
)
from bnkit.kernels.numba_cpu.problem import CACHE_LINE, CHANNELS_LAST, CONTIGUOUS, MOST_COLUMNS

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


few_positions = st.builds(
    Sizes,
    n=st.integers(8, 300),
    c=st.integers(4, 32).map(lambda c: 32 * c),
    s=st.integers(2, 60).map(lambda s: 4 * s + 1) | st.integers(2, 600),
    layout=st.just(CONTIGUOUS),
    value_bytes=st.sampled_from([2, 4, 8]),
)


@few
@given(few_positions, st.integers(1, 8))
def test_short_rows_make_whole_lines_together(given_sizes: Sizes, threads: int) -> None:
    partition = short_rows(given_sizes, threads)
    assume(partition is not None)
    assert partition is not None
    n, c, s, _, value_bytes = given_sizes
    assert covered(partition, given_sizes) == n * c * s
    assert (partition.parts, partition.n, partition.s) == (1, n, s)
    assert partition.c * s * value_bytes % CACHE_LINE == 0
    assert c % partition.c == 0
    assert partition.c * s <= MOST_COLUMNS


def test_where_rows_are_read_as_one() -> None:
    assert short_rows(Sizes(32, 2048, 49, CONTIGUOUS, 4), 2) == (32, 16, 49, 128, 1, 2)
    # Whole lines already, too long, too few, channels that leave a rest, or too few for threads.
    for sizes in (
        Sizes(32, 2048, 64, CONTIGUOUS, 4),
        Sizes(32, 2048, 529, CONTIGUOUS, 4),
        Sizes(7, 2048, 49, CONTIGUOUS, 4),
        Sizes(32, 2040, 49, CONTIGUOUS, 4),
        Sizes(320, 112, 49, CONTIGUOUS, 4),
        Sizes(32 * 49, 2048, 1, CHANNELS_LAST, 4),
        Sizes(0, 2048, 49, CONTIGUOUS, 4),
        Sizes(32, 2048, 0, CONTIGUOUS, 4),
    ):
        assert short_rows(sizes, 2) is None, sizes


def test_as_much_of_the_next_task_is_asked_for_as_the_cache_holds() -> None:
    sizes = Sizes(32, 128, 784, CONTIGUOUS, 4)
    partition = whole_channels(sizes, 2)
    assert partition is not None
    assert partition.c == 1
    image = 128 * 784
    assert next_task(sizes, partition, 2**20) == (784, 32 * image)
    # 0.45 of 100,000 bytes are 14 rows of 3,136.
    assert next_task(sizes, partition, 100_000) == (784, 14 * image)
    assert next_task(sizes, partition, 1_000)[1] == 0
    alone = Sizes(8, 16, 64, CONTIGUOUS, 4)
    assert next_task(alone, Partition(8, 16, 64, 1, 1, 1), 2**20)[1] == 0


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
