"""The in-memory transport: the contract, and scripted crashes."""

from __future__ import annotations

import pytest
from contract import RECORDS, TransportContract, World, read, unit_of

from service.errors import SinkUnavailableError, SourceGoneError
from service.transport.memory import (
    ABORT_POLL,
    ABORT_PUBLISH,
    ABORT_PUBLISHED,
    SINK_DOWN,
    Abort,
    MemoryLog,
    MemoryTransport,
)


class TestContract(TransportContract):
    """The contract over a log in memory."""

    @pytest.fixture
    def world(self) -> World:
        """A log with the records of the contract."""
        log = MemoryLog({"0": RECORDS})

        def crash(_: object) -> None:
            log.owner = None

        return World(lambda: MemoryTransport(log), crash, lambda: log.forecasts("0"))


@pytest.mark.parametrize(("kind", "published"), [(ABORT_POLL, [0, 1]), (ABORT_PUBLISH, []), (ABORT_PUBLISHED, [0, 1])])
def test_abort(kind, published):
    """The process dies once, at the scripted place; the unit is published or not, as scripted."""
    log = MemoryLog({"0": [b"0", b"1", kind, b"2"]})
    first = MemoryTransport(log)
    first.start()
    with pytest.raises(Abort):
        read(first, limit=2)
    assert [position for unit in log.units for position in range(unit.position, unit.next_position)] == published
    second = MemoryTransport(log)
    second.start()
    read(second, limit=2)
    assert second.finished()
    assert len(set(log.forecasts("0"))) == len(log.forecasts("0")) == 3


def test_abort_ends_a_batch():
    """A batch ends before a scripted crash of the next poll."""
    log = MemoryLog({"0": [b"0", ABORT_POLL, b"1"]})
    transport = MemoryTransport(log)
    transport.start()
    records = transport.poll(10, 0.0)
    assert records is not None
    assert list(records.values) == [b"0"]


def test_sink_down():
    """An unavailable sink stores nothing, and accepts the unit later."""
    log = MemoryLog({"0": [b"0", SINK_DOWN]})
    transport = MemoryTransport(log)
    transport.start()
    records = transport.poll(10, 0.0)
    assert records is not None
    with pytest.raises(SinkUnavailableError):
        transport.publish(unit_of(records))
    assert log.units == []
    transport.publish(unit_of(records))
    assert transport.finished()


def test_partitions_take_turns():
    """No partition starves another."""
    transport = MemoryTransport(MemoryLog({"a": [b"0"] * 4, "b": [b"0"] * 4}))
    transport.start()
    polled = [records.partition for _ in range(4) if (records := transport.poll(2, 0.0))]
    assert sorted(polled) == ["a", "a", "b", "b"]
    assert polled[:2] != ["a", "a"]


def test_retention():
    """Records that the log no longer holds cannot be replayed."""
    transport = MemoryTransport(MemoryLog({"0": [b"0"] * 4}, earliest={"0": 2}))
    transport.start()
    with pytest.raises(SourceGoneError):
        list(transport.replay("0", 1, 4, 10))
