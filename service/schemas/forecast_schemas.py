"""The schemas of forecasts and silences, as they are registered, and how they are registered.

They have the fields of the JSON records. What JSON leaves out is null or empty; quantiles are of 32 bits, or, where
those of a series are not exact in 32 bits, in `quantiles_double` in place of `quantiles`. A field that is added later
needs a default, so that old and new records are read with either schema; the texts are fixed, because the registry
gives the same text the same id.
"""

from __future__ import annotations

from typing import Any, Final

import orjson

from service.schemas.schema import AVRO, PROTOBUF, RegisteredSchema

_TIME: Final = {"type": "long", "logicalType": "timestamp-millis"}
_WINDOW: Final = {
    "type": "record", "name": "Window", "fields": [{"name": "start", "type": _TIME}, {"name": "end", "type": _TIME}],
}  # fmt: skip
_SOURCE: Final = {
    "type": "record", "name": "Source", "fields": [
        {"name": "partition", "type": "string"},
        {"name": "position", "type": "long"},
        {"name": "run", "type": "int", "default": 1},
        {"name": "event", "type": ["null", "int"], "default": None},
        {"name": "window", "type": ["null", _WINDOW], "default": None},
        {"name": "mark", "type": ["null", _TIME], "default": None},
    ],
}  # fmt: skip


def _rows(kind: str) -> dict[str, Any]:
    return {"type": "array", "items": {"type": "array", "items": kind}}


FORECAST: Final[dict[str, Any]] = {
    "type": "record", "name": "Forecast", "namespace": "forecaster", "fields": [
        {"name": "series", "type": "string"},
        {"name": "origin", "type": _TIME},
        {"name": "interval_ms", "type": "long"},
        {"name": "interval", "type": ["null", "string"], "default": None},
        {"name": "targets", "type": {"type": "array", "items": _TIME}, "default": []},
        {"name": "levels", "type": {"type": "array", "items": "double"}},
        {"name": "quantiles", "type": _rows("float")},
        {"name": "quantiles_double", "type": _rows("double"), "default": []},
        {"name": "anomaly", "type": ["null", "double"], "default": None},
        {"name": "flagged", "type": "boolean"},
        {"name": "model", "type": "string"},
        {"name": "source", "type": _SOURCE},
        {"name": "status", "type": "string"},
        {"name": "revision", "type": ["null", "int"], "default": None},
        {"name": "suppressed", "type": ["null", "string"], "default": None},
    ],
}  # fmt: skip
SILENCE: Final[dict[str, Any]] = {
    "type": "record", "name": "Silence", "namespace": "forecaster", "fields": [
        {"name": "series", "type": "string"},
        {"name": "kind", "type": "string", "default": "silence"},
        {"name": "last", "type": _TIME},
        {"name": "expected", "type": _TIME},
        {"name": "noticed", "type": _TIME},
        {"name": "source", "type": "forecaster.Source"},
    ],
}  # fmt: skip
_PROTO: Final = """syntax = "proto3";
package forecaster;

import "google/protobuf/timestamp.proto";

message Forecast {
  message Row { repeated float values = 1; }
  message DoubleRow { repeated double values = 1; }
  string series = 1;
  google.protobuf.Timestamp origin = 2;
  int64 interval_ms = 3;
  optional string interval = 4;
  repeated google.protobuf.Timestamp targets = 5;
  repeated double levels = 6;
  repeated Row quantiles = 7;
  repeated DoubleRow quantiles_double = 8;
  optional double anomaly = 9;
  bool flagged = 10;
  string model = 11;
  Source source = 12;
  string status = 13;
  optional int32 revision = 14;
  optional string suppressed = 15;
}

message Silence {
  string series = 1;
  string kind = 2;
  google.protobuf.Timestamp last = 3;
  google.protobuf.Timestamp expected = 4;
  google.protobuf.Timestamp noticed = 5;
  Source source = 6;
}

message Source {
  message Window { google.protobuf.Timestamp start = 1; google.protobuf.Timestamp end = 2; }
  string partition = 1;
  int64 position = 2;
  int32 run = 3;
  optional int32 event = 4;
  optional Window window = 5;
  google.protobuf.Timestamp mark = 6;
}
"""

SCHEMAS: Final = {
    "avro": RegisteredSchema(orjson.dumps([FORECAST, SILENCE]).decode(), AVRO),
    "protobuf": RegisteredSchema(_PROTO, PROTOBUF),
}
"""What is registered, by `output.format`."""


def subject_of(topic: str) -> str:
    """Returns the subject of a topic, as Confluent's clients name it by default."""
    return f"{topic}-value"
