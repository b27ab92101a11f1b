"""Converts logical types of Avro to what the mapping of fields reads: times to `Milliseconds`, decimals to floats.

The schema's logical types are renamed, so that the library calls the functions of this module and not its own, which
raise for times outside of the years 1 to 9999. All others are removed: their values remain numbers and texts.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from service.messages.timestamps import Milliseconds

_DAY_MS: Final = 86_400_000
DECIMAL: Final = "forecaster-decimal"
MAX_DECIMAL_BYTES: Final = 64  # 154 digits
_MAX_SCALE: Final = 1000
_KEPT: Final = ("name", "namespace", "symbols", "size", "scale")

FACTORS: Final = {"days": (_DAY_MS, 1), "ms": (1, 1), "us": (1, 1000), "ns": (1, 1_000_000)}
"""Factor and divisor from the units of times to milliseconds; `forecaster-<unit>` is a logical type."""
_UNITS: Final = {
    "timestamp-millis": "ms", "timestamp-micros": "us", "timestamp-nanos": "ns", "date": "days",
    "local-timestamp-millis": "ms", "local-timestamp-micros": "us", "local-timestamp-nanos": "ns",
    # Debezium's types have no logical type of Avro; Kafka Connect names them.
    "io.debezium.time.Timestamp": "ms", "io.debezium.time.MicroTimestamp": "us",
    "io.debezium.time.NanoTimestamp": "ns", "io.debezium.time.Date": "days",
}  # fmt: skip


def renamed(schema: Any) -> Any:
    """Returns a schema with the names of this module's logical types, and without what decoding does not need.

    Args:
        schema: as JSON; not modified. What is malformed remains, for the library to report.
    """
    if isinstance(schema, list):
        return [renamed(branch) for branch in schema]
    if not isinstance(schema, dict):
        return schema
    made = {name: schema[name] for name in _KEPT if name in schema}
    for name in ("type", "items", "values"):
        if name in schema:
            made[name] = renamed(schema[name])
    if isinstance(fields := schema.get("fields"), list):
        made["fields"] = [_field(field) for field in fields]
    if (logical := _logical(schema)) is not None:
        made["logicalType"] = logical
    return made


def _field(field: Any) -> Any:
    return {"name": field.get("name"), "type": renamed(field.get("type"))} if isinstance(field, dict) else field


def _logical(schema: dict[str, Any]) -> str | None:
    kind = schema.get("type")
    if kind in {"int", "long"}:
        names = (schema.get("logicalType"), schema.get("connect.name"))
        unit = next((_UNITS[name] for name in names if isinstance(name, str) and name in _UNITS), None)
        return None if unit is None else f"forecaster-{unit}"
    scale = schema.get("scale", 0)
    is_decimal = kind in {"bytes", "fixed"} and schema.get("logicalType") == "decimal"
    return DECIMAL if is_decimal and type(scale) is int and 0 <= scale <= _MAX_SCALE else None


def readers() -> dict[str, Callable[..., object]]:
    """Returns the functions for the library's table of logical types."""
    times = {f"{kind}-forecaster-{unit}": _time_reader(*FACTORS[unit]) for kind in ("int", "long") for unit in FACTORS}
    return times | {f"{kind}-forecaster-decimal": _read_decimal for kind in ("bytes", "fixed")}


def _time_reader(factor: int, divisor: int) -> Callable[..., object]:
    def read(data: int, *_: object) -> Milliseconds:
        return Milliseconds(data * factor // divisor)

    return read


def _read_decimal(data: bytes, schema: Any, *_: object) -> float:
    return decimal_of(data, schema.get("scale", 0))


def decimal_of(data: bytes, scale: int) -> float:
    """Returns the float nearest to a decimal.

    Args:
        data: the unscaled number, two's complement, the greatest byte first.
        scale: number of its digits behind the point.

    Raises:
        ValueError: it has too many digits.
    """
    if len(data) > MAX_DECIMAL_BYTES:
        msg = f"got a decimal of {len(data)} bytes, expected at most {MAX_DECIMAL_BYTES}"
        raise ValueError(msg)
    unscaled = int.from_bytes(data, "big", signed=True)
    return float(f"{unscaled}e{-scale}")  # a division would round twice
