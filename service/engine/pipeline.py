"""Rounds: batches of several partitions, observed concurrently and published one after the other.

    for every partition with an available batch: decode it, adopt the model, start its observation;
    the loop publishes the batches in the order in which they were read; for each published one, the next is added

Compiled code releases the interpreter lock, so observing partitions in threads uses as many cores as there are
threads; decoding, encoding and publishing run in the loop's thread meanwhile. The order of batches and the bits of the
forecasts do not depend on the threads. No partition is observed ahead of an event that may decide about it: a round
ends where a training may become due, or where trial and drift are checked.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final, NamedTuple

from forecaster import Forecasts
from service.engine.schema_lookups import SchemaLookups
from service.messages.decode import Decoded, Decodes
from service.partitions.partition import Partition, Piece
from service.partitions.pieces import marked_piece, pieces
from service.ports import Adoption, Clock, Records, TimeMark, Transport

# Batches in flight per thread: while the first is published, the threads observe the others.
_BATCHES_PER_WORKER: Final = 2
# A batch is made smaller where observing it would take longer, as with many late events; no other work waits longer.
_BATCH_SECONDS: Final = 2.0
# Part of the seconds per record that holds for the next batch, which may be one of a faster partition.
_REMEMBERED: Final = 0.75
# A round ends after this time, so that the loop can do its other work.
_ROUND_SECONDS: Final = 0.2


@dataclass(frozen=True, slots=True)
class Observed:
    """The forecasts of a piece, of each of its shares (`Partition.shares`), and the seconds to compute them."""

    forecasts: Sequence[Forecasts]
    seconds: float


@dataclass(slots=True)
class InFlightBatch:
    """One batch of a round.

    Attributes:
        partition, records: the partition and its records.
        decode_seconds: seconds of decoding.
        piece: the first piece of the batch; it is being observed.
        later: the following pieces, to be requested one by one after the previous one was published.
        adoptions: to be published with the first piece.
        observe: waits for the forecasts; raises the errors of observing.
    """

    partition: Partition
    records: Records
    decode_seconds: float
    piece: Piece
    later: Iterator[Piece]
    adoptions: Sequence[Adoption]
    observe: Callable[[], Observed]


class InFlightPiece(NamedTuple):
    """A part of a batch that becomes one unit.

    Attributes:
        piece: its events and positions.
        adoptions: to be published with it.
        observe: waits for its forecasts.
        seconds: seconds of the stages so far, by name; further stages are added.
    """

    piece: Piece
    adoptions: Sequence[Adoption]
    observe: Callable[[], Observed]
    seconds: dict[str, float]


class Pipeline:
    """Creates rounds. Used in the loop's thread only.

    Args:
        workers: threads that observe; 1: observe in the loop's thread.
        decoder: decodes records.
        adopt: puts the champions in force from a piece on, and returns the adoptions to record.
        clock: times the stages.
        kill: kill points at which a test may end the process.
        schemas: looked up before a batch is decoded.
    """

    def __init__(
        self,
        workers: int,
        decoder: Decodes,
        adopt: Callable[[Partition, Piece], Sequence[Adoption]],
        clock: Clock,
        kill: Callable[[int], None],
        schemas: SchemaLookups,
    ) -> None:
        self._workers, self._decoder, self._adopt, self._clock, self._kill = workers, decoder, adopt, clock, kill
        self._schemas = schemas
        self._pool: ThreadPoolExecutor | None = None
        self._events_per_record = 1.0  # of the last batch with records
        self._seconds_per_record = 0.0  # of observing, of the slowest of the last batches with records

    def limit(self, most: int) -> int:
        """Returns how many records to read for about `most` events, or `_BATCH_SECONDS`, after those of the last ones.

        The batches do not change the forecasts.
        """
        records = most / self._events_per_record
        if self._seconds_per_record * records > _BATCH_SECONDS:
            records = _BATCH_SECONDS / self._seconds_per_record
        return max(1, int(records))

    def batches(
        self,
        transport: Transport,
        partitions: Mapping[str, Partition],
        records: Records,
        limit: int,
        go_on: Callable[[], bool],
    ) -> Iterator[InFlightBatch]:
        """Yields the batches of a round that starts with these records; publish each before requesting the next.

        Ends early where a stop is requested while the schemas of a batch cannot be looked up.

        Args:
            transport, partitions: source of further batches, and the served partitions.
            records: polled records.
            limit: largest number of records per batch.
            go_on: whether further batches may be added.
        """
        window: deque[InFlightBatch] = deque()
        until, several = self._clock.monotonic() + _ROUND_SECONDS, self._workers > 1

        def read() -> Records | None:
            if not several or len(window) >= _BATCHES_PER_WORKER * self._workers:
                return None
            if not go_on() or self._clock.monotonic() >= until:
                return None
            return transport.poll_buffered(limit, {batch.partition.name for batch in window})

        following: Records | None = records
        while following is not None or window:
            # A batch with an unknown schema waits until those before it are published.
            while following is not None and (not window or self._schemas.known(following)):
                if not self._schemas.wait(following):
                    return
                batch = self._enter(partitions[following.partition], following)
                window.append(batch)
                several = several and not _may_decide(batch)
                following = read()
            yield window.popleft()
            if following is None:
                following = read()

    def _enter(self, partition: Partition, records: Records) -> InFlightBatch:
        before = self._clock.monotonic()
        decoded: Decoded = self._decoder.decode(records)
        self._kill(2)
        if len(records):
            self._events_per_record = max(1.0, len(decoded) / len(records))
        seconds = self._clock.monotonic() - before
        cut = pieces(partition, records, decoded)
        piece = next(cut)
        adoptions = self._adopt(partition, piece)
        partition.ahead = True  # from here on, memory is ahead of the committed position
        return InFlightBatch(partition, records, seconds, piece, cut, adoptions, self._begin(partition, piece))

    def marked(self, partition: Partition, mark: TimeMark) -> InFlightBatch:
        """Returns a batch without records, of the windows that a time mark closes, with the model in force."""
        piece = marked_piece(partition, mark)
        partition.ahead = True
        nothing = Records(partition.name, [], partition.position, [])
        return InFlightBatch(partition, nothing, 0.0, piece, iter(()), (), self._here(partition, piece))

    def _begin(self, partition: Partition, piece: Piece) -> Callable[[], Observed]:
        if self._workers == 1:
            return self._here(partition, piece)
        if self._pool is None:
            self._pool = ThreadPoolExecutor(self._workers, "observe")
        return self._pool.submit(self._observe, partition, piece).result

    def _here(self, partition: Partition, piece: Piece) -> Callable[[], Observed]:
        """Observes a piece in the caller's thread, when its forecasts are requested."""
        return lambda: self._observe(partition, piece)

    def pieces(self, batch: InFlightBatch) -> Iterator[InFlightPiece]:
        """Yields the pieces of a batch; publish each and advance its partition before requesting the next."""
        partition, spent = batch.partition, list[float]()

        def timed(observe: Callable[[], Observed]) -> Callable[[], Observed]:
            def found() -> Observed:
                observed = observe()
                spent.append(observed.seconds)
                return observed

            return found

        yield InFlightPiece(batch.piece, batch.adoptions, timed(batch.observe), {"decode": batch.decode_seconds})
        for piece in batch.later:
            adoptions = self._adopt(partition, piece)
            partition.ahead = True
            yield InFlightPiece(piece, adoptions, timed(self._here(partition, piece)), {})
        if len(batch.records):
            # Per record, of which the limit is one: with windows a record may become no value, or ten thousand.
            slowest = self._seconds_per_record * _REMEMBERED
            self._seconds_per_record = max(sum(spent) / len(batch.records), slowest)

    def _observe(self, partition: Partition, piece: Piece) -> Observed:
        before = self._clock.monotonic()
        forecasts = partition.observe(piece)
        return Observed(forecasts, self._clock.monotonic() - before)

    def close(self) -> None:
        """Waits for running observations and ends the threads; the next round creates new ones."""
        if self._pool is not None:
            self._pool.shutdown()
            self._pool = None


def _may_decide(batch: InFlightBatch) -> bool:
    """Returns whether a training may become due, or trial, drift or groups be checked, after a piece of the batch."""
    partition, piece = batch.partition, batch.piece
    if piece.due or piece.next_position != batch.records.next_position:
        return True
    return any(
        (group.is_checked and group.reaches_check(len(share.decoded)))
        or (group.seeks_groups and group.until_group_check <= len(share.decoded))
        for group, share in partition.shares(piece)
    )
