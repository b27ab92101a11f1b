"""Decodes Prometheus remote write 1.0: a snappy block with a protobuf message, to series identifiers, times and values.

The messages are described here and decoded by the protobuf library, without generated code. These fields of the
specification (prometheus.io/docs/specs/prw/remote_write_spec) are read:

    WriteRequest  repeated TimeSeries timeseries = 1
    TimeSeries    repeated Label labels = 1;  repeated Sample samples = 2
    Label         string name = 1;  string value = 2        read as bytes: invalid UTF-8 affects its series only
    Sample        double value = 1;  int64 timestamp = 2          epoch milliseconds

Exemplars, histograms and metadata are skipped. A stale marker is a NaN and therefore a missing value.

A body of a few kilobytes can expand to gigabytes: long labels with many samples, each of which becomes a line, or
millions of empty messages. So the series are located in the bytes before any message is decoded, they are decoded one
at a time, and the size of their lines is computed before the lines are made.
"""

from __future__ import annotations

import fnmatch
import functools
import math
import re
from collections.abc import Iterator, Sequence
from typing import Any, Final, NamedTuple

import cramjam
import orjson

from service.messages.prometheus_names import NAME as _NAME
from service.messages.prometheus_names import series_id

# A body has at most one field per this many permitted bytes; a meaningful label needs more.
FIELD_BYTES: Final = 8
# Bytes of a sample's line without the identifier of its series: field names, time and value. A series counts as at
# least one sample.
LINE_BYTES: Final = 64
_SMALL_BYTES: Final = 4096  # messages up to this size are decoded without counting their fields


class RemoteWriteError(ValueError):
    """The body is not remote write 1.0; the message says what was received."""


class TooLargeError(RemoteWriteError):
    """The body, its messages or its lines would be too large after decompression."""


class Sample(NamedTuple):
    """One event: its series, epoch milliseconds, and the value; None where it is missing.

    `problem` says why the labels do not identify a series, which is then shown as far as possible; otherwise it is
    empty.
    """

    series: str
    timestamp_ms: int
    value: float | None
    problem: str = ""


class _Messages(NamedTuple):
    """Classes of the protobuf library: the request message, one series, the error of bytes that are no message."""

    request: Any
    series: Any
    error: type[Exception]


@functools.cache
def _messages() -> _Messages:
    """Creates the classes, once; importing the library takes long, and few daemons get such a body."""
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory  # noqa: PLC0415 - see above
    from google.protobuf.message import DecodeError  # noqa: PLC0415 - as above

    field = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(
        name="forecaster/remote_write.proto", package="prometheus", syntax="proto3"
    )
    for name, fields in (
        ("Label", (("name", field.TYPE_BYTES, ""), ("value", field.TYPE_BYTES, ""))),
        ("Sample", (("value", field.TYPE_DOUBLE, ""), ("timestamp", field.TYPE_INT64, ""))),
        ("TimeSeries", (("labels", field.TYPE_MESSAGE, "Label"), ("samples", field.TYPE_MESSAGE, "Sample"))),
        ("WriteRequest", (("timeseries", field.TYPE_MESSAGE, "TimeSeries"),)),
    ):
        message = file.message_type.add(name=name)
        for number, (called, kind, of) in enumerate(fields, 1):
            label = field.LABEL_REPEATED if of else field.LABEL_OPTIONAL
            message.field.add(name=called, number=number, type=kind, label=label)
            if of:
                message.field[-1].type_name = f".prometheus.{of}"
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    found = [pool.FindMessageTypeByName(f"prometheus.{name}") for name in ("WriteRequest", "TimeSeries")]
    request, series = map(message_factory.GetMessageClass, found)
    return _Messages(request, series, DecodeError)


class RemoteWrite:
    """Decodes request bodies.

    Args:
        metrics: globs of metric names to accept; none: all.
        most_bytes: largest size of a decompressed body.
    """

    def __init__(self, metrics: Sequence[str], most_bytes: int) -> None:
        self._most = most_bytes
        self._fits = re.compile("|".join(fnmatch.translate(glob) for glob in metrics) or r"(?s:.*)")

    def decode(self, body: bytes) -> tuple[list[Sample], int]:
        """Decodes the samples of a body, in its order, and counts those that the globs filter out.

        Raises:
            TooLargeError: the body or its lines would be larger than allowed; found before it is decompressed, or
                before its samples are decoded.
            RemoteWriteError: the body is not snappy, or not this message.
        """
        try:
            size = cramjam.snappy.decompress_raw_len(body)
            if size > self._most:
                msg = f"got {size} bytes after decompression, expected at most {self._most} (input.push_body)"
                raise TooLargeError(msg)
            return self._decode(bytes(cramjam.snappy.decompress_raw(body)))
        except (cramjam.DecompressionError, MalformedError) as error:
            msg = f"got a body that is not a snappy block with a WriteRequest ({error}), expected remote write 1.0"
            raise RemoteWriteError(msg) from error

    def _decode(self, message: bytes) -> tuple[list[Sample], int]:
        found, out, line_bytes = list[Sample](), 0, 0
        fields, messages = MessageFields(message, self._most // FIELD_BYTES), _messages()
        for number, start, end in fields.between(0, len(message)):
            if number != 1:
                continue
            if end - start > _SMALL_BYTES:
                for _ in fields.between(start, end):
                    pass
            try:
                one = messages.series.FromString(message[start:end])
            except messages.error as error:
                raise MalformedError(*error.args) from error
            labels, problem = _labels(one.labels)
            name = next((value for key, value in labels if key == _NAME), "")
            wanted = bool(problem) or self._fits.fullmatch(name) is not None
            series = series_id(labels) if wanted else ""
            line_bytes += max(1, len(one.samples)) * (LINE_BYTES + len(orjson.dumps(series)))
            if line_bytes > self._most:
                msg = (
                    f"got samples that need more than {line_bytes} bytes of lines with the labels of their series, "
                    f"expected at most {self._most} (input.push_body); send fewer samples per request"
                )
                raise TooLargeError(msg)
            if wanted:
                found.extend(_samples(series, one.samples, problem))
            else:
                out += len(one.samples)
        return found, out


class MalformedError(ValueError):
    """The bytes are not a protobuf message."""


class MessageFields:
    """Locates the fields of messages in their bytes without decoding them.

    Args:
        data: the bytes of the messages.
        most: largest number of fields, over all messages.
    """

    def __init__(self, data: bytes, most: int) -> None:
        self._data, self._most, self._seen = data, most, 0

    def between(self, at: int, end: int) -> Iterator[tuple[int, int, int]]:
        """Yields number, start and end of every field of a message that has a length; skips other fields.

        Raises:
            TooLargeError: there are too many fields.
            MalformedError: the bytes are not a message.
        """
        while at < end:
            self._seen += 1
            if self._seen > self._most:
                msg = (
                    f"got more than {self._most} fields, expected at most one for every "
                    f"{FIELD_BYTES} bytes of input.push_body; send fewer per request"
                )
                raise TooLargeError(msg)
            key, at = self._number(at, end)
            kind, number, start = key & 7, key >> 3, at
            if not 0 < number < 1 << 29:
                msg = f"a field with the number {number}"
                raise MalformedError(msg)
            if kind == 2:
                length, start = self._number(at, end)
                at = start + length
            elif kind == 0:
                _, at = self._number(at, end)
            elif kind in (1, 5):
                at += 8 if kind == 1 else 4
            else:
                msg = f"a field of kind {kind}, which proto3 does not have"
                raise MalformedError(msg)
            if at > end:
                msg = "a field that reaches beyond its message"
                raise MalformedError(msg)
            if kind == 2:
                yield number, start, at

    def _number(self, at: int, end: int) -> tuple[int, int]:
        """Decodes a varint; returns it and the offset after it."""
        found = shift = 0
        while at < end and shift < 64:
            byte = self._data[at]
            at += 1
            found |= (byte & 127) << shift
            if byte < 128:
                return found, at
            shift += 7
        msg = "an unterminated number"
        raise MalformedError(msg)


def _labels(labels: Any) -> tuple[list[tuple[str, str]], str]:
    """Decodes names and values; returns them and why they do not identify a series, else the empty text.

    Labels without a value are ignored.
    """
    problem = ""
    try:
        pairs = [(label.name.decode(), label.value.decode()) for label in labels if label.value or not label.name]
    except UnicodeDecodeError as error:
        problem = f"got a label that is not UTF-8 ({error.reason})"
        pairs = [(label.name.decode("utf-8", "replace"), label.value.decode("utf-8", "replace")) for label in labels]
    names = [name for name, _ in pairs]
    if problem:
        pass
    elif "" in names:
        problem = "got a label without a name"
    elif len(set(names)) < len(names):
        twice = next(name for at, name in enumerate(names) if name in names[:at])
        problem = f"got the label {twice[:80]!r} more than once"
    elif _NAME not in names:
        problem = f"got no label {_NAME}"
    return pairs, problem and f"{problem}, expected every label once, with a name, and {_NAME} among them"


def _samples(series: str, samples: Any, problem: str) -> Iterator[Sample]:
    for sample in samples:
        value = sample.value
        yield Sample(series, sample.timestamp, value if math.isfinite(value) else None, problem)


def encode(series: Sequence[tuple[Sequence[tuple[str, str]], Sequence[tuple[int, float]]]]) -> bytes:
    """Encodes a body like a sender does, for tests and for trying it out.

    Args:
        series: labels, and pairs of epoch milliseconds and value.
    """
    request = _messages().request()
    for labels, samples in series:
        one = request.timeseries.add()
        for name, value in labels:
            one.labels.add(name=name.encode(), value=value.encode())
        for timestamp, number in samples:
            one.samples.add(timestamp=timestamp, value=number)
    return bytes(cramjam.snappy.compress_raw(request.SerializeToString()))
