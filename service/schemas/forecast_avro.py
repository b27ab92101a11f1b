"""Writes forecasts and silences as Avro, in the wire format of a schema registry."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from io import BytesIO
from typing import Any, Final

import numpy as np
from fastavro import parse_schema, schemaless_writer

from forecaster import Forecasts, Silence
from service.messages.decode import Decoded
from service.messages.digits import exact_in_float32
from service.messages.encode import UNKNOWN, SourceOf, Writer, calendar_targets, revisions, suppressions
from service.messages.frames import frame_head
from service.schemas.forecast_schemas import FORECAST, SILENCE
from service.schemas.quantile_rows import rows_of, varint

_TYPES: Final[dict[str, Any]] = {}
parse_schema(FORECAST, _TYPES)
_SILENCE: Final = parse_schema(SILENCE, _TYPES)  # has the source of a forecast
_FIELDS: Final[list[Any]] = FORECAST["fields"]
_AT: Final = [field["name"] for field in _FIELDS].index("levels")


def _part(name: str, fields: Sequence[Any]) -> Any:
    """Returns a record of some of the fields: the encoding of a record is that of its fields, one after the other."""
    plain = [{**field, "type": "long"} if field["name"] == "origin" else field for field in fields]  # the same bytes
    return parse_schema({"type": "record", "name": name, "namespace": "forecaster", "fields": plain}, {})


# The two fields with quantiles are written by `quantile_rows`, between the others; the levels once for a batch.
_BEFORE: Final = _part("Before", _FIELDS[:_AT])
_LEVELS: Final = _part("Levels", _FIELDS[_AT : _AT + 1])
_AFTER: Final = _part("After", _FIELDS[_AT + 3 :])
# The branches of the union; written here, because the library would check every branch against every record.
_FORECAST_BRANCH, _SILENCE_BRANCH = b"\0", b"\2"
_NOTHING: Final[list[Any]] = []
_EMPTY: Final = b"\0"  # an array without elements, and the end of any other


class AvroFormat:
    """`service.messages.encode.OutputFormat` of Avro.

    Args:
        number: id of the schema.
    """

    def __init__(self, number: int) -> None:
        self._head = frame_head(number)

    def writer(
        self, decoded: Decoded, forecasts: Forecasts, levels: Sequence[float], model: str, source: SourceOf
    ) -> Writer:
        """See `OutputFormat`."""
        origins, steps = forecasts.origin_ms.tolist(), calendar_targets(forecasts)
        intervals, anomalies = forecasts.interval_ms.tolist(), forecasts.anomaly.tolist()
        flagged, revised = forecasts.flagged.astype(np.bool_).tolist(), revisions(forecasts)
        suppressed = suppressions(forecasts)
        fits, quantiles = exact_in_float32(forecasts.quantiles), forecasts.quantiles
        begin, row = varint(2 * quantiles.shape[1]), varint(2 * quantiles.shape[2])  # a count is a signed integer
        narrow_rows = rows_of(quantiles, "<f4", row, _EMPTY)
        shared, head = _written(_LEVELS, {"levels": list(levels)}), self._head + _FORECAST_BRANCH

        def write(at: int, status: str) -> bytes:
            if status == UNKNOWN:
                both = _EMPTY + _EMPTY
            elif fits[at]:
                both = begin + narrow_rows[at] + _EMPTY + _EMPTY
            else:
                (rows,) = rows_of(quantiles[at : at + 1], "<f8", row, _EMPTY)
                both = _EMPTY + begin + rows + _EMPTY
            name, targets = steps.get(at, (None, None))
            before = {
                "series": decoded.series[at],
                "origin": origins[at],
                "interval_ms": intervals[at],
                "interval": name,
                "targets": _NOTHING if targets is None else targets.tolist(),
            }
            after = {
                "anomaly": None if anomalies[at] != anomalies[at] else anomalies[at],
                "flagged": flagged[at],
                "model": model,
                "source": source(at),
                "status": status,
                "revision": 1 if at in revised else None,
                "suppressed": suppressed.get(at),
            }
            return head + _written(_BEFORE, before) + shared + both + _written(_AFTER, after)

        return Writer(write)

    def silence(self, silence: Silence, source: Mapping[str, object]) -> bytes:
        """See `OutputFormat`."""
        record = {
            "series": silence.series,
            "kind": "silence",
            "last": silence.last_ms,
            "expected": silence.expected_ms,
            "noticed": silence.noticed_ms,
            "source": source,
        }
        return self._head + _SILENCE_BRANCH + _written(_SILENCE, record)


def _written(schema: Any, record: Mapping[str, object]) -> bytes:
    stream = BytesIO()
    schemaless_writer(stream, schema, record)
    return stream.getvalue()
