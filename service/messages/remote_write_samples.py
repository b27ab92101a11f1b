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

from collections.abc import Iterable, Sequence
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


def encode_time(timestamp_ms: int) -> bytes:
    """Encodes the time of a sample: what follows its value."""
    return _TIMESTAMP + varint(timestamp_ms)


def encode_head(labels: Sequence[tuple[str, str]], time_bytes: int) -> bytes:
    """Encodes what precedes the value of a sample, a double, little-endian.

    Args:
        labels: names and values, in any order.
        time_bytes: length of `encode_time` for the sample.
    """
    encoded = b"".join(
        _field(0x0A, _field(0x0A, name.encode()) + _field(0x12, value.encode())) for name, value in sorted(labels)
    )
    sample = 1 + _VALUE_BYTES + time_bytes
    return b"\x0a" + varint(len(encoded) + 2 + sample) + encoded + _VALUE % sample


def compressed(parts: Iterable[bytes]) -> bytes:
    """Joins parts of a request and compresses it."""
    return bytes(cramjam.snappy.compress_raw(b"".join(parts)))
