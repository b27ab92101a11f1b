"""Encodes samples for Prometheus remote write 1.0, with the labels of a series encoded once.

A request is a snappy block of `repeated TimeSeries timeseries = 1`, so that requests are joined by joining their bytes.
Here every TimeSeries has one sample:

    TimeSeries  repeated Label labels = 1 (names sorted);  Sample sample = 2
    Label       string name = 1;  string value = 2
    Sample      double value = 1;  int64 timestamp = 2 (epoch milliseconds)

Source: prometheus.io/docs/specs/prw/remote_write_spec. service/http/remote_write.py decodes it, with the protobuf
library.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import cramjam

_VALUE: Final = b"\x12%c\x09"  # field 2, length of the sample, its field 1
_TIMESTAMP: Final = b"\x10"
_VALUE_BYTES: Final = 8


def varint(number: int) -> bytes:
    """Encodes a number; a negative one as 64-bit two's complement."""
    number &= (1 << 64) - 1
    found = bytearray()
    while number > 127:
        found.append(number & 127 | 128)
        number >>= 7
    found.append(number)
    return bytes(found)


def _field(tag: int, data: bytes) -> bytes:
    return bytes((tag,)) + varint(len(data)) + data


def encode_labels(labels: Sequence[tuple[str, str]]) -> bytes:
    """Encodes labels, sorted by name."""
    return b"".join(
        _field(0x0A, _field(0x0A, name.encode()) + _field(0x12, value.encode())) for name, value in sorted(labels)
    )


def encode_time(timestamp_ms: int) -> bytes:
    """Encodes the time of a sample, for `encode_sample`."""
    return _TIMESTAMP + varint(timestamp_ms)


def encode_sample(labels: bytes, value: bytes, time: bytes) -> bytes:
    """Encodes one TimeSeries with one sample, as part of a request.

    Args:
        labels: result of `encode_labels`. value: a double, little-endian. time: result of `encode_time`.
    """
    sample = 1 + _VALUE_BYTES + len(time)
    return b"\x0a" + varint(len(labels) + 2 + sample) + labels + _VALUE % sample + value + time


def compressed(requests: Sequence[bytes]) -> bytes:
    """Joins requests and compresses them."""
    return bytes(cramjam.snappy.compress_raw(b"".join(requests)))
