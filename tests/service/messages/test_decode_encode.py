"""Decoding and encoding: a table of bad input, and properties that hold for any bytes."""

from __future__ import annotations

import gc
import json
import math
from datetime import UTC, datetime

import msgspec
import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from forecaster import Forecasts, Status
from service.config.input import InputConfig
from service.messages.decode import CSV_HEADER, REASONS, Decoded, Decoder
from service.messages.encode import encode
from service.messages.timestamps import (
    EARLIEST_MS,
    LATEST_MS,
    Milliseconds,
    format_times,
    parse_time,
    to_epoch_ms,
    written,
)
from service.ports import Encoded, Records

HEADER = b"series,timestamp,value"
NOON = 1_767_268_800_000  # 2026-01-01T12:00:00Z


def settings(**values: object) -> InputConfig:
    """Returns input settings with these values."""
    return InputConfig.model_validate(values)


def records(*values: bytes, header: bytes | None = None, times: list[int] | None = None) -> Records:
    """Returns a batch of records at the positions 0, 10, 20, ..."""
    headers = None if header is None else [((CSV_HEADER, header),)] * len(values)
    return Records(
        "p",
        [10 * i for i in range(len(values))],
        10 * len(values),
        values,
        headers=headers,
        timestamps_ms=times,
    )


def decode(*values: bytes, header: bytes | None = None, times: list[int] | None = None, **config) -> Decoded:
    """Decodes one batch by the given input settings."""
    return Decoder(settings(**config)).decode(records(*values, header=header, times=times))


def reason(*values: bytes, **how) -> str:
    """Returns the reason for which the only record is rejected."""
    decoded = decode(*values, **how)
    assert len(decoded) == 0
    (reject,) = decoded.rejects
    assert reject.value == values[0]
    assert reject.detail
    assert reject.reason in REASONS
    return reject.reason


def event(**changes: object) -> bytes:
    """Returns a good event with some fields changed; `...` as a change removes the field."""
    fields = {"series": "s", "timestamp": "2026-01-01T12:00:00Z", "value": 1.5} | changes
    return json.dumps({key: value for key, value in fields.items() if value is not ...}).encode()


class TestJson:
    """JSON events."""

    def test_good_event(self):
        """A good event is decoded with its position."""
        decoded = decode(event(), event(series="t", timestamp=NOON, value=2))
        assert decoded.series == ["s", "t"]
        assert decoded.timestamp_ms.tolist() == [NOON, NOON]
        assert decoded.value.tolist() == [1.5, 2.0]
        assert decoded.positions == [0, 10]
        assert decoded.rejects == []

    @pytest.mark.parametrize(
        ("value", "expected"),
        [
            (b"", "undecodable"),
            (b"{", "undecodable"),
            (b"\xff\xfe", "undecodable"),
            (b'{"series":"\xff","timestamp":1,"value":1}', "undecodable"),
            (b'{"series":"\\ud800","timestamp":1,"value":NaN}', "undecodable"),
            (event() + b" x", "undecodable"),
            (b"NaN" + b"[" * 100_000, "undecodable"),
            (b"[1]", "wrong_type"),
            (b'"NaN"', "wrong_type"),
            (event(value="five"), "wrong_type"),
            (event(value=[5]), "wrong_type"),
            (event(series=[5]), "wrong_type"),
            (event(timestamp=True), "wrong_type"),
            (event(timestamp=None), "missing_field"),
            (event(series=...), "missing_field"),
            (event(timestamp=...), "missing_field"),
            (event(value=...), "missing_field"),
            (event(series=""), "missing_field"),
            (event(timestamp="yesterday"), "bad_timestamp"),
            (event(timestamp="2026-02-30T00:00:00Z"), "bad_timestamp"),
            (event(timestamp=2**70), "bad_timestamp"),
            (event(timestamp=1.5), "bad_timestamp"),
            (event(timestamp=float("nan")), "bad_timestamp"),
        ],
    )
    def test_rejects(self, value, expected):
        """A malformed event is rejected with its bytes, its reason and a readable detail."""
        assert reason(value, max_record_bytes=1_000_000) == expected

    def test_a_bad_record_does_not_touch_its_neighbours(self):
        """The records around a bad record are decoded, and the batch keeps its order."""
        decoded = decode(event(series="a"), b"rubbish", event(series="b"))
        assert (decoded.series, decoded.positions, decoded.index) == (["a", "b"], [0, 20], [0, 2])
        assert [r.position for r in decoded.rejects] == [10]

    @pytest.mark.parametrize("value", [b"null", b"NaN", b"Infinity", b"-Infinity", b"1e400"])
    def test_missing_values(self, value):
        """Null, NaN and infinity are a missing observation, and are counted."""
        decoded = decode(event(value=7).replace(b"7", value), event())
        assert math.isnan(decoded.value[0])
        assert (decoded.missing, len(decoded)) == (1, 2)

    def test_unknown_and_repeated_fields(self):
        """Unknown fields are ignored; the last of repeated fields applies."""
        decoded = decode(b'{"value":1,"x":[{}],"series":"s","timestamp":1,"value":2}')
        assert decoded.value.tolist() == [2.0]

    def test_names_of_fields(self):
        """The names of all fields are configurable, dots and spaces included."""
        names = {"series": "metric.name", "timestamp": "@timestamp", "value": "the value"}
        decoded = decode(b'{"metric.name":"s","@timestamp":5,"the value":1}', fields=names)
        assert (decoded.series, decoded.timestamp_ms.tolist()) == (["s"], [5])

    def test_covariates(self):
        """Each covariate is a column; absent values, nulls and those beyond float32 are missing."""
        values = [event(a=1, b=2.5), event(a=None), event(a=1e300, b=0)]
        decoded = decode(*values, covariates=["a", "b"])
        assert decoded.covariates is not None
        expected = np.array([[1, 2.5], [np.nan, np.nan], [np.nan, 0]], np.float32)
        np.testing.assert_array_equal(decoded.covariates, expected)
        assert reason(event(a="x"), covariates=["a"]) == "wrong_type"


class TestCsv:
    """Lines of CSV."""

    def test_good_lines(self):
        """Lines are read by the names in the header, in any order of the columns."""
        decoded = decode(b"1.5,x,2026-01-01T12:00:00Z,s", header=b"value,more,timestamp,series")
        assert (decoded.series, decoded.timestamp_ms.tolist(), decoded.value.tolist()) == (
            ["s"],
            [NOON],
            [1.5],
        )

    @pytest.mark.parametrize(
        ("line", "expected"),
        [
            (b"s,1", "undecodable"),
            (b"s,1,2,3", "undecodable"),
            (b's,1,"2', "undecodable"),
            (b"s,1\n,2", "undecodable"),
            (b"\xff,1,2", "undecodable"),
            (b",1,2", "missing_field"),
            (b"s,,2", "missing_field"),
            (b"s,1,two", "wrong_type"),
            (b"s,1,1_000", "wrong_type"),
            (b"s,soon,2", "bad_timestamp"),
        ],
    )
    def test_rejects(self, line, expected):
        """A line that does not fit the file's columns is rejected."""
        assert reason(line, header=HEADER) == expected

    def test_header_without_a_column(self):
        """Below a header that lacks a needed column every line is rejected; the text names the column."""
        decoded = decode(b"s,1", header=b"series,timestamp")
        assert decoded.rejects[0].reason == "missing_field"
        assert "value" in decoded.rejects[0].detail

    @pytest.mark.parametrize("value", [b"", b"nan", b"NaN", b"inf", b"null", b"NA", b"none", b"1e999"])
    def test_missing_values(self, value):
        """An empty field, and exporters' text for one, is a missing observation."""
        decoded = decode(b"s,1," + value, b"s,2,3", header=HEADER)
        assert (decoded.missing, len(decoded)) == (1, 2)

    def test_quotes(self):
        """A quoted field may hold commas and doubled quotes."""
        assert decode(b'"a,""b""",1,2', header=HEADER).series == ['a,"b"']

    def test_files_of_different_shape_in_one_batch(self):
        """Each record is read by its own header, also next to JSON."""
        mixed = Records(
            "p", [0, 1, 2], 3, [b"s,1,2", b"5,t,4", event(timestamp=9)],
            headers=[((CSV_HEADER, HEADER),), ((CSV_HEADER, b"value,series,timestamp"),), ()],
        )  # fmt: skip
        decoded = Decoder(settings()).decode(mixed)
        assert (decoded.series, decoded.timestamp_ms.tolist()) == (["s", "t", "s"], [1, 4, 9])

    def test_covariates(self):
        """Covariates are read, and the values of an absent column are missing."""
        decoded = decode(b"s,1,2,7,", header=HEADER + b",a,b", covariates=["a", "b", "c"])
        assert decoded.covariates is not None
        np.testing.assert_array_equal(decoded.covariates, np.array([[7, np.nan, np.nan]], np.float32))


class TestLimits:
    """Well-formed events that are rejected."""

    def test_too_large(self):
        """A record over the limit is not parsed."""
        assert reason(event(series="x" * 100), max_record_bytes=100) == "too_large"
        exact = event(series="x" * 100)
        assert len(decode(exact, max_record_bytes=len(exact))) == 1

    def test_closed_list_of_series(self):
        """With a list of series any other series is rejected."""
        assert reason(event(series="other"), series=["s"]) == "unknown_series"
        assert len(decode(event(), series=["s"])) == 1

    def test_too_far_ahead_of_the_record(self):
        """An event too far ahead of its record's time is rejected, whatever the clock."""
        day = 86_400_000
        assert reason(event(), times=[NOON - day - 1]) == "too_far_ahead"
        assert len(decode(event(), times=[NOON - day])) == 1
        assert len(decode(event(timestamp="9999-01-01T00:00:00Z"))) == 1
        assert len(decode(event(), times=[0], max_ahead="")) == 1

    @pytest.mark.parametrize("header", [None, HEADER + b",written"])
    def test_record_time_field(self, header):
        """The record time may be a field of the event, which takes precedence over the transport's time."""

        def made(time: object, written: object) -> bytes:
            if header is None:
                return event(timestamp=time, written=written)
            return f"s,{time},1,{written}".encode()

        how = {"header": header, "fields": {"record_time": "written"}, "max_ahead": "1s"}
        decoded = decode(made(5000, 4000), made(5000, 3999), made(5000, "never"), times=[0, 5000, 5000], **how)
        assert [r.reason for r in decoded.rejects] == ["too_far_ahead", "bad_timestamp"]
        assert decoded.positions == [0]

    def test_problems_of_the_transport(self):
        """A record that the transport could not read is rejected with the transport's reason."""
        batch = Records("p", [0, 5], 9, [event(), b'{"ser'], problems={1: "truncated"})
        decoded = Decoder(settings()).decode(batch)
        assert [(r.position, r.reason) for r in decoded.rejects] == [(5, "truncated")]

    def test_rejects_keep_key_and_headers(self):
        """A reject keeps the key and headers of the record."""
        batch = Records("p", [3], 4, [b"?"], keys=[b"k"], headers=[(("h", b"\xff"),)])
        (reject,) = Decoder(settings()).decode(batch).rejects
        assert (reject.position, reject.key, list(reject.headers)) == (3, b"k", [("h", b"\xff")])


# Times that are not epoch seconds as numbers.
MILLISECONDS = st.one_of(
    st.integers(EARLIEST_MS, -(10**11)), st.integers(1 - 10**8, 10**8 - 1), st.integers(10**11, LATEST_MS)
)


class TestAnyBytes:
    """Properties of any input."""

    @given(st.lists(st.binary(max_size=60) | st.just(event())), st.sampled_from([None, HEADER, b"\xff", b""]))
    def test_never_raises(self, values, header):
        """Any bytes are an event or a reject, each record exactly once."""
        decoded = decode(*values, header=header)
        assert sorted(decoded.positions + [r.position for r in decoded.rejects]) == [10 * i for i in range(len(values))]

    @given(
        st.recursive(
            st.none() | st.booleans() | st.floats() | st.text(),
            lambda c: (
                st.lists(c, max_size=3) | st.dictionaries(st.sampled_from(["series", "timestamp", "value", "z"]), c)
            ),
        )
    )
    def test_any_json(self, value):
        """Any JSON, NaN and infinity included, is an event or a reject."""
        decoded = decode(json.dumps(value).encode())
        assert len(decoded) + len(decoded.rejects) == 1

    @given(st.lists(st.tuples(st.text(min_size=1), MILLISECONDS, st.floats())))
    def test_round_trip(self, events):
        """Events written as JSON are read back with the same bits of every value."""
        values = [json.dumps({"series": s, "timestamp": t, "value": v}).encode() for s, t, v in events]
        decoded = decode(*values)
        rejected = {r.position // 10 for r in decoded.rejects}
        kept = [e for i, e in enumerate(events) if i not in rejected]
        assert all(not _encodable(events[i][0]) for i in rejected)
        assert decoded.series == [s for s, _, _ in kept]
        assert decoded.timestamp_ms.tolist() == [t for _, t, _ in kept]
        expected = np.array([v if math.isfinite(v) else np.nan for _, _, v in kept], np.float64)
        np.testing.assert_array_equal(decoded.value, expected)

    @given(
        st.lists(
            st.tuples(
                st.sampled_from(["a", "b_c", '"q"', " x", "é", ""]),
                st.sampled_from(["1", "2026-01-01T12:00:00Z", "x", ""]),
                st.sampled_from(["1", "1.5e3", "", "nan", "x", "1_0", " 2", "NA"]),
            )
        )
    )
    def test_batches_do_not_matter(self, rows):
        """A record is decoded equally alone and in any batch, by the fast or slow path."""
        lines = [",".join(row).encode() for row in rows]
        whole = decode(*lines, header=HEADER)
        alone = [decode(line, header=HEADER) for line in lines]
        assert whole.series == [s for one in alone for s in one.series]
        assert whole.timestamp_ms.tolist() == [t for one in alone for t in one.timestamp_ms.tolist()]
        np.testing.assert_array_equal(whole.value, np.array([v for one in alone for v in one.value.tolist()]))
        assert [(r.value, r.reason) for r in whole.rejects] == [
            (r.value, r.reason) for one in alone for r in one.rejects
        ]


def _encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


class TestTimes:
    """Event times."""

    @pytest.mark.parametrize(
        "text",
        ["2026-01-01T12:00:00Z", "2026-01-01T12:00:00.000Z", "2026-01-01 12:00:00",
         "2026-01-01T13:00:00+01:00",
         "2026-01-01T12:00", "2026-01-01T12:00:00.0009Z", "1767268800000", " 2026-01-01t12:00:00z "],
    )  # fmt: skip
    def test_forms(self, text):
        """ISO-8601 with and without zone and fraction, and epoch milliseconds as text, are accepted."""
        assert parse_time(text) == NOON

    @pytest.mark.parametrize(
        "text",
        ["", "now", "NaT", "2026-W01", "20260101T00", "12:00", "1e3", "1.0", "\uff12026-01-01T00:00:00Z"],
    )
    def test_not_times(self, text):
        """Ambiguous texts, which some parsers accept, are refused."""
        assert parse_time(text) is None
        assert to_epoch_ms([text])[1] == [0]

    @pytest.mark.parametrize(
        "text",
        ["2026-01-01T12:00:00X", "-026-01-01T12:00:00Z", "2026-01-01T12:00:0 Z", "2026-13-01T12:00:00Z"],
    )
    def test_not_times_of_the_right_length(self, text):
        """A text as long as a time is checked in full, also in a column of good times."""
        column, bad = to_epoch_ms(["2026-01-01T12:00:00Z", text])
        assert (column.tolist(), bad) == ([NOON, 0], [1])

    def test_before_1970_is_cut_towards_the_past(self):
        """Fractions of a millisecond are rounded down on both sides of 1970."""
        assert parse_time("1969-12-31T23:59:59.9999Z") == -1

    @given(st.lists(st.datetimes().map(lambda t: t.replace(tzinfo=UTC)), min_size=1),
           st.sampled_from(["seconds", "milliseconds", "microseconds"]))  # fmt: skip
    def test_column_equals_single(self, times, precision):
        """A column of texts gives the times of its values one by one, and the times are right."""
        texts = [time.isoformat(timespec=precision).replace("+00:00", "Z") for time in times]
        column, bad = to_epoch_ms(texts)
        assert bad == []
        assert column.tolist() == [parse_time(text) for text in texts]
        exact = [(time - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds() for time in times]
        assert all(abs(got / 1000 - want) < 1.001 for got, want in zip(column.tolist(), exact, strict=True))

    @given(st.lists(st.text("0123456789-T:.Z ", min_size=20, max_size=20), min_size=1))
    def test_almost_times(self, texts):
        """Texts of the right length give equal results in a column and alone."""
        column, bad = to_epoch_ms(texts)
        alone = [parse_time(text) for text in texts]
        assert bad == [i for i, one in enumerate(alone) if one is None]
        assert column.tolist() == [one or 0 for one in alone]

    @given(st.lists(st.integers(EARLIEST_MS, LATEST_MS), min_size=1))
    def test_round_trip(self, times):
        """Formatted times are read back unchanged."""
        texts = format_times(np.array(times, np.int64))
        assert to_epoch_ms(texts)[0].tolist() == times

    @pytest.mark.parametrize(
        ("time", "expected"),
        [(1_767_571_200, 1_767_571_200_000), (1_767_571_200.5, 1_767_571_200_500),
         (1_767_571_200.123, 1_767_571_200_123), ("1767571200", 1_767_571_200_000),
         ("1767571200.5", 1_767_571_200_500), (" 1767571200.0 ", 1_767_571_200_000),
         (1_767_571_200_000, 1_767_571_200_000), (1_767_571_200_000.0, 1_767_571_200_000),
         ("1767571200000.0", 1_767_571_200_000),
         (-631_152_000, -631_152_000_000), (10**8, 10**11), (10**8 - 1, 10**8 - 1), (10**11, 10**11),
         (10**11 - 1, (10**11 - 1) * 1000), (0, 0), (1000, 1000), (2000.0, 2000),
         (1_767_571_200_000.5, None), (0.5, None), (float("nan"), None), (float("inf"), None),
         (1_767_571_200_000_123, 1_767_571_200_000), (1_767_571_200_000_000_123, 1_767_571_200_000),
         (3 * 10**14, None), (10**30, None)],
    )  # fmt: skip
    def test_seconds_and_milliseconds(self, time, expected):
        """A number is read as epoch seconds from 1e8 to below 1e11, of either sign."""
        assert parse_time(time) == expected
        assert to_epoch_ms([time]) == ([expected or 0], [] if expected is not None else [0])

    @given(
        st.lists(st.one_of(st.integers(-(10**13), 10**13), st.floats(-1e13, 1e13)), min_size=1),
        st.sampled_from(["auto", "s", "ms", "us", "ns"]),
        st.booleans(),
    )
    def test_a_number_is_judged_by_itself(self, numbers, unit, as_text):
        """A column of numbers gives the times of its values one by one, as numbers and as text."""
        times = [str(time) if as_text and isinstance(time, int) else time for time in numbers]
        column, bad = to_epoch_ms(times, unit)
        alone = [parse_time(time, unit) for time in numbers]
        assert bad == [i for i, one in enumerate(alone) if one is None]
        assert column.tolist() == [one or 0 for one in alone]

    @given(st.integers(EARLIEST_MS, LATEST_MS), st.sampled_from(["auto", "s", "ms", "us", "ns"]))
    def test_what_is_written_is_read(self, time, unit):
        """Milliseconds that the daemon writes itself are read back unchanged, whatever the unit of the stream."""
        assert parse_time(written(time, unit), unit) == time
        assert parse_time(Milliseconds(time), unit) == time
        assert to_epoch_ms([Milliseconds(time)], unit)[0].tolist() == [time]

    @pytest.mark.parametrize(
        ("unit", "number"), [("s", 1000), ("ms", 1_000_000), ("us", 1_000_000_999), ("ns", 1_000_000_999_999)]
    )
    def test_units(self, unit, number):
        """`input.time_unit` applies to all numbers; fractions of a millisecond are cut off."""
        assert parse_time(number, unit) == 1_000_000
        assert to_epoch_ms([number, str(number)], unit)[0].tolist() == [1_000_000] * 2

    def test_the_record_time_is_read_likewise(self):
        """Epoch seconds are accepted in JSON and CSV, as event time and as record time."""
        fields = {"record_time": "at"}
        json_line = b'{"series": "a", "timestamp": 1767571300, "value": 1, "at": 1767571200.5}'
        for max_ahead, kept in ((99, 0), (100, 1)):
            decoded = decode(json_line, fields=fields, max_ahead=max_ahead)
            assert len(decoded) == kept
        line = b"a,1767571300,1,1767571200.5"
        decoded = decode(line, header=b"series,timestamp,value,at", fields=fields, max_ahead=100)
        assert decoded.timestamp_ms.tolist() == [1_767_571_300_000]

    def test_times_of_two_units_are_noticed(self):
        """A stream that begins at 1970 in milliseconds is reported where its times pass 1e8."""
        lines = [b'{"series": "a", "timestamp": %d, "value": 1}' % time for time in (97_200_000, 100_800_000)]
        assert decode(*lines).two_units
        assert not decode(lines[0]).two_units
        assert not decode(lines[1]).two_units
        decoded_as_ms = decode(*lines, fields={"time_unit": "ms"})
        assert not decoded_as_ms.two_units
        assert decoded_as_ms.timestamp_ms.tolist() == [97_200_000, 100_800_000]


def forecasts(status: list[int], quantiles: np.ndarray) -> Forecasts:
    """Returns the library's forecasts with these quantiles, shape (n, H, Q)."""
    n = len(status)
    return Forecasts(
        status=np.array(status, np.uint8),
        origin_ms=np.full(n, NOON, np.int64),
        interval_ms=np.full(n, 60_000, np.int64),
        steps=np.ones(n, np.int64),
        quantiles=quantiles.astype(np.float32),
        anomaly=np.array([np.nan, 0.5] * n, np.float32)[:n],
        flagged=np.array([0, 1] * n, np.uint8)[:n],
    )


class TestEncode:
    """Forecasts as JSON."""

    def encode(self, status: list[int], quantiles: np.ndarray) -> Encoded:
        """Encodes a batch of events s0, s1, ... with these forecasts."""
        decoded = decode(*(event(series=f"s{i}") for i in range(len(status))))
        return encode(decoded, forecasts(status, quantiles), partition="p", levels=(0.1, 0.5), model_sha256="ab" * 32)

    def test_object(self):
        """A forecast is one JSON object with its values, model and source."""
        series, (got, _), _ = self.encode([0, 1], np.array([[[1, 2], [3, 4.5]]] * 2))
        assert series == ["s0", "s1"]
        assert orjson.loads(got) == {
            "series": "s0",
            "origin": "2026-01-01T12:00:00.000Z",
            "interval_ms": 60_000,
            "levels": [0.1, 0.5],
            "quantiles": [[1.0, 2.0], [3.0, 4.5]],
            "anomaly": None,
            "flagged": False,
            "model": "abababababab",
            "source": {"partition": "p", "position": 0},
            "status": "ok",
        }

    def test_status(self):
        """Late, duplicate and broadcast events give no message; missing values and unknown forecasts are marked."""
        status = [Status.DUPLICATE, Status.MISSING, Status.LATE, Status.OK, Status.BROADCAST, Status.UNKNOWN]
        quantiles = np.zeros((6, 1, 2))
        quantiles[5] = np.nan
        series, encoded, _ = self.encode([int(s) for s in status], quantiles)
        assert series == ["s1", "s3", "s5"]
        found = [orjson.loads(e) for e in encoded]
        assert [one["status"] for one in found] == ["missing", "ok", "unknown"]
        assert [one["source"]["position"] for one in found] == [10, 30, 50]
        assert [one["quantiles"] for one in found] == [[[0.0, 0.0]], [[0.0, 0.0]], None]

    @given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=4, max_size=4))
    def test_floats_round_trip(self, numbers):
        """Every float32 is read back bit for bit."""
        _, (got,), _ = self.encode([0], np.array(numbers, np.float32).reshape(1, 2, 2))
        read = np.array(msgspec.json.decode(got)["quantiles"], np.float32).ravel()
        np.testing.assert_array_equal(read, np.array(numbers, np.float32))

    def test_staged(self):
        """Staged parts are the beginning of the result, each handed on before the rest is encoded."""
        decoded = decode(*(event(series=f"s{i}") for i in range(1300)))
        parts: list[Encoded] = []
        found = encode(
            decoded,
            forecasts([Status.OK] * 1300, np.zeros((1300, 1, 2))),
            partition="p",
            levels=(0.1, 0.5),
            model_sha256="ab" * 32,
            stage=parts.append,
        )
        assert len(parts) == 2
        for at, whole in enumerate(found):
            staged = [item for part in parts for item in part[at]]
            assert staged == whole[: len(staged)]

    def test_nothing(self):
        """A batch without events gives nothing."""
        assert self.encode([], np.zeros((0, 1, 2))) == ([], [], [])


def test_rejects_leave_nothing_behind() -> None:
    """A rejected record leaves no reference cycle, which would keep its whole batch until a collection."""
    broken = [
        b"no event", b'{"series": "a"}', b'{"series": "a", "timestamp": 1, "value": "x"}', b'{"value": NaN}', b"\xff",
        b'{"series": "a", "timestamp": 1e999, "value": 1}', b'{"series": 1, "timestamp": NaN, "value": Infinity}',
    ]  # fmt: skip
    decoder = Decoder(settings())
    for batch in (records(*broken, times=[1] * len(broken)), records(b'a,b,"', b"\xff", b"a,,1", header=HEADER)):
        decoder.decode(batch)
        gc.collect()
        gc.disable()
        try:
            assert decoder.decode(batch).rejects
            assert gc.collect() == 0
        finally:
            gc.enable()
