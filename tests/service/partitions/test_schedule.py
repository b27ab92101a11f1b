"""The schedule of trainings, which does not depend on how the stream is split into batches."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

import service.partitions.schedule
from service.config.retrain import RetrainConfig
from service.partitions.schedule import Progress, Schedule


def due_counts(schedule: Schedule, times: NDArray[np.int64], sizes: list[int]) -> list[int]:
    """Returns the numbers of events at which trainings fall due, over batches of repeated sizes."""
    progress, found, at, turn = Progress(), [], 0, 0
    while at < len(times):
        end = min(len(times), at + sizes[turn % len(sizes)])
        turn += 1
        while at < end:
            after = schedule.due(progress, times[at:end])
            stop = end if after is None else at + after
            schedule.advance(progress, times[at:stop], due=after is not None)
            progress = Progress.from_dict(progress.to_dict())  # as in a snapshot
            if progress.is_due:
                found.append(progress.events)
            at = stop
    return found


MINUTES = np.arange(100, dtype=np.int64) * 60_000


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        (Schedule(), []),
        (Schedule(every_events=30), [30, 60, 90]),
        (Schedule(every_events=30, first_after_events=10), [10, 40, 70, 100]),
        (Schedule(first_after_events=10), [10]),
        (Schedule(every_ms=20 * 60_000), [21, 41, 61, 81]),
        (Schedule(every_events=50, every_ms=40 * 60_000), [41, 50, 81, 100]),
        (Schedule(half=30), [10, 20, 30, 60, 90]),
        (Schedule(half=10), [10, 20, 30, 40, 50, 60, 70, 80, 90, 100]),
        (Schedule(half=1000), [10, 20, 40, 80]),
    ],
)
def test_due(schedule: Schedule, expected: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    """Trainings fall due by events, by event time or by both, the first one perhaps earlier; or as the stream grows."""
    monkeypatch.setattr(service.partitions.schedule, "FIRST_TRAINING", 10)
    assert due_counts(schedule, MINUTES, [100]) == expected


def test_partitions_take_turns() -> None:
    """Over several partitions with equal shares a training falls due as often as over one."""
    counts = [due_counts(Schedule(every_events=40, index=i, count=4), MINUTES, [100]) for i in range(4)]
    assert counts == [[10, 50, 90], [20, 60, 100], [30, 70], [40, 80]]
    times = [due_counts(Schedule(every_ms=20 * 60_000, index=i, count=2), MINUTES, [100]) for i in range(2)]
    assert times == [[21, 61], [41, 81]]


@pytest.mark.parametrize("count", [1, 2, 3, 7, 40])
@pytest.mark.parametrize("half", [10, 25, 31, 80, 500])
def test_partitions_of_a_growing_stream_take_turns(count: int, half: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """With equal shares, the trainings of all partitions fall due at the numbers of events of a single one."""
    monkeypatch.setattr(service.partitions.schedule, "FIRST_TRAINING", 10)
    times = np.arange(800, dtype=np.int64)
    alone = due_counts(Schedule(half=half), times, [800])
    each = [due_counts(Schedule(half=half, index=i, count=count), times[: 800 // count], [9]) for i in range(count)]
    assert sorted(at for found in each for at in found) == [
        -(-at // count) for at in alone if -(-at // count) <= 800 // count
    ]


def test_settings() -> None:
    """Trainings follow the growth of the stream unless the configuration has another trigger, or no history is kept."""

    def schedule(history_events: int = 10_000, **settings: object) -> Schedule:
        return Schedule.of(RetrainConfig.model_validate(settings), history_events, 0, 1)

    assert schedule().half == 5000
    assert schedule(1000).half == 2000
    assert schedule(0) == Schedule()
    assert schedule(every_events=0) == Schedule()
    assert schedule(every_events="600") == Schedule(600)
    assert schedule(first_after_events=5) == Schedule(0, 5)
    assert schedule(every_time="1d") == Schedule(0, 0, 86_400_000)


def test_time_only_goes_on() -> None:
    """Late events neither advance a training nor make one fall due again."""
    times = np.array([0, 61, 5, 61, 62, 130, 60, 125, 190], np.int64) * 1000
    assert due_counts(Schedule(every_ms=60_000), times, [9]) == [2, 6, 9]


@given(
    st.lists(st.integers(-5_000, 10_000), min_size=1, max_size=60),
    st.lists(st.integers(1, 9), min_size=1, max_size=6),
    st.integers(0, 20),
    st.integers(0, 20),
    st.integers(0, 9_000),
    st.integers(0, 40),
)
def test_batches_do_not_matter(
    steps: list[int], sizes: list[int], every: int, first: int, every_ms: int, half: int
) -> None:
    """Any stream in any batches, with a snapshot after each, has the trainings of a single batch."""
    times = np.cumsum(np.array(steps, np.int64))
    schedule = Schedule(every, first, every_ms, half=half)
    assert due_counts(schedule, times, sizes) == due_counts(schedule, times, [len(times)])
