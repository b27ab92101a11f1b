"""What brokers are asked in the background, and what of the topic of adoptions is read again."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import pytest
from kafka.structs import TopicPartition

from service.config.kafka import KafkaConfig
from service.kafka.fencing import FencedBefore
from service.kafka.guard import ClientGuard
from service.kafka.history import TopicHistory
from service.kafka.oldest_offsets import OldestOffsets
from service.kafka.records import Message, Origin, mark_message
from service.kafka.watchdog import Watchdog
from service.ports import TimeMark

SETTINGS = KafkaConfig.model_validate({"bootstrap": "localhost:9", "app": "a", "topics": ["in"]})
SOURCE = TopicPartition("in", 0)


def ended(offsets: OldestOffsets) -> None:
    """Waits for the end of the present question."""
    assert offsets._thread is not None
    offsets._thread.join(30)


def test_a_slow_broker_holds_nothing_up() -> None:
    """The call returns at once, however long the answer takes; there is one question at a time, and one a minute."""
    answer, asked, now = threading.Event(), list[TopicPartition](), [100.0]

    def ask(source: TopicPartition) -> int:
        asked.append(source)
        assert answer.wait(30)
        return 7 + len(asked)

    offsets = OldestOffsets(SETTINGS, ask, lambda: now[0])
    for _ in range(3):
        assert offsets.of(SOURCE) is None
    assert offsets.of(TopicPartition("in", 1)) is None
    answer.set()
    ended(offsets)
    assert (offsets.of(SOURCE), asked) == (8, [SOURCE])
    now[0] += 60.0
    offsets.of(SOURCE)
    ended(offsets)
    assert (offsets.of(SOURCE), asked) == (9, [SOURCE] * 2)
    answer.clear()
    offsets.forget()
    assert offsets.of(SOURCE) is None
    answer.set()


def test_a_broker_that_fails() -> None:
    """An error is no answer: what was known stays, and the brokers are asked again."""
    answers: list[Callable[[], int]] = [lambda: 3, lambda: 1 // 0, lambda: 5]
    now = [0.0]
    offsets = OldestOffsets(SETTINGS, lambda _source: answers.pop(0)(), lambda: now[0])
    found = []
    for _ in range(3):
        offsets.of(SOURCE)
        ended(offsets)
        found.append(offsets.of(SOURCE))
        now[0] += 60.0
    assert found == [3, 3, 5]


class FakeReader:
    """A topic of adoptions that can be deleted and created again; it counts the records that are read."""

    def __init__(self) -> None:
        self.records: list[Message] = []
        self.identity, self.count = "one", 0

    def topic_id(self, _topic: str) -> str:
        """See `Reader`."""
        return self.identity

    def end(self, _source: TopicPartition) -> int:
        """See `Reader`."""
        return len(self.records)

    def earliest(self, _source: TopicPartition) -> int:
        """See `Reader`."""
        return 0

    def read(self, _source: TopicPartition, start: int, end: int, _limit: int) -> Iterator[list[Message]]:
        """See `Reader`."""
        self.count += end - start
        yield self.records[start:end]


def marks(*times: int) -> list[Message]:
    """Returns records of time marks."""
    return [mark_message(TimeMark(5, time), Origin("in", 0), "a.adoptions", 1, 1) for time in times]


@pytest.mark.parametrize("more", [[], [4], [4, 5]])
def test_a_topic_that_was_created_again(more: list[int]) -> None:
    """It is read from its begin, also where it has as many records as the old one, or more; else only what is new."""
    guard = ClientGuard("a", Watchdog(0), FencedBefore(), lambda _: False, lambda _: False)
    history, reader = TopicHistory(SETTINGS, guard, lambda: None), FakeReader()
    history._reader = reader  # type: ignore[assignment]  # of what `past` calls
    found = lambda: [one.time_ms for one in history.past(Origin("in", 0), 1).marks(1)]  # noqa: E731
    reader.records = marks(1, 2, 3)
    assert found() == [1, 2, 3]
    reader.records += marks(4)
    assert (found(), reader.count) == ([1, 2, 3, 4], 4)
    reader.records, reader.identity = marks(7, 8, 9, 10, *more), "two"
    assert found() == sorted([7, 8, 9, 10, *more])
