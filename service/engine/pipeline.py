"""A round: batches of several partitions, observed side by side and published one after the other.

    a batch of every partition that has one at hand is decoded, its model adopted, its observation begun;
    the loop publishes them in the order in which they were read, and for each that is published the next comes along

Compiled code releases the interpreter's lock, so observing partitions in threads takes as many cores as there are
threads; decoding, encoding and publishing stay in the loop's thread, beside them. The order of batches and the bits
that come out do not depend on the threads. No partition is observed ahead of something that may decide about it: a
round ends where a training may fall due, or trial and drift are looked at.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final, NamedTuple

from forecaster import Forecaster, Forecasts
from service.messages.decode import Decoded, Decoder
from service.partition import Partition, Piece, pieces
from service.ports import Adoption, Clock, Records, Transport

# Batches under way per thread: while the first is published, the threads observe the others.
_BATCHES_PER_WORKER: Final = 2
# A round ends after this, so that the loop looks after everything else.
_ROUND_SECONDS: Final = 0.2


@dataclass(frozen=True, slots=True)
class Observed:
    """The forecasts of a piece, and the seconds that they took."""

    forecasts: Forecasts
    seconds: float


@dataclass(slots=True)
class InFlightBatch:
    """One batch of a round.

    Attributes:
        partition, records: whose, and what was read.
        decode_seconds: that decoding took.
        piece: of the batch, the first one; it is being observed.
        later: the pieces behind it, each to be asked for when the one before it was taken.
        adoption: to be published with the first piece.
        observe: waits for its forecasts; raises what observing raised.
    """

    partition: Partition
    records: Records
    decode_seconds: float
    piece: Piece
    later: Iterator[Piece]
    adoption: Adoption | None
    observe: Callable[[], Observed]


class InFlightPiece(NamedTuple):
    """A part of a batch that becomes one unit.

    Attributes:
        piece: its events and positions.
        adoption: to be published with it.
        observe: waits for its forecasts.
        seconds: that the stages so far took, by name; further stages are added.
    """

    piece: Piece
    adoption: Adoption | None
    observe: Callable[[], Observed]
    seconds: dict[str, float]


class Pipeline:
    """Makes rounds. Used by the loop's thread alone.

    Args:
        workers: threads that observe; 1: the loop's own, when it comes to it.
        decoder: of records.
        adopt: puts the champion in force from a piece on, and says whether that is to be recorded.
        clock: times the stages.
        kill: where a test may end the process.
    """

    def __init__(
        self,
        workers: int,
        decoder: Decoder,
        adopt: Callable[[Partition, Piece], Adoption | None],
        clock: Clock,
        kill: Callable[[int], None],
    ) -> None:
        self._workers, self._decoder, self._adopt, self._clock, self._kill = workers, decoder, adopt, clock, kill
        self._pool: ThreadPoolExecutor | None = None

    def batches(
        self,
        transport: Transport,
        partitions: Mapping[str, Partition],
        records: Records,
        limit: int,
        go_on: Callable[[], bool],
    ) -> Iterator[InFlightBatch]:
        """A round that begins with these records; each batch is to be published before the next is asked for.

        Args:
            transport, partitions: where from, whose.
            records: polled.
            limit: records of a batch, at most.
            go_on: whether further batches may come along.
        """
        window: deque[InFlightBatch] = deque()
        until, several = self._clock.monotonic() + _ROUND_SECONDS, self._workers > 1

        def read() -> Records | None:
            if not several or len(window) >= _BATCHES_PER_WORKER * self._workers:
                return None
            if not go_on() or self._clock.monotonic() >= until:
                return None
            return transport.another(limit, {batch.partition.name for batch in window})

        following: Records | None = records
        while following is not None or window:
            while following is not None:
                batch = self._enter(partitions[following.partition], following)
                window.append(batch)
                several = several and not _may_decide(batch)
                following = read()
            yield window.popleft()
            following = read()

    def _enter(self, partition: Partition, records: Records) -> InFlightBatch:
        before = self._clock.monotonic()
        decoded: Decoded = self._decoder.decode(records)
        self._kill(2)
        seconds = self._clock.monotonic() - before
        cut = pieces(partition, records, decoded)
        piece = next(cut)
        adoption = self._adopt(partition, piece)
        partition.ahead = True  # from here on memory is ahead of what is committed
        return InFlightBatch(
            partition, records, seconds, piece, cut, adoption, self._begin(partition.forecaster, piece)
        )

    def _begin(self, forecaster: Forecaster, piece: Piece) -> Callable[[], Observed]:
        if self._workers == 1:
            return self._here(forecaster, piece)
        if self._pool is None:
            self._pool = ThreadPoolExecutor(self._workers, "observe")
        return self._pool.submit(self._observe, forecaster, piece.decoded).result

    def _here(self, forecaster: Forecaster, piece: Piece) -> Callable[[], Observed]:
        """Observes a piece in the caller's thread, when it is asked for."""
        return lambda: self._observe(forecaster, piece.decoded)

    def pieces(self, batch: InFlightBatch) -> Iterator[InFlightPiece]:
        """The pieces of a batch; each is to be published, and its partition moved on, before the next is asked for."""
        partition = batch.partition
        yield InFlightPiece(batch.piece, batch.adoption, batch.observe, {"decode": batch.decode_seconds})
        for piece in batch.later:
            adoption = self._adopt(partition, piece)
            partition.ahead = True
            yield InFlightPiece(piece, adoption, self._here(partition.forecaster, piece), {})

    def _observe(self, forecaster: Forecaster, decoded: Decoded) -> Observed:
        before = self._clock.monotonic()
        forecasts = forecaster.observe(decoded.batch, decoded.forget)
        return Observed(forecasts, self._clock.monotonic() - before)

    def close(self) -> None:
        """Waits for what is being observed and ends the threads; the next round has new ones."""
        if self._pool is not None:
            self._pool.shutdown()
            self._pool = None


def _may_decide(batch: InFlightBatch) -> bool:
    """Whether a training may fall due, or a trial or drift be looked at, behind a piece of the batch."""
    partition, piece = batch.partition, batch.piece
    if piece.due or piece.next_position != batch.records.next_position:
        return True
    after = partition.progress.events + len(piece.decoded)
    return partition.looks and after % partition.rules.check_events == 0
