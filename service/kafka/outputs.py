"""Finds out how far a partition was answered, from the newest records of the topics of forecasts and rejects back."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any, Final

import msgspec
from kafka.structs import TopicPartition

from service.config.kafka import KafkaConfig
from service.errors import SourceGoneError
from service.kafka.history import History
from service.kafka.records import Origin, reject_source

_WINDOW: Final = 10_000  # offsets that are read at a time


class _Source(msgspec.Struct):
    partition: str
    position: int
    run: int = 1


class _Forecast(msgspec.Struct):
    source: _Source


_decode: Final[Any] = msgspec.json.Decoder(_Forecast | list[_Forecast]).decode


def newest_output(
    history: History, settings: KafkaConfig, counts: Mapping[str, int], source: Origin, run: int, least: int | None
) -> int | None:
    """The greatest offset that a run has answered, as far as the end of the topics of outputs shows it.

    Where no answer at or behind `least` is found there, everything that the topics hold is looked through for one. That
    takes its time; it happens only where somebody else has set an offset.

    Args:
        history: reads.
        settings, counts: the topics, and how many partitions each has.
        source, run: whose outputs.
        least: offset from which on outputs count; None: any, and the ends of the topics are enough.

    Returns:
        The offset, or None where none was found.
    """
    places = [
        TopicPartition(topic, at) for topic in (settings.forecasts, settings.rejects) for at in range(counts[topic])
    ]
    windows = [_windows(history, place) for place in places]
    found = [_newest(next(window, []), settings, source, run) for window in windows]
    newest = max((one for one in found if one is not None), default=None)
    if least is None or (newest is not None and newest >= least):
        return newest
    for window in windows:
        for records in window:
            before = _newest(records, settings, source, run)
            if before is not None and before >= least:
                return before
    return newest


def _windows(history: History, place: TopicPartition) -> Iterator[list[Any]]:
    """All records of a partition, the newest first, in pieces."""
    start, end = history.bounds(place)
    while end > start:
        lower = max(start, end - _WINDOW)
        with contextlib.suppress(SourceGoneError):  # retention was faster
            yield history.records(place, lower, end)
        end = lower


def _newest(records: list[Any], settings: KafkaConfig, source: Origin, run: int) -> int | None:
    """The greatest offset of a partition that these records answer."""
    positions = [
        position
        for record in records
        for partition, position, its_run in _sources(record, settings)
        if (partition, its_run) == (str(source), run)
    ]
    return max(positions, default=None)


def _sources(record: Any, settings: KafkaConfig) -> Iterator[tuple[str, int, int]]:
    if record.topic == settings.rejects and (rejected := reject_source(record.headers)):
        yield rejected
        return
    try:
        found = _decode(record.value or b"")
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return  # not one of ours
    for one in found if isinstance(found, list) else [found]:
        yield one.source.partition, one.source.position, one.source.run
