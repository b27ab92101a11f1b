"""Writes forecasts and silences as Protobuf, in the wire format of a schema registry."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from google.protobuf import descriptor_pool, message_factory
from google.protobuf.message import Message

from forecaster import Forecasts, Silence
from service.messages.decode import Decoded
from service.messages.digits import exact_in_float32
from service.messages.encode import UNKNOWN, SourceOf, Writer, calendar_targets, revisions, suppressions
from service.messages.frames import frame_head
from service.schemas.forecast_schemas import SCHEMAS
from service.schemas.proto_files import file_descriptors
from service.schemas.quantile_rows import rows_of, varint

_FORECAST_INDEXES, _SILENCE_INDEXES = b"\0", b"\2\2"  # of the message in the file, see `service.schemas.protobuf`
_NUMBERS: Final = {"quantiles": 7, "quantiles_double": 8}  # of the fields in the schema
_DELIMITED: Final = 2  # the wire type of messages and of packed numbers
_DELIMITED_FIRST: Final = bytes([1 << 3 | _DELIMITED])  # of the field 1


class ProtobufFormat:
    """`service.messages.encode.OutputFormat` of Protobuf.

    Args:
        number: id of the schema.

    Raises:
        SchemaError: the compiler is not installed.
        SchemaRegistryError: the compiler did not run; try again later.
    """

    def __init__(self, number: int) -> None:
        self._head, pool = frame_head(number), descriptor_pool.DescriptorPool()
        for file in file_descriptors(SCHEMAS["protobuf"]):
            pool.Add(file)
        self._forecast, self._silence = (
            message_factory.GetMessageClass(pool.FindMessageTypeByName(f"forecaster.{name}"))
            for name in ("Forecast", "Silence")
        )

    def writer(
        self, decoded: Decoded, forecasts: Forecasts, levels: Sequence[float], model: str, source: SourceOf
    ) -> Writer:
        """See `OutputFormat`."""
        origins, steps = forecasts.origin_ms.tolist(), calendar_targets(forecasts)
        intervals, anomalies = forecasts.interval_ms.tolist(), forecasts.anomaly.tolist()
        flagged, revised = forecasts.flagged.astype(np.bool_).tolist(), revisions(forecasts)
        suppressed = suppressions(forecasts)
        fits, quantiles = exact_in_float32(forecasts.quantiles), forecasts.quantiles
        narrow_rows = rows_of(quantiles, "<f4", _row_begin("quantiles", 4 * len(levels)))
        row = _row_begin("quantiles_double", 8 * len(levels))
        shared = self._forecast(levels=list(levels), model=model)
        head, kind = self._head + _FORECAST_INDEXES, self._forecast

        def write(at: int, status: str) -> bytes:
            record: Any = kind()
            record.CopyFrom(shared)
            record.series, record.interval_ms = decoded.series[at], intervals[at]
            record.flagged, record.status = flagged[at], status
            record.origin.FromMilliseconds(origins[at])
            if at in steps:
                record.interval, targets = steps[at]
                for target in targets.tolist():
                    record.targets.add().FromMilliseconds(target)
            rows = b""
            if status != UNKNOWN:
                rows = narrow_rows[at] if fits[at] else rows_of(quantiles[at : at + 1], "<f8", row)[0]
            if anomalies[at] == anomalies[at]:
                record.anomaly = anomalies[at]
            if at in revised:
                record.revision = 1
            if at in suppressed:
                record.suppressed = suppressed[at]
            _name_source(record.source, source(at))
            return head + _serialised(record) + rows  # the fields of a message may be in any order

        return Writer(write)

    def silence(self, silence: Silence, source: Mapping[str, object]) -> bytes:
        """See `OutputFormat`."""
        record: Any = self._silence(series=silence.series, kind="silence")
        record.last.FromMilliseconds(silence.last_ms)
        record.expected.FromMilliseconds(silence.expected_ms)
        record.noticed.FromMilliseconds(silence.noticed_ms)
        _name_source(record.source, source)
        return self._head + _SILENCE_INDEXES + _serialised(record)


def _row_begin(name: str, size: int) -> bytes:
    """Returns the beginning of a row: its field and bytes, then the field of its values, which are packed."""
    values = _DELIMITED_FIRST + varint(size)
    return varint(_NUMBERS[name] << 3 | _DELIMITED) + varint(len(values) + size) + values


def _name_source(record: Any, source: Mapping[str, Any]) -> None:
    record.partition, record.position, record.run = source["partition"], source["position"], source.get("run", 1)
    if "event" in source:
        record.event = source["event"]
    if "window" in source:
        record.window.start.FromMilliseconds(source["window"]["start"])
        record.window.end.FromMilliseconds(source["window"]["end"])
    if "mark" in source:
        record.mark.FromMilliseconds(source["mark"])


def _serialised(record: Message) -> bytes:
    found: bytes = record.SerializeToString(deterministic=True)
    return found
