"""Time marks in the topic of adoptions: what is deleted is gone, what is needed stays, however the topic is read."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.errors import SourceGoneError
from service.kafka.records import Message, Origin, PastRecords, adoption_message, deletion_messages, mark_message
from service.ports import Adoption, TimeMark, marks_from

SOURCES = [Origin("in", 1), Origin("in", 11), Origin("in", 1, kafka=False)]
STEPS = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3), st.booleans()), max_size=30)


def past_of(messages: list[Message], source: Origin, run: int) -> tuple[list[TimeMark], int | None]:
    """Returns the stored time marks and where the deleted ones end, as a reader of these records finds them."""
    records = PastRecords()
    for message in messages:
        records.add(message.key or b"", message.value)
    past = records.of(source)
    return past.marks(run), past.deleted.get(run)


def compacted(messages: list[Message], *, tombstones: bool) -> list[Message]:
    """Returns what compaction leaves of the records: the last one of each key, with or without the tombstones."""
    last = {message.key: at for at, message in enumerate(messages)}
    kept = [message for at, message in enumerate(messages) if last[message.key] == at]
    return [message for message in kept if tombstones or message.value is not None]


@given(STEPS, st.sampled_from(SOURCES), st.integers(1, 2), st.integers(0, 30), st.booleans())
def test_released_marks(
    steps: list[tuple[int, int, bool]], source: Origin, run: int, cut: int, tombstones: bool
) -> None:
    """Against a list: marks from a released position on are there; a read that needs earlier ones is refused.

    Readers find the same whether they read all records, or those before and those after a compaction of the first.
    """
    position, time_ms, released = 0, 0, 0
    marks, messages = list[TimeMark](), list[Message]()
    for forward, back, releases in steps:
        position, time_ms = position + forward, time_ms + 1
        marks.append(TimeMark(position, time_ms))
        messages.append(mark_message(marks[-1], source, "t", 1, run))
        messages.append(adoption_message(Adoption(position, "f" * 64), source, "t", 1, run))
        messages.append(mark_message(TimeMark(position, time_ms), Origin("in", 7), "t", 1, run))
        if releases:
            released = max(released, position - back)
            found, _ = past_of(messages, source, run)
            gone = [mark for mark in found if mark.position < released]
            messages += deletion_messages(gone, source, "t", 1, run)
    wanted = [mark for mark in marks if mark.position >= released]
    deleted = [mark.position + 1 for mark in marks if mark.position < released]

    for readable in (
        messages,
        compacted(messages[:cut], tombstones=True) + messages[cut:],
        compacted(messages, tombstones=tombstones),
    ):
        stored, before = past_of(readable, source, run)
        assert stored == wanted
        assert before == max(deleted, default=None)
        for start in range(position + 1):
            if deleted and start < max(deleted):
                with pytest.raises(SourceGoneError):
                    marks_from("in-1", stored, start, before)
            else:
                expected = [mark for mark in marks if mark.position >= start]
                assert marks_from("in-1", stored, start, before) == expected
    # Keys, which compaction keeps: needed marks, adoptions, marks of the other partition, and one for the deleted.
    assert len(compacted(messages, tombstones=False)) == len(wanted) + len({m.position for m in marks}) + len(
        marks
    ) + bool(deleted)
