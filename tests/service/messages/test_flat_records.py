"""Records that compiled code reads are decoded as by the parsers: same events, same rejects, byte for byte.

Two decoders of the same settings decode every batch, one of them with compiled code.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

import numpy as np
import pytest
from decoded_records import NOON, settings
from hypothesis import given
from hypothesis import strategies as st
from kind_records import GROUPS, value_of

from forecaster.flat_text import FlatText
from service.config.input import InputConfig
from service.messages.decode import CSV_HEADER, Decoded, Decoder
from service.messages.flat_records import flat_csv, flat_json
from service.ports import Records

KINDS = [
    value for group in GROUPS for kind in group.kinds if (value := value_of(kind, lambda _: 1)) and len(value) < 2000
]
CONFIGS: list[dict[str, Any]] = [
    {},
    {"covariates": ["temperature"]},
    {"fields": {"series": "name", "timestamp": "at", "value": "v", "time_unit": "s"}},
    {"fields": {"time_unit": "ns"}, "max_ahead": 60, "max_series_bytes": 64},
    {"fields": {"timezone": "Europe/Berlin", "time_unit": "us"}, "series": ["s", "cpu"]},
]
COLUMNS = ("name", "positions", "index", "rejects", "missing", "two_units", "within", "clock_changes", "filtered")


def both(config: InputConfig, values: list[bytes], header: bytes | None = None, *, keyed: bool = False) -> int:
    """Decodes a batch twice and compares; returns the number of events."""
    headers = None if header is None else [((CSV_HEADER, header),)] * len(values)
    times = [NOON] * len(values) if keyed else None
    keys = [b"key"] * len(values) if keyed else None
    records = Records("p", range(0, 7 * len(values), 7), 7 * len(values), values, keys, headers, times)
    plain, compiled = Decoder(config), Decoder(config, most_names=256)
    for decoder in (plain, compiled):  # the second batch finds all names known
        decoder.decode(records)
    one, other = plain.decode(records), compiled.decode(records)
    assert contents(one) == contents(other)
    return len(one)


def contents(decoded: Decoded) -> dict[str, Any]:
    """Returns everything of a batch, arrays as bytes."""
    found = {name: getattr(decoded, name) for name in COLUMNS if name != "name"}
    arrays = decoded.timestamp_ms, decoded.value, decoded.covariates, decoded.future
    found["arrays"] = [None if one is None else (str(one.dtype), one.shape, one.tobytes()) for one in arrays]
    return found | {"series": list(decoded.series), "controls": decoded.controls, "tombstones": decoded.tombstones}


TEXTS = [
    "s", "cpu", "s", "cpu", "",
    " s", "s ", "Gr\u00f6\u00dfe", "a" * 70, 'q"', "back\\slash", "\u2028", "\x1f", "\ud83d", "\x7f",
]  # fmt: skip
TIMES = [
    "2026-11-22T10:00:00Z", "2026-11-22T10:00:00.123Z", "2026-11-22 10:00:00Z", "2026-11-22T10:00:00.123456789+02:00",
    "2026-11-22T10:00:00-11:30", "2026-02-29T10:00:00Z", "2024-02-29T10:00:00Z", "2026-11-22T24:00:00Z", "2026-11-22",
    "2026-11-22T23:59:60Z", "2026-11-22T10:00:00", "2026-11-22t10:00:00z", "2026-11-22T10:00:00.1234567891Z", "",
    "0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59", "2026-11-22T10:00:00,5Z", "2026-11-22T10:00:00.Z",
    "2026-11-22T10:00:00+0100", "2026-11-22T10:00:00+01", "2026-11-22T10:00:00+24:00", "1900-02-29T00:00:00Z",
    "1969-12-31T23:59:59.9999Z", "0002-01-01T00:00:00.001Z", "1767225600", "1767225600000", "1767225600.25",
    1767225600, 1767225600000, 1767225600000000, 1767225600000000000, 1767225600.25, 1767225600000.5, 5, -5, 10**8,
    10**11, 10**15, 10**17, 10**18, 10**19, -(10**8), 99_999_999, 0, 0.0, -0.0, 1e11, 1e300, None, True,
]  # fmt: skip
VALUES = [
    1, 0, -1, 2.5, -0.0, 0.1, 1e22, 1e23, 8.5e-300, 2**53 + 1, 2**63, 2**64, 10**19, 10**25, 12345678901234567.5, 1e400,
    float("nan"), None, True, "1.5", "x", "", [1], {"a": 1},
]  # fmt: skip
CELLS = [*TEXTS, " 1", "1_0", "+1", ".5", "1.", "0x1", "NA", "true", "007", '"5"', "1e5", "-0", "nan", "2.5", "3"]
NAMES = ["series", "timestamp", "value", "name", "at", "v", "temperature", "note"]
HEADERS = ["series,timestamp,value", "at;note;v;name", "timestamp\tvalue\tseries\ttemperature", "timestamp,series"]
SEEDS = [
    b'{"series":"a","timestamp":0,"value":1}', b'{"series":"\xff","timestamp":1e11,"value":2}',
    b'{"series":"s","timestamp":5,"value":18446744073709551616}', b'{"series":"s","timestamp":5,"value":1,}',
]  # fmt: skip


def time_of(random: Random) -> object:
    """Returns an event time of any form, mostly a good one."""
    if random.random() < 0.3:
        return random.choice(TIMES)
    moment = datetime(1, 1, 1, tzinfo=UTC) + timedelta(
        seconds=random.randrange(300_000_000_000), microseconds=random.randrange(10**6)
    )
    return moment.isoformat(random.choice("T "), random.choice(["seconds", "milliseconds", "microseconds"]))


def value_at(random: Random) -> object:
    """Returns a value of any kind, mostly a number."""
    if random.random() < 0.3:
        return random.choice(VALUES)
    return random.choice(
        [random.gauss(0, 10.0 ** random.randint(-30, 30)), random.randrange(10 ** random.randint(1, 20))]
    )


def made(random: Random) -> bytes:
    """Returns an object of JSON with fields of events, in any order, perhaps twice or not at all."""
    wanted = list(NAMES)
    if random.random() < 0.4:
        random.shuffle(wanted)
        wanted = wanted[: random.randint(0, len(wanted))] + random.choices(NAMES, k=random.randint(0, 1))
    space, members = random.choice(["", "", " ", "\n\t "]), []
    for name in wanted:
        kind: object = value_at(random)
        if name in {"series", "name"}:
            kind = random.choice(TEXTS)
        elif name in {"timestamp", "at"}:
            kind = time_of(random)
        text = json.dumps(kind, ensure_ascii=random.random() < 0.5)
        members.append(f'{space}"{name}"{space}:{space}{text}{space}')
    return ("{" + ",".join(members) + "}" + space).encode("utf-8", "surrogatepass")


def damaged(random: Random, value: bytes) -> bytes:
    """Returns a record some bytes of which are changed, removed or repeated."""
    found = bytearray(value)
    for _ in range(random.randint(1, 3)):
        at = random.randint(0, len(found))
        some = random.choice([b'"', b",", b"{", b"}", b":", b"e", b"-", b"0", b".", b"\\", b" ", random.randbytes(2)])
        found[at : at + random.randint(0, 3)] = random.choice([some, found[at : at + 4] * 2])
    return bytes(found)


def one_record(random: Random) -> bytes:
    """Returns a record: made or real, good or damaged."""
    value = made(random) if random.random() < 0.7 else random.choice([*KINDS, *SEEDS])
    return damaged(random, value) if random.random() < 0.4 else value


@pytest.mark.parametrize("number", range(len(CONFIGS)))
@pytest.mark.parametrize("keyed", [False, True])
def test_json(number: int, keyed: bool) -> None:
    """Objects of JSON of any kind, good ones and damaged ones, in one batch; and each of them alone."""
    random = Random(number)
    config = settings(**CONFIGS[number])
    values = [one_record(random) for _ in range(1500)]
    assert both(config, values, keyed=keyed) > 20  # most times are too far ahead of those of keyed records
    for at in range(0, 150, 3):
        both(config, values[at : at + 3], keyed=keyed)


@given(st.sampled_from(CONFIGS), st.lists(st.binary(max_size=30), max_size=3), st.randoms(use_true_random=False))
def test_any_bytes(config: dict[str, Any], values: list[bytes], random: Random) -> None:
    """Any bytes among good records."""
    both(settings(**config), [*values, one_record(random)])


@pytest.mark.parametrize("number", range(len(CONFIGS)))
@pytest.mark.parametrize("header", HEADERS)
def test_csv(number: int, header: str) -> None:
    """Lines of CSV of any kind, with more and fewer cells than columns."""
    random, separator = Random(number), next(one for one in ",;\t" if one in header)
    config, lines = settings(**CONFIGS[number]), []
    for _ in range(500):
        cells = []
        for name in header.split(separator):
            any_of = CELLS if name in {"series", "name", "note"} or random.random() < 0.2 else None
            good = time_of(random) if name in {"timestamp", "at"} else value_at(random)
            cells.append(str(good) if any_of is None else random.choice(any_of))
        if random.random() < 0.1:
            cells = random.choice([cells[:-1], [*cells, ""], [*cells[:-1], ""]])
        line = separator.join(cells).replace("\n", " ").encode("utf-8", "surrogatepass")
        lines.append(damaged(random, line).replace(b"\n", b" ") if random.random() < 0.2 else line)
    both(config, lines, header.encode())
    for at in range(0, 150, 3):  # a batch of usual lines only is parsed in another way
        both(config, lines[at : at + 1], header.encode())


def test_usual_records_are_compiled_ones() -> None:
    """Usual records are read by compiled code, so that the tests above compare two things."""
    values = [b'{"series": "s%d", "timestamp": "2026-01-01T12:00:00Z", "value": %d.5}' % (n, n) for n in range(50)]
    decoder = Decoder(settings(), most_names=64)
    reader = decoder._json.flat
    assert isinstance(reader, FlatText)
    found = reader.read(values)
    assert found is not None
    assert found.record.tolist() == list(range(50))
    assert both(settings(), values) == 50
    lines = [b"s%d,2026-01-01T12:00:00Z,%d.5" % (n, n) for n in range(50)]
    assert both(settings(), lines, b"series,timestamp,value") == 50


@pytest.mark.parametrize(
    "config",
    [
        {"where": "value > 1"},
        {"fields": {"values": ["a", "b"]}},
        {"fields": {"value": "a.b"}},
        {"fields": {"series": ["a", "b"]}},
        {"fields": {"record_time": "written"}},
        {"envelope": "debezium"},
        {"future_covariates": ["promotion"]},
        {"fields": {"value": 'quo"ted'}},
    ],
)
def test_other_configurations(config: dict[str, Any]) -> None:
    """Records that are not flat, or have more than an event, have no compiled reader."""
    names = Decoder(settings(), most_names=64)._names
    assert flat_json(settings(**config), names) is None


def test_late_writers_are_merged_in_order() -> None:
    """The rows of records that the parsers read stand between those of compiled code, in the order of the records."""
    good = b'{"series": "s", "timestamp": %d, "value": 1}'
    values = [
        good % (NOON + n) if n % 3 else b'[{"series": "t", "timestamp": %d, "value": 2}]' % (NOON + n)
        for n in range(30)
    ]
    decoded = Decoder(settings(), most_names=64).decode(Records("p", range(30), 30, values))

    assert decoded.timestamp_ms.tolist() == [NOON + n for n in range(30)]
    assert list(decoded.series) == ["s" if n % 3 else "t" for n in range(30)]
    assert decoded.index == list(range(30))
    assert np.array_equal(decoded.value, [1.0 if n % 3 else 2.0 for n in range(30)])


def test_csv_with_other_numbers() -> None:
    """A notation of numbers of its own has no compiled reader."""
    names = Decoder(settings(), most_names=64)._names
    config = settings(fields={"decimal": ","})
    assert flat_csv(config, ["series", "timestamp", "value"], ";", names) is None
