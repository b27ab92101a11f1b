"""Cuts a decoded batch into pieces, which become units of output: where a training becomes due or a test is evaluated.

The cuts that decide depend on the events only, so that a replay cuts where the original run did.
"""

from __future__ import annotations

import dataclasses
from collections import deque
from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from service.aggregate.aggregator import Aggregator
from service.messages.decode import Decoded
from service.partitions.grouping import share_of
from service.partitions.partition import Partition, Piece
from service.partitions.schedule import Schedule
from service.ports import Records, TimeMark

PIECE_EVENTS: Final = 16_384
"""Number of events after which a piece ends: with the usual horizon their forecasts have some ten megabytes."""


def marked_piece(partition: Partition, mark: TimeMark) -> Piece:
    """Returns the values of the windows that a time mark at the position of a partition closes.

    Raises:
        ValueError: the partition has no windows.
    """
    if partition.aggregator is None:
        msg = f"partition {partition.name!r} has no windows, expected some for a time mark"
        raise ValueError(msg)
    cut, closed = _Cut(partition), partition.aggregator.mark(mark)
    if len(closed):
        cut.ends(closed.series, closed.start_ms)
    nothing = Decoded([], np.zeros(0, np.int64), np.zeros(0), None, [], [], [], 0)
    events = closed.events(nothing, [mark.position])
    return _with_shares(partition, Piece(events, mark.position, mark.position, any(cut.due), mark), cut.due)


def pieces(partition: Partition, records: Records, decoded: Decoded) -> Iterator[Piece]:
    """Cuts a batch after every event at which a training becomes due, or shadow model and drift are checked.

    A record with several events stays whole: the cut is after its last event. A piece has about `PIECE_EVENTS` events
    at most, because each of them becomes a forecast of the unit. The cuts that decide depend on the events only, not on
    the batches. The caller calls `partition.advance` with every piece before requesting the next one.

    With windows, the events of a piece are the values of those that its records close, and the raw events of a piece
    are added to their windows when it is requested: the open windows then stand at its end, like the rows once it is
    observed, and a later piece that is never requested has not changed them.
    """
    if partition.overlap is not None:
        decoded = partition.overlap.admitted(records, decoded)
    if partition.aggregator is not None:
        yield from _pieces_of_windows(partition, partition.aggregator, records, decoded)
        return
    numbers = None if partition.grouping is None else partition.grouping.of(decoded.series)
    event, record, total = 0, 0, len(records)
    while True:
        after, due = _next_cut(partition, decoded.timestamp_ms[event:], None if numbers is None else numbers[event:])
        if min(after or len(decoded), len(decoded) - event) > PIECE_EVENTS:
            after = PIECE_EVENTS
        end = len(decoded) if after is None else decoded.end_of_record(event + after)
        last = total if after is None else decoded.index[end - 1] + 1
        next_position = records.next_position if last == total else records.positions[last]
        position = records.positions[record] if record < total else partition.position
        part = _part(decoded, event, end, position, next_position)
        if partition.overlap is not None:
            partition.overlap.pass_by(records, part.series, part.timestamp_ms)
        reached = [at is not None and event + at <= end for at in due]
        piece = Piece(part, position, next_position, any(reached))
        yield piece if numbers is None else _with_shares(partition, piece, reached, numbers[event:end])
        event, record = end, last
        if record >= total:
            return


def _next_cut(
    partition: Partition, timestamp_ms: NDArray[np.int64], numbers: NDArray[np.int64] | None
) -> tuple[int | None, list[int | None]]:
    """Returns the number of next events after which a piece ends because of a training, trial or drift.

    Args:
        partition: with its groups.
        timestamp_ms: times of the next events. numbers: their groups; None without groups.

    Returns:
        That number, None where it does not end within them, and for each group that after which a training becomes due.
    """
    if numbers is None:
        after, due = _cut_of(partition, timestamp_ms)
        return after, [due]
    cuts, dues = list[int](), list[int | None]()
    for number, group in enumerate(partition.groups):
        at = np.flatnonzero(numbers == number)
        after, due = _cut_of(group, timestamp_ms[at])
        cuts += [] if after is None else [int(at[after - 1]) + 1]
        dues.append(None if due is None else int(at[due - 1]) + 1)
    return min(cuts, default=None), dues


def _cut_of(group: Partition, timestamp_ms: NDArray[np.int64]) -> tuple[int | None, int | None]:
    """Returns the number of next events of a group after which a piece ends, and after which a training is due."""
    due = group.schedule.due(group.progress, timestamp_ms)
    check = group.rules.check_events - group.progress.events % group.rules.check_events
    checks = group.is_checked and check <= len(timestamp_ms)
    after = min(due or check, check) if checks else due
    if group.seeks_groups and (check := group.until_group_check) <= len(timestamp_ms):
        after = min(after or check, check)
    return after, due


def _with_shares(
    partition: Partition, piece: Piece, due: Sequence[bool], numbers: NDArray[np.int64] | None = None
) -> Piece:
    """Returns a piece with the shares of the groups; without groups, the piece.

    Args:
        partition, piece: of the partition.
        due: of each group, whether a training becomes due.
        numbers: the group of every event; None: by its series.
    """
    grouping, decoded = partition.grouping, piece.decoded
    if grouping is None:
        return piece
    numbers = grouping.of(decoded.series) if numbers is None else numbers
    forgotten = grouping.of([name for _, name in decoded.forget])
    shares = [
        Piece(
            share_of(decoded, numbers, number, forgotten),
            piece.position, piece.next_position, due[number], piece.mark, places=np.flatnonzero(numbers == number),
        )
        for number in range(len(partition.groups))
    ]  # fmt: skip
    return dataclasses.replace(piece, shares=tuple(shares))


def _pieces_of_windows(partition: Partition, aggregator: Aggregator, records: Records, raw: Decoded) -> Iterator[Piece]:
    """Cuts a batch like `pieces`, after records that close windows; counts are those of the values of windows."""
    tombstones, event, record, total = deque(raw.tombstones), 0, 0, len(records)
    while True:
        cut, begin = _Cut(partition), event
        closed, event = aggregator.take(raw, event, tombstones, cut.ends)
        if partition.overlap is not None:
            partition.overlap.pass_by(records, raw.series[begin:event], raw.timestamp_ms[begin:event])
        last = raw.index[event - 1] + 1 if cut.reached else total
        next_position = records.next_position if last == total else records.positions[last]
        position = records.positions[record] if record < total else partition.position
        events = closed.events(_part(raw, 0, 0, position, next_position), records.positions)
        yield _with_shares(partition, Piece(events, position, next_position, any(cut.due)), cut.due)
        record = last
        if record >= total:
            return


class _Cut:
    """Decides after which record a piece of windows ends.

    Args:
        partition: its schedule, progress and rules decide, and those of its groups.

    Attributes:
        due: of each group, whether a training becomes due there.
        reached: whether the piece ends there, before the end of the batch.
    """

    def __init__(self, partition: Partition) -> None:
        self._partition, self._count, self.reached = partition, 0, False
        self._progress = [dataclasses.replace(group.progress) for group in partition.groups]
        self._until_check = [
            group.rules.check_events - group.progress.events % group.rules.check_events if group.is_checked else None
            for group in partition.groups
        ]
        self.due = [False] * len(self._progress)

    def ends(self, series: Sequence[str], start_ms: Sequence[int]) -> bool:
        """Observes the windows that a record closed, by their series and begins; returns whether the piece ends."""
        times, grouping = np.array(start_ms, np.int64), self._partition.grouping
        numbers = None if grouping is None else grouping.of(series)
        for number, group in enumerate(self._partition.groups):
            own = times if numbers is None else times[numbers == number]
            self.reached |= self._observe(number, group.schedule, own)
        self._count += len(times)
        self.reached |= self._count >= PIECE_EVENTS
        return self.reached

    def _observe(self, number: int, schedule: Schedule, times: NDArray[np.int64]) -> bool:
        """Observes the windows of one group; returns whether the piece ends because of it."""
        progress, check = self._progress[number], self._until_check[number]
        self.due[number] = schedule.due(progress, times) is not None
        schedule.advance(progress, times, due=False)
        if check is not None:
            self._until_check[number] = check = check - len(times)
        return self.due[number] or (check is not None and check <= 0)


def _part(decoded: Decoded, start: int, end: int, position: int, next_position: int) -> Decoded:
    others = [one.position for ones in (decoded.rejects, decoded.controls, decoded.tombstones) for one in ones]
    others += [*(at for at, _ in decoded.filtered), *decoded.duplicates]
    if start == 0 and end == len(decoded) and all(at < next_position for at in others):
        return decoded
    span = slice(start, end)
    value = decoded.value[span]
    return dataclasses.replace(
        decoded,
        series=decoded.series[span],
        timestamp_ms=decoded.timestamp_ms[span],
        value=value,
        covariates=None if decoded.covariates is None else decoded.covariates[span],
        future=None if decoded.future is None else decoded.future[span],
        positions=decoded.positions[span],
        index=decoded.index[span],
        within=None if decoded.within is None else decoded.within[span],
        rejects=[reject for reject in decoded.rejects if position <= reject.position < next_position],
        controls=[control for control in decoded.controls if position <= control.position < next_position],
        tombstones=[
            dataclasses.replace(tombstone, event=tombstone.event - start)
            for tombstone in decoded.tombstones
            if position <= tombstone.position < next_position
        ],
        missing=int((value != value).sum()),  # noqa: PLR0124 - nan differs from itself
        filtered=[one for one in decoded.filtered if position <= one[0] < next_position],
        duplicates=[at for at in decoded.duplicates if position <= at < next_position],
    )
