"""The contract of every transport: a suite that a test module of a transport inherits.

    class TestMine(TransportContract):
        @pytest.fixture
        def world(self): ...      # a World whose source holds RECORDS

`World.transport()` is called again after a crash; the new transport starts from the durable state.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import pytest

from service.errors import SourceGoneError, TransportBusyError
from service.ports import Adoption, Encoded, Records, Reject, TimeMark, Transport, Unit

RECORDS = [b'{"series":"s%d","timestamp":%d,"value":%d}' % (i % 3, i, i) for i in range(25)]


@dataclass
class World:
    """The parts that survive a transport.

    Attributes:
        transport: makes a new transport on the same source and sink.
        crash: ends a transport as a kill does: no flush, locks released.
        forecasts: everything published so far, in order.
    """

    transport: Callable[[], Transport]
    crash: Callable[[Transport], None]
    forecasts: Callable[[], list[bytes]]


def unit_of(records: Records, **more: object) -> Unit:
    """Returns a unit with one made-up forecast per record."""
    forecasts = [
        b'{"series":"s","quantiles":[[1.5]],"source":{"position":%d}}' % position for position in records.positions
    ]
    position = records.positions[0] if records.positions else records.next_position
    return Unit(
        records.partition,
        position,
        records.next_position,
        ["s"] * len(forecasts),
        forecasts,
        **more,  # type: ignore[arg-type]
    )


def read(transport: Transport, limit: int = 7, stop_after: int = 1000, *, publish: bool = True) -> list[bytes]:
    """Polls and publishes up to `stop_after` batches, half of each staged before; returns the values polled.

    Without `publish` all of a batch is staged, and nothing more.
    """
    values: list[bytes] = []
    for _ in range(stop_after):
        if transport.finished():
            break
        records = transport.poll(limit, 0.0)
        if records is None:
            break
        values += records.values
        unit = unit_of(records)
        staged = len(unit.series) // 2 if publish else len(unit.series)
        transport.stage(unit.partition, Encoded(unit.series[:staged], unit.forecasts[:staged], unit.positions[:staged]))
        if publish:
            transport.publish(unit)
    return values


def replayed(transport: Transport, partition: str, start: int, end: int, limit: int) -> Sequence[tuple[int, bytes]]:
    """Returns position and bytes of all records in [start, end), by replay."""
    batches = list(transport.replay(partition, start, end, limit))
    assert all(len(batch) <= limit for batch in batches)
    return [(p, v) for batch in batches for p, v in zip(batch.positions, batch.values, strict=True)]


class TransportContract:
    """The guarantees of `service.ports.Transport`."""

    def test_everything_once_in_order(self, world: World):
        """Every record is read once, in order, and its forecast is stored."""
        transport = world.transport()
        transport.start()
        assert read(transport) == RECORDS
        assert transport.finished()
        assert set(transport.lag().values()) == {0}
        transport.close()
        assert len(world.forecasts()) == len(RECORDS)

    @pytest.mark.parametrize("lost", [False, True])
    def test_crashes_anywhere(self, world: World, lost: bool):
        """After every crash reading continues at the committed position: no record is missing or read twice.

        One life after the other ends after no batch, one, two, three, and the last record; `lost`: after the next batch
        is staged, too.
        """
        done = list[bytes]()
        for limit, batches in ((2, 0), (2, 1), (2, 2), (2, 3), (7, 1), (3, 1000)):
            transport = world.transport()
            transport.start()
            done += read(transport, limit, stop_after=batches)
            if lost:
                read(transport, stop_after=1, publish=False)
            world.crash(transport)
            assert done == RECORDS[: len(done)]
        assert done == RECORDS
        transport = world.transport()
        transport.start()
        assert read(transport) == []
        transport.close()
        assert len(set(world.forecasts())) == len(world.forecasts()) == len(RECORDS)

    def test_held_partitions_are_not_read(self, world: World):
        """A paused partition is neither polled nor finished; a resumed one is read from its committed position."""
        transport = world.transport()
        transport.start()
        (partition,) = transport.partitions()
        assert partition in transport.all_partitions()
        transport.pause([partition])
        if hasattr(transport, "patience"):
            transport.patience = 0.5
        assert transport.poll(5, 0.0) is None
        assert not transport.finished()
        transport.pause([])
        if hasattr(transport, "patience"):
            transport.patience = 30.0
        assert read(transport) == RECORDS
        transport.close()

    def test_nothing_committed(self, world: World):
        """Before the first unit the committed position is None."""
        transport = world.transport()
        transport.start()
        (partition,) = transport.partitions()
        assert transport.committed(partition) is None
        assert transport.adoptions(partition) == []
        assert not transport.finished()
        transport.close()

    def test_commit_with_adoption_and_reject(self, world: World):
        """Position and adoption are stored over a restart, with a reject in the batch."""
        transport = world.transport()
        transport.start()
        (partition,) = transport.partitions()
        records = transport.poll(5, 0.0)
        assert records is not None
        first = records.positions[0]
        reject = Reject(first, b"\xff", "undecodable", "got \xff", b"k", (("h", b"\xff"),))
        adoption = Adoption(first, "f" * 64)
        transport.publish(unit_of(records, rejects=[reject], adoption=adoption))
        world.crash(transport)
        again = world.transport()
        again.start()
        assert again.committed(partition) == records.next_position
        assert again.adoptions(partition) == [adoption]
        again.close()

    def test_time_marks(self, world: World):
        """Several time marks behind the same record are stored over a restart, each with its forecasts."""
        transport = world.transport()
        transport.start()
        (partition,) = transport.partitions()
        records = transport.poll(5, 0.0)
        assert records is not None
        transport.publish(unit_of(records))
        before, at = len(world.forecasts()), records.next_position
        marks = [TimeMark(at, 1_700_000_000_000), TimeMark(at, 1_700_000_060_000)]
        for number, mark in enumerate(marks):
            texts = [b'{"series":"cpu","mark":%d}' % number]
            transport.publish(Unit(partition, at, at, ["cpu"], texts, positions=[at], mark=mark))
        world.crash(transport)
        again = world.transport()
        again.start()
        assert again.committed(partition) == at
        assert again.marks(partition, at) == marks
        assert len(world.forecasts()) == before + 2
        again.close()

    def test_released_time_marks(self, world: World):
        """Marks before a released position are deleted with the next unit; a replay that lacks them is refused."""
        transport = world.transport()
        transport.start()
        marks = list[TimeMark]()
        for number in range(3):
            records = transport.poll(5, 0.0)
            assert records is not None
            transport.publish(unit_of(records))
            partition, at = records.partition, records.next_position
            marks.append(TimeMark(at, 1_700_000_000_000 + number))
            transport.publish(Unit(partition, at, at, [], [], mark=marks[-1]))
        first, second, _ = (mark.position for mark in marks)
        assert transport.marks(partition, 0) == marks
        transport.release(partition, second)
        records = transport.poll(5, 0.0)
        assert records is not None
        transport.publish(unit_of(records))
        for _ in range(2):
            assert transport.marks(partition, second) == transport.marks(partition, first + 1) == marks[1:]
            with pytest.raises(SourceGoneError, match=f"time marks before {first + 1}, which were deleted"):
                transport.marks(partition, first)
            world.crash(transport)
            transport = world.transport()
            transport.start()
        transport.close()

    @pytest.mark.parametrize("limit", [1, 4, 1000])
    def test_replay(self, world: World, limit: int):
        """A replay yields the same records at the same positions, for any limit and range."""
        transport = world.transport()
        transport.start()
        (partition,) = transport.partitions()
        seen: list[tuple[int, bytes]] = []
        while (records := transport.poll(6, 0.0)) is not None and len(seen) < 18:
            seen += zip(records.positions, records.values, strict=True)
            transport.publish(unit_of(records))
            end = records.next_position
        committed = transport.committed(partition)
        assert committed == end
        assert replayed(transport, partition, transport.earliest(partition), end, limit) == seen
        assert replayed(transport, partition, seen[5][0], seen[9][0], limit) == seen[5:9]
        assert replayed(transport, partition, end, end, limit) == []
        transport.close()

    def test_exclusive(self, world: World):
        """A second transport on the same destination is refused until the first is closed."""
        first, second = world.transport(), world.transport()
        first.start()
        with pytest.raises(TransportBusyError):
            second.start()
        first.close()
        second.start()
        second.close()

    def test_order_of_units(self, world: World):
        """A unit that starts before the committed position is refused and changes nothing."""
        transport = world.transport()
        transport.start()
        records = transport.poll(5, 0.0)
        assert records is not None
        transport.publish(unit_of(records))
        before = world.forecasts()
        with pytest.raises(ValueError, match="committed"):
            transport.publish(unit_of(records))
        assert world.forecasts() == before
        transport.close()

    def test_close_twice(self, world: World):
        """Closing is harmless before a start and after a close."""
        transport = world.transport()
        transport.close()
        transport.start()
        transport.close()
        transport.close()
