"""Decoding and encoding: a table of bad input, and properties that hold for any bytes."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from decoded_records import HEADER, NOON, decode, event, reason, settings
from hypothesis import given
from hypothesis import strategies as st

from service.messages.decode import CSV_HEADER, Decoder
from service.messages.timestamps import (
    EARLIEST_MS,
    LATEST_MS,
)
from service.ports import Records


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
