"""The series of progress stays short and spans the whole transfer."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st
from udpxfer.io.samples import MAX_SAMPLES, Samples


@given(st.lists(st.tuples(st.floats(0, 10), st.integers(0, 1_000_000)), max_size=2_000))
def test_series_is_short_rises_and_ends_at_the_end(steps: list[tuple[float, int]]) -> None:
    now, done, samples = 100.0, 0, Samples(100.0)
    for seconds, count in steps:
        now += seconds
        done += count
        if now >= samples.due_at:
            samples.add(now, done)
    series = samples.closed(now, done)
    assert len(series) <= MAX_SAMPLES
    assert series == sorted(series)
    assert series[-1] == (round(now - 100.0, 6), done)


def test_a_long_transfer_keeps_its_beginning() -> None:
    samples = Samples(0.0)
    for turn in range(100_000):
        if turn / 100 >= samples.due_at:
            samples.add(turn / 100, turn)
    series = samples.closed(1_000.0, 100_000)
    assert series[0] == (0.0, 0)
    assert len(series) > MAX_SAMPLES // 3
    gaps = [later[0] - earlier[0] for earlier, later in itertools.pairwise(series)]
    assert max(gaps) < 1_000 / (MAX_SAMPLES // 4)
