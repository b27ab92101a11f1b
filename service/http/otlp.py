"""Decodes OTLP metrics, ExportMetricsServiceRequest, to series identifiers, times and values.

Data points of gauges and sums are samples: cumulative and delta sums are forwarded as they are. Those of histograms and
summaries are counted. A series is named by the metric and the attributes of the data point, its scope and its resource:

    http.server.active_requests{http.method="GET",otel.scope.name="flask",service.name="shop"}

Where several have an attribute of one name, that of the data point counts, then that of the scope. Of the resource only
the attributes that `input.push_resource` names are used: others, such as process identifiers, change with every start.

As in `remote_write`, sizes are bounded before memory is allocated: fields are located in the bytes and counted, data
points are decoded one at a time, and the bytes of their lines are added up.
"""

from __future__ import annotations

import fnmatch
import math
import re
from base64 import b64encode
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

import orjson
from google.protobuf import json_format
from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
)
from opentelemetry.proto.common.v1.common_pb2 import InstrumentationScope
from opentelemetry.proto.metrics.v1.metrics_pb2 import DataPointFlags, NumberDataPoint
from opentelemetry.proto.resource.v1.resource_pb2 import Resource

from service.http.remote_write import FIELD_BYTES, LINE_BYTES, MalformedError, MessageFields, Sample, TooLargeError
from service.messages.depth import MAX_DEPTH, too_deep

_MOST_LEAF: Final = 1 << 16  # bytes of a data point, a scope or a resource that are decoded; more name no series
_JSON_SHARE: Final = 16  # JSON bodies need so many times the memory of others, and may be smaller by it
_NUMBERS: Final = frozenset({5, 7})  # fields of a metric: gauge, sum
_OTHERS: Final = {9: "histograms", 10: "exponential histograms", 11: "summaries"}
_SCOPE_NAME: Final = "otel.scope.name"
_PLAIN: Final = re.compile(r"[\w./-]+")  # names that are not quoted
_ESCAPED: Final = str.maketrans({"\\": r"\\", '"': r"\"", "\n": r"\n"})


class OtlpError(ValueError):
    """The body is not an ExportMetricsServiceRequest; the message says what was received."""


class OtlpSamples(NamedTuple):
    """The samples of a body.

    Attributes:
        samples: of gauges and sums. filtered: the number of those of other metrics than `input.push_metrics`.
        unsupported: the number of other data points. kinds: what they are.
    """

    samples: list[Sample]
    filtered: int
    unsupported: int
    kinds: Sequence[str]


class OtlpMetrics:
    """Decodes request bodies.

    Args:
        metrics: globs of metric names to accept; none: all.
        resource: globs of the attributes of a resource that are part of the names of its series.
        most_bytes: largest size of a decompressed body.
    """

    def __init__(self, metrics: Sequence[str], resource: Sequence[str], most_bytes: int) -> None:
        self._most = most_bytes
        self._fits = re.compile("|".join(fnmatch.translate(glob) for glob in metrics) or r"(?s:.*)")
        self._of_resource = re.compile("|".join(fnmatch.translate(glob) for glob in resource) or r"(?!)")

    def decode_json(self, body: bytes) -> OtlpSamples:
        """Decodes a body in the JSON encoding. Raises as `decode`."""
        if len(body) > self._most // _JSON_SHARE:
            msg = (
                f"got {len(body)} bytes of JSON, expected at most {self._most // _JSON_SHARE} (a sixteenth of "
                "input.push_body); send protobuf, or fewer data points per request"
            )
            raise TooLargeError(msg)
        if too_deep(body):
            msg = f"got JSON nested more than {MAX_DEPTH} levels deep, expected an ExportMetricsServiceRequest"
            raise OtlpError(msg)
        try:
            message = json_format.Parse(body, ExportMetricsServiceRequest(), ignore_unknown_fields=True)
        except (json_format.ParseError, UnicodeDecodeError, RecursionError) as error:
            msg = f"got a body that is not JSON of an ExportMetricsServiceRequest ({str(error)[:200]})"
            raise OtlpError(msg) from error
        return self.decode(message.SerializeToString())

    def decode(self, body: bytes) -> OtlpSamples:
        """Decodes the data points of a body, in its order.

        Raises:
            TooLargeError: the body has too many fields, or its lines would be larger than allowed; found before its
                data points are decoded.
            OtlpError: the body is not this message.
        """
        try:
            return _Request(body, self._most, self._fits, self._of_resource).decode()
        except MalformedError as error:
            msg = f"got a body that is not an ExportMetricsServiceRequest ({error}), expected OTLP metrics as protobuf"
            raise OtlpError(msg) from error


class _Request:
    """Decodes one body."""

    def __init__(self, body: bytes, most: int, fits: re.Pattern[str], of_resource: re.Pattern[str]) -> None:
        self._body, self._most, self._fits, self._of_resource = body, most, fits, of_resource
        self._fields, self._line_bytes = MessageFields(body, most // FIELD_BYTES), 0
        self._samples, self._filtered, self._others = list[Sample](), 0, dict[int, int]()

    def decode(self) -> OtlpSamples:
        """Returns its samples."""
        for start, end in self._of(1, 0, len(self._body)):
            resource, problem = self._labels(Resource, 1, start, end)
            kept = {key: text for key, text in resource.items() if self._of_resource.fullmatch(key)}
            for inner in self._of(2, start, end):
                scope, why = self._labels(InstrumentationScope, 1, *inner)
                for metric in self._of(2, *inner):
                    self._add_metric(metric, kept | scope, problem or why)
        kinds = [_OTHERS[number] for number in sorted(self._others)]
        return OtlpSamples(self._samples, self._filtered, sum(self._others.values()), kinds)

    def _of(self, wanted: int, start: int, end: int) -> Iterator[tuple[int, int]]:
        """Yields start and end of every field with a number."""
        return ((at, to) for number, at, to in self._fields.between(start, end) if number == wanted)

    def _labels(self, kind: type[Any], number: int, start: int, end: int) -> tuple[dict[str, str], str]:
        """Returns the attributes of a resource or scope, and why they name no series, else the empty text."""
        labels, problem = dict[str, str](), ""
        for at, to in self._of(number, start, end):
            found, problem = self._leaf(kind, at, to)
            if found is not None:
                labels = dict(_pairs(found.attributes))
                if isinstance(found, InstrumentationScope) and found.name:
                    labels[_SCOPE_NAME] = found.name
        return labels, problem

    def _leaf(self, kind: type[Any], start: int, end: int) -> tuple[Any, str]:
        """Returns a decoded message or None, and why it is none."""
        if end - start > _MOST_LEAF:
            return None, f"got {end - start} bytes of attributes and values, expected at most {_MOST_LEAF}"
        try:
            return kind.FromString(self._body[start:end]), ""
        except DecodeError as error:
            return None, f"got bytes that are not a {kind.DESCRIPTOR.name} ({error})"

    def _add_metric(self, span: tuple[int, int], labels: Mapping[str, str], problem: str) -> None:
        name = ""
        for start, end in self._of(1, *span):
            name = self._body[start:end].decode("utf-8", "replace")
        for number, start, end in self._fields.between(*span):
            if number in _NUMBERS:
                for point in self._of(1, start, end):
                    self._add_point(name, point, labels, problem)
            elif number in _OTHERS:
                count = sum(1 for _ in self._of(1, start, end))
                self._others[number] = self._others.get(number, 0) + count

    def _add_point(self, name: str, span: tuple[int, int], labels: Mapping[str, str], problem: str) -> None:
        if self._fits.fullmatch(name) is None:
            self._filtered += 1
            return
        point, why = self._leaf(NumberDataPoint, *span)
        problem = problem or why or ("" if name else "got a data point of a metric without a name")
        own = {} if point is None else dict(_pairs(point.attributes))
        series = series_of(name, {**labels, **own})
        self._line_bytes += LINE_BYTES + len(orjson.dumps(series))
        if self._line_bytes > self._most:
            msg = (
                f"got data points that need more than {self._line_bytes} bytes of lines with the attributes of their "
                f"series, expected at most {self._most} (input.push_body); send fewer per request"
            )
            raise TooLargeError(msg)
        if point is not None and not point.time_unix_nano:
            problem = problem or "got a data point without time_unix_nano"
        nanoseconds = 0 if point is None else point.time_unix_nano
        value = None if point is None else _value(point)
        self._samples.append(Sample(series, nanoseconds // 1_000_000, value, problem))


def series_of(name: str, labels: Mapping[str, str]) -> str:
    """Formats the identifier of a series: `name{key="value",...}`, keys sorted, unusual names in quotes."""
    inner = ",".join(f'{_quoted(key)}="{labels[key].translate(_ESCAPED)}"' for key in sorted(labels))
    return f"{_quoted(name)}{{{inner}}}" if inner else _quoted(name)


def _quoted(name: str) -> str:
    return name if _PLAIN.fullmatch(name) else f'"{name.translate(_ESCAPED)}"'


def _value(point: Any) -> float | None:
    """Returns the value of a data point; None where it is missing."""
    kind = point.WhichOneof("value")
    if kind is None or point.flags & DataPointFlags.DATA_POINT_FLAGS_NO_RECORDED_VALUE_MASK:
        return None
    value = float(getattr(point, kind))
    return value if math.isfinite(value) else None


def _pairs(attributes: Any) -> Iterator[tuple[str, str]]:
    return ((one.key, _text(one.value)) for one in attributes)


def _text(value: Any) -> str:
    """Returns the text of an attribute: texts as they are, everything else as JSON."""
    found = _plain(value)
    return found if isinstance(found, str) else orjson.dumps(found).decode()


def _plain(value: Any) -> object:
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [_plain(one) for one in value.array_value.values]
    if kind == "kvlist_value":
        return {one.key: _plain(one.value) for one in value.kvlist_value.values}
    found = None if kind is None else getattr(value, kind)
    return b64encode(found).decode() if isinstance(found, bytes) else found


def response(rejected: int, text: str, *, as_json: bool) -> bytes:
    """Encodes the answer to an accepted body.

    Args:
        rejected: the number of data points that were not accepted; 0: all were.
        text: why.
        as_json: whether in the JSON encoding.
    """
    message = ExportMetricsServiceResponse()
    if rejected:
        message.partial_success.rejected_data_points = rejected
        message.partial_success.error_message = text
    return json_format.MessageToJson(message).encode() if as_json else bytes(message.SerializeToString())


def failure_status(text: str) -> bytes:
    """Encodes google.rpc.Status with a message: its field 2, a text, like that of a partial success."""
    message = ExportMetricsServiceResponse().partial_success
    message.error_message = text
    return bytes(message.SerializeToString())
