"""The champion that instances share through the models topic: the last record of the topic is the one in force."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from model_shelves import Shelf

from service.kafka import models
from service.kafka.models import CHAMPION_KEY, ModelsTopic

NAMES = [letter * 64 for letter in "abc"]
CHAMPIONS = st.sampled_from(NAMES)
# Another instance or this one adopts a model, or the topic is read so many records before its end.
STEPS = st.lists(
    st.tuples(st.sampled_from(["own", "other"]), CHAMPIONS) | st.tuples(st.just("read"), st.integers(0, 3))
)


class Topic:
    """The models topic in memory, as its reader shows it.

    Attributes:
        values: its champions, oldest first.
        hidden: number of the newest records that brokers do not show yet, although their transactions are committed.
    """

    def __init__(self) -> None:
        self.values: list[str] = []
        self.hidden = 0

    def earliest(self, source):
        """Returns 0."""
        return 0

    def end(self, source):
        """Returns the end of all records."""
        return len(self.values)

    def committed_end(self, source):
        """Returns the end of the records that are shown."""
        return max(0, len(self.values) - self.hidden)

    def read(self, source, start, end, limit):
        """Yields the records of [start, end)."""
        yield [SimpleNamespace(key=CHAMPION_KEY, value=value.encode()) for value in self.values[start:end]]


@pytest.fixture(autouse=True, scope="module")
def _read_at_every_call():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(models, "_CHECK_SECONDS", 0.0)
        yield


@given(STEPS)
def test_the_last_record_is_in_force(steps):
    """A champion that was replaced by a later record never comes back, however late the brokers show the records.

    The champion of another instance is taken over where it is behind the last own one in the topic.
    """
    shelf, log = Shelf(), Topic()
    topic = ModelsTopic(shelf, "models")
    topic.read(log)
    own, read = -1, 0  # index of the last own record; end of what was read
    for kind, what in steps:
        if kind == "read":
            log.hidden = what
            topic.read_new(log)
            read = max(read, log.committed_end(None))
            if own >= 0:  # what others wrote behind it may wait for the records that are not shown yet
                later = {log.values[own], log.values[max(own, read - 1)]}
                assert shelf.champion("") in later, "an earlier record was taken for a later one"
            elif read:
                assert shelf.champion("") == log.values[read - 1]
            continue
        if kind == "own":  # the engine adopts its champion, in a transaction with the records of the topic
            shelf.promote(what, "")
            messages = [message for message in topic.messages(what) if message.key == CHAMPION_KEY]
            topic.written(messages)
            own = len(log.values) if messages else own
            log.values += [message.value.decode() for message in messages]
        else:
            log.values.append(what)
    topic.read(log)
    if log.values:
        assert shelf.champion("") == log.values[-1]
