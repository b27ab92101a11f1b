"""Converts forecasts to bytes, in batches; pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final

import numpy as np
import orjson

from forecaster import Forecasts, Silence
from service.messages.decode import Decoded
from service.messages.digits import printable
from service.messages.timestamps import LATEST_MS, format_times
from service.ports import Encoded

_UNKNOWN: Final = 5
_STATUS: Final = {0: "ok", 1: "missing", _UNKNOWN: "unknown"}  # forecaster.Status of the events that get a forecast
_STAGED: Final = 512  # forecasts that are staged together, about a megabyte
_FIXED: Final[dict[str, object]] = {}  # further fields of forecasts with steps of fixed length
_MODEL_DIGITS = 12  # digits of a model's sha256 in a forecast, enough to distinguish models


def encode(
    decoded: Decoded,
    forecasts: Forecasts,
    *,
    partition: str,
    levels: Sequence[float],
    model_sha256: str,
    every: int = 1,
    stage: Callable[[Encoded], None] | None = None,
    run: int = 1,
) -> Encoded:
    """Encodes the forecasts of a batch as JSON objects, one per event with a forecast.

    Every object has `series`, `origin` (ISO-8601), `interval_ms` (and for calendar steps `interval`, e.g. "1mo", and
    `targets`, the time of every step), `levels`, `quantiles` (one row per step, one column per level), `anomaly` (null
    while unknown), `flagged`, `model` (prefix of its sha256), `source` (partition and position, the identity of the
    forecast) and `status`: "ok", "missing" if the event had no value, or "unknown" while the series has no forecast,
    and `quantiles` is null. The source of a value of a closed window has `window`, its begin and end.
    An event that reveals that a series is silent is followed by an object with `kind` = "silence": see `_silence`.

    Args:
        decoded: the events. partition: their partition.
        forecasts: the forecasts of the library, one row per event; duplicate and late events have none.
        levels: the quantile levels. model_sha256: the model that made the forecasts.
        every: only of every n-th step of a series, and of flagged events.
        stage: called with a few hundred forecasts at a time, as soon as they are encoded.
        run: of the partition; `source` has it from the second run on.

    Returns:
        Series and bytes of the forecasts, in the order of the events; each is a function of its event only.
    """
    origins = format_times(forecasts.origin_ms)
    intervals, anomalies = forecasts.interval_ms.tolist(), forecasts.anomaly.tolist()
    flagged = forecasts.flagged.astype(np.bool_).tolist()
    months, spans = _months(forecasts), _spans(decoded)
    wanted = ((forecasts.steps % every == 0) | (forecasts.flagged != 0)).tolist()
    quantiles = printable(forecasts.quantiles)
    silences = forecasts.silences[::-1]
    shared_levels, model = orjson.Fragment(orjson.dumps(list(levels))), model_sha256[:_MODEL_DIGITS]
    series, encoded, positions = list[str](), list[bytes](), list[int]()
    staged, source = 0, {"partition": partition} | ({} if run == 1 else {"run": run})
    for at, status in enumerate(forecasts.status.tolist()):
        if stage is not None and len(encoded) - staged >= _STAGED:
            stage(Encoded(series[staged:], encoded[staged:], positions[staged:]))
            staged = len(encoded)
        if status not in _STATUS:
            continue
        if wanted[at]:
            series.append(decoded.series[at])
            positions.append(decoded.positions[at])
            encoded.append(
                orjson.dumps(
                    {
                        "series": decoded.series[at],
                        "origin": origins[at],
                        "interval_ms": intervals[at],
                        **months.get(at, _FIXED),
                        "levels": shared_levels,
                        "quantiles": None if status == _UNKNOWN else quantiles[at],
                        "anomaly": anomalies[at],
                        "flagged": flagged[at],
                        "model": model,
                        "source": _source(source, decoded, spans, at),
                        "status": _STATUS[status],
                    },
                    option=orjson.OPT_SERIALIZE_NUMPY,
                )
            )
        while silences and silences[-1].event == at:  # only an event with a forecast reveals a silence
            silence = silences.pop()
            series.append(silence.series)
            positions.append(decoded.positions[at])
            encoded.append(_silence(silence, _source(source, decoded, spans, at)))
    return Encoded(series, encoded, positions)


def _months(forecasts: Forecasts) -> dict[int, dict[str, object]]:
    """Returns the fields on calendar steps of a forecast, by event, where its steps are such."""
    at = np.flatnonzero(forecasts.calendar)
    if not len(at):
        return {}
    from forecaster import calendar_name, target_times  # noqa: PLC0415 - compiled; not needed for decoding

    times = target_times(forecasts, at)
    texts = format_times(np.minimum(times, LATEST_MS).ravel())
    width = times.shape[1]
    return {
        event: {"interval": calendar_name(code), "targets": texts[i * width : (i + 1) * width]}
        for i, (event, code) in enumerate(zip(at.tolist(), forecasts.calendar[at].tolist(), strict=True))
    }


def _source(
    source: Mapping[str, object], decoded: Decoded, spans: Sequence[Mapping[str, str]] | None, at: int
) -> dict[str, object]:
    """Returns the identity of the forecast of an event."""
    found = {**source, "position": decoded.positions[at]}
    if decoded.within is not None and (number := decoded.within[at]) >= 0:
        found["event"] = number
    if spans is not None:
        found["window"] = spans[at]
    return found


def _spans(decoded: Decoded) -> list[dict[str, str]] | None:
    """Returns begin and end of the window of every event, None without windows."""
    if decoded.windows is None:
        return None
    starts, ends = format_times(decoded.timestamp_ms), format_times(decoded.windows.end_ms)
    return [{"start": start, "end": end} for start, end in zip(starts, ends, strict=True)]


def _silence(silence: Silence, source: Mapping[str, object]) -> bytes:
    last, expected, noticed = format_times(np.array([silence.last_ms, silence.expected_ms, silence.noticed_ms]))
    return orjson.dumps(
        {
            "series": silence.series,
            "kind": "silence",
            "last": last,
            "expected": expected,
            "noticed": noticed,
            "source": source,
        }
    )
