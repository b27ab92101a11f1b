"""Converts outputs to tables of Arrow, and these to the objects of the JSON format. Needs the extra `parquet`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from service.messages.encode import UNKNOWN, silence_object
from service.messages.exact_columns import ExactColumns, read_columns
from service.messages.prometheus_names import labels_of
from service.messages.timestamps import format_times
from service.sinks.parquet_pending import PendingUnit

TIME: Final = pa.timestamp("ms", tz="UTC")
LABELS: Final = pa.map_(pa.string(), pa.string())
_STATUS: Final = ("ok", "missing", UNKNOWN)
_WINDOW: Final = ("start", "end")

SILENCE_SCHEMA: Final = pa.schema(
    [
        ("series", pa.string()),
        ("labels", LABELS),
        ("last", TIME),
        ("expected", TIME),
        ("noticed", TIME),
        ("partition", pa.string()),
        ("position", pa.int64()),
        ("id", pa.int64()),
    ]
)


def column_of(level: float) -> str:
    """Returns the name of the column of a quantile level: q50 of 0.5, q2_5 of 0.025."""
    return "q" + f"{100 * level:.10g}".replace(".", "_")


def forecast_schema(levels: Iterable[float]) -> pa.Schema:
    """Returns the columns of forecasts with these quantile levels."""
    return pa.schema(
        [
            ("series", pa.string()),
            ("labels", LABELS),
            ("origin", TIME),
            ("status", pa.string()),
            ("interval_ms", pa.int64()),
            ("interval", pa.string()),
            ("steps", pa.list_(pa.int32())),
            ("targets", pa.list_(TIME)),
            *((column_of(level), pa.list_(pa.float64())) for level in sorted(levels)),
            ("value", pa.float64()),
            ("anomaly", pa.float64()),
            ("flagged", pa.bool_()),
            ("suppressed", pa.string()),
            ("model", pa.string()),
            ("partition", pa.string()),
            ("position", pa.int64()),
            ("event", pa.int32()),
            ("revision", pa.int32()),
            ("window_start", TIME),
            ("window_end", TIME),
            ("mark", TIME),
            ("id", pa.int64()),
        ]
    )


class Tables(NamedTuple):
    """Outputs as tables; the columns are those of `forecast_schema` and `SILENCE_SCHEMA`."""

    forecasts: pa.Table
    silences: pa.Table


def tables_of(stored: Sequence[PendingUnit], levels: Sequence[float]) -> Tables:
    """Converts stored units.

    Args:
        stored: the units.
        levels: at least all quantile levels that occur in them; each has a column.
    """
    series = [name for unit in stored for name in unit.series]
    partitions = np.array([unit.partition for unit in stored for _ in unit.series], object)
    numbers, positions, sizes = (
        np.concatenate([np.zeros(0, np.int64), *parts])
        for parts in (
            [unit.id + np.arange(len(unit.series)) for unit in stored],
            [unit.positions for unit in stored],
            [unit.sizes for unit in stored],
        )
    )
    found = read_columns(b"".join(unit.records for unit in stored), sizes)
    names, labels = _named(series)
    at, silent = pa.array(found.forecasts), pa.array(found.silences)
    columns = {
        "series": names.take(at),
        "labels": labels.take(at),
        "partition": pa.array(partitions[found.forecasts], pa.string()),
        "position": pa.array(positions[found.forecasts]),
        "id": pa.array(numbers[found.forecasts]),
        **_forecast_columns(found, levels),
    }
    silences = {
        "series": names.take(silent),
        "labels": labels.take(silent),
        **{name: _times(found.silence_heads[f"{name}_ms"]) for name in ("last", "expected", "noticed")},
        "partition": pa.array(partitions[found.silences], pa.string()),
        "position": pa.array(positions[found.silences]),
        "id": pa.array(numbers[found.silences]),
    }
    schema = forecast_schema(levels)
    return Tables(
        pa.table([columns[name] for name in schema.names], schema=schema), pa.table(silences, schema=SILENCE_SCHEMA)
    )


def _named(series: Sequence[str]) -> tuple[pa.Array, pa.Array]:
    """Returns names of series and their labels; the labels of a name are read once."""
    unique = dict.fromkeys(series)
    codes = dict(zip(unique, range(len(unique)), strict=True))
    at = pa.array([codes[name] for name in series], pa.int32())
    return pa.array(unique, pa.string()).take(at), pa.array([labels_of(name) for name in unique], LABELS).take(at)


def _times(values: NDArray[np.int64]) -> pa.Array:
    return pa.array(np.ascontiguousarray(values)).cast(TIME)


def _forecast_columns(found: ExactColumns, levels: Sequence[float]) -> dict[str, pa.Array]:
    heads, more = found.heads, found.more
    n = len(heads)
    steps, interval = heads["steps"].astype(np.int64), np.ascontiguousarray(heads["interval_ms"])
    origin = np.ascontiguousarray(heads["origin_ms"])
    code = np.where(heads["missing"] == 1, 1, np.where(steps == 0, 2, 0))
    ends = np.cumsum(steps)
    offsets = np.concatenate([[0], ends]).astype(np.int32)
    step = np.arange(len(offsets) and int(offsets[-1])) - np.repeat(ends - steps, steps) + 1
    targets = np.repeat(origin, steps) + step * np.repeat(interval, steps)
    known = interval > 0
    for at, fields in more.items():
        if "targets" in fields:
            listed = [np.datetime64(text.removesuffix("Z"), "ms").astype(np.int64) for text in fields["targets"]]
            targets[offsets[at] : offsets[at + 1]] = listed[: steps[at]]
            known[at] = True
    sources = {at: fields["source"] for at, fields in more.items() if "source" in fields}
    windows = {at: source["window"] for at, source in sources.items() if "window" in source}
    models = np.empty(n, object)
    for group in found.groups:
        models[group.at] = group.model
    none = steps == 0
    return {
        "origin": _times(origin),
        "status": pa.array(_STATUS, pa.string()).take(pa.array(code)),
        "interval_ms": pa.array(interval),
        "interval": _sparse(n, {at: fields.get("interval") for at, fields in more.items()}, pa.string()),
        "steps": _lists(offsets, pa.array(step.astype(np.int32)), none),
        "targets": _lists(offsets, _times(targets), none | ~known),
        **{column_of(level): _quantiles(found, level, offsets) for level in levels},
        "value": _numbers(heads["value"]),
        "anomaly": _numbers(heads["anomaly"]),
        "flagged": pa.array(heads["flagged"] != 0),
        "suppressed": _sparse(n, {at: fields.get("suppressed") for at, fields in more.items()}, pa.string()),
        "model": pa.array(models, pa.string()),
        "event": _sparse(n, {at: source.get("event") for at, source in sources.items()}, pa.int32()),
        "revision": pa.array([more[at].get("revision", 0) if at in more else 0 for at in range(n)], pa.int32()),
        **{
            f"window_{name}": _sparse(n, {at: _instant(window[name]) for at, window in windows.items()}, TIME)
            for name in _WINDOW
        },
        "mark": _sparse(n, {at: _instant(one["mark"]) for at, one in sources.items() if "mark" in one}, TIME),
    }


def _instant(text: str) -> np.datetime64:
    return np.datetime64(text.removesuffix("Z"), "ms")


def _sparse(n: int, values: dict[int, Any], kind: pa.DataType) -> pa.Array:
    """Returns a column of n values, most of which are null."""
    if not values:
        return pa.nulls(n, kind)
    return pa.array([values.get(at) for at in range(n)]).cast(kind)


def _numbers(values: NDArray[np.float64]) -> pa.Array:
    return pa.array(np.ascontiguousarray(values), from_pandas=True)  # nan is null


def _lists(offsets: NDArray[np.int32], values: pa.Array, none: NDArray[np.bool_]) -> pa.Array:
    """Returns lists; `none` says which are null."""
    return pa.ListArray.from_arrays(pa.array(offsets), values, mask=pa.array(none))


def _quantiles(found: ExactColumns, level: float, offsets: NDArray[np.int32]) -> pa.Array:
    """Returns the quantiles of a level, null where a forecast does not have it."""
    values, none = np.full(int(offsets[-1]), np.nan), np.ones(len(offsets) - 1, np.bool_)
    for group in found.groups:
        if level in group.levels and group.quantiles.shape[1]:
            places = offsets[group.at][:, None] + np.arange(group.quantiles.shape[1])
            values[places] = group.quantiles[:, :, group.levels.index(level)]
            none[group.at] = False
    return _lists(offsets, pa.array(values), none)


def level_columns(names: Iterable[str]) -> dict[str, float]:
    """Returns the columns of quantiles among columns, with their levels, by rising level."""
    found = {}
    for name in names:
        number = name[1:].replace("_", ".", 1)
        if name.startswith("q") and number.replace(".", "", 1).isdigit():
            found[name] = float(f"{float(number) / 100:.12g}")
    return dict(sorted(found.items(), key=lambda one: one[1]))


def forecast_objects(table: pa.Table) -> list[dict[str, Any]]:
    """Returns forecasts as the JSON format has them."""
    columns = level_columns(table.column_names)
    rows = table.cast(_in_milliseconds(table.schema)).to_pylist()
    return [_forecast_object(row, columns) for row in rows]


def _in_milliseconds(schema: pa.Schema) -> pa.Schema:
    """Returns a schema with times as numbers."""
    kinds = {TIME: pa.int64(), pa.list_(TIME): pa.list_(pa.int64())}
    return pa.schema([(field.name, kinds.get(field.type, field.type)) for field in schema])


def _iso(values: Sequence[int]) -> list[str]:
    return format_times(np.array(values, np.int64))


def _forecast_object(row: dict[str, Any], columns: dict[str, float]) -> dict[str, Any]:
    used = {name: level for name, level in columns.items() if row[name] is not None}
    source: dict[str, Any] = {"partition": row["partition"], "position": row["position"]}
    if row["event"] is not None:
        source["event"] = row["event"]
    if row["window_start"] is not None:
        source["window"] = dict(zip(_WINDOW, _iso([row["window_start"], row["window_end"]]), strict=True))
    if row["mark"] is not None:
        (source["mark"],) = _iso([row["mark"]])
    calendar = {} if row["interval"] is None else {"interval": row["interval"], "targets": _iso(row["targets"])}
    return {
        "series": row["series"],
        "origin": _iso([row["origin"]])[0],
        "interval_ms": row["interval_ms"],
        **calendar,
        "levels": list(used.values()) or list(columns.values()),
        "quantiles": [list(one) for one in zip(*(row[name] for name in used), strict=True)] if used else None,
        "anomaly": row["anomaly"],
        "flagged": row["flagged"],
        "model": row["model"],
        "source": source,
        "status": row["status"],
        **({"revision": row["revision"]} if row["revision"] else {}),
        **({"suppressed": row["suppressed"]} if row["suppressed"] else {}),
    }


def silence_objects(table: pa.Table) -> list[dict[str, Any]]:
    """Returns silences as the JSON format has them."""
    return [
        silence_object(
            row["series"],
            _iso([row["last"], row["expected"], row["noticed"]]),
            {"partition": row["partition"], "position": row["position"]},
        )
        for row in table.cast(_in_milliseconds(table.schema)).to_pylist()
    ]
