"""Records that do not meet `input.where` are neither events nor rejects, in every form and every batch."""

from __future__ import annotations

import csv
import io
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mapped_records import HEADER, NOON, Row, decode, dumped, events, flat, only, outcomes, record, tables, wide

CONDITIONS = {
    "host == 'a' or v < 0": lambda one: one["host"] == "a" or (one["v"] is not None and one["v"] < 0),
    "site != 'a'": lambda one: one["site"] != "a",
    "v >= 0.25 and not (metric in ['c0', 'c2'])": lambda one: (
        one["v"] is not None and one["v"] >= 0.25 and one["metric"] == "c1"
    ),
    "v is null": lambda one: one["v"] is None,
    "t > 1000000000000 and v is not null": lambda one: one["t"] > 10**12 and one["v"] is not None,
    "metric < 'c1'": lambda one: one["metric"] < "c1",
    "v == 0 or v == 1e3": lambda one: one["v"] in {0, 1e3},
    "nothing is null": lambda _: True,
    "nothing == 5": lambda _: False,
}


@pytest.mark.parametrize("where", CONDITIONS)
@given(tables())
def test_the_same_events_as_without_the_others(where: str, table: list[Row]) -> None:
    """Records that do not meet the condition might as well not be there, as single records and within an array."""
    fields = {"series": ["site", "host", "metric"], "timestamp": "t", "value": "v"}
    wanted = [one for one in flat(table) if CONDITIONS[where](one)]
    expected = [("/".join((one["site"], one["host"], one["metric"])), one["t"], one["v"]) for one in wanted]
    for values in (dumped(*flat(table)), dumped(flat(table)), [b"\n".join(dumped(*flat(table)))]):
        found = decode(*values, fields=fields, where=where)
        assert (events(found), found.rejects) == (expected, [])
        assert sum(count for _, count in found.filtered) == len(flat(table)) - len(wanted)


@given(tables(), st.sampled_from(["c0 > 0", "c1 is null and host != ' a'", "site in ['a', '0', 'x'] or c2 <= 0"]))
def test_csv_is_filtered_like_json(table: list[Row], where: str) -> None:
    """Lines of CSV meet the condition that their JSON records meet."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["t", "site", "host", "c0", "c1", "c2"])
    writer.writerows([time, site, host, *values] for site, host, time, values in table)
    header, *lines = text.getvalue().encode().splitlines()
    fields = {"series": "{site}/{host}/{field}", "timestamp": "t", "values": ["c0", "c1", "c2"]}
    found = decode(*lines, header=header, fields=fields, where=where)
    like = decode(*dumped(*wide(table)), fields=fields, where=where)
    assert (events(found), found.rejects, found.filtered) == (events(like), [], like.filtered)


@given(st.lists(st.sampled_from([record(), record(unit="C"), record(unit="F", value="x"), b"{", b"5"]), max_size=5))
def test_the_result_does_not_depend_on_the_batch(values: list[bytes]) -> None:
    """A record has the same result alone and in any batch; one that is filtered out is not rejected for anything."""
    together = outcomes(*values, where="unit == 'C'")
    assert together == [one for value in values for one in outcomes(value, where="unit == 'C'")]
    expected = {record(unit="C"): (1, 0), b"{": (0, 1)}
    assert [(len(one.events), len(one.reasons)) for one in together] == [expected.get(one, (0, 0)) for one in values]


class TestFields:
    """What a comparison makes of a field."""

    @pytest.mark.parametrize(
        ("raw", "where", "meets"),
        [
            (5, "x == 5", True), ("5", "x == 5", True), (" 5 ", "x == 5", True), (5.0, "x == '5'", True),
            (1.5, "x == '1.5'", True), (True, "x == true", True), ("true", "x == 'true'", True), (1, "x == true", True),
            (False, "x != true", True), ("x", "x == 0", False), ("x", "x != 0", True), ("x", "x < 0", False),
            (None, "x != 5", True), (None, "x >= 0", False), ("", "x is null", True), ("", "x == ''", False),
            ([], "x is null", False), ({"a": 1}, "x.a == 1", True), ({"double": 2.5}, "x == 2.5", True),
            (2**53 + 1, f"x == {2**53}", False), (str(2**53 + 1), f"x == {2**53}", False), ("NaN", "x == 5", False),
            ([1, 2], "x[1] == 2", True), ({"a.b": 3}, "/x/a.b == 3", True), ("b", "x > 'a'", True),
        ],
    )  # fmt: skip
    def test_comparison(self, raw: object, where: str, meets: bool) -> None:
        """Numbers compare by value, exactly; texts by their letters; null with nothing."""
        assert len(decode(record(x=raw), where=where)) == meets

    def test_notation(self) -> None:
        """Numbers that are texts have the configured separators."""
        assert len(decode(record(value="1.000,5"), fields={"decimal": ",", "thousands": "."}, where="value > 1000"))

    def test_a_bare_number(self) -> None:
        """A bare number is compared as the value."""
        found = decode(b"2.5", b"7", keys=[b"k", b"k"], times=[NOON, NOON], where="value > 5")
        assert (found.value.tolist(), found.filtered) == ([7.0], [(0, 1)])


class TestParts:
    """Conditions of elements, of envelopes and beside controls."""

    def test_elements_of_an_array(self) -> None:
        """Elements that do not meet the condition are no events; the others keep their order."""
        value = json.dumps({"s": "s", "ok": 1, "rows": [{"t": at, "v": at, "q": at % 2} for at in range(5)]}).encode()
        fields = {"series": "s", "timestamp": "rows[].t", "value": "rows[].v"}
        found = decode(value, fields=fields, where="rows[].q == 0 and ok == 1")
        assert (found.timestamp_ms.tolist(), found.filtered) == ([0, 2, 4], [(0, 2)])

    def test_within_an_envelope(self) -> None:
        """The fields are those of the event within its envelope."""
        change = {"before": None, "after": {"series": "s", "timestamp": 5, "value": 1, "unit": "C"}, "op": "c"}
        assert only(json.dumps(change).encode(), where="unit == 'C'") == [("s", 5, 1.0)]

    def test_controls(self) -> None:
        """A control record is one whatever the condition; a field of that name makes none."""
        window = {"series": "*", "from": "2026-01-01", "to": "2026-01-02"}
        values = [{"exclude": window}, {"exclude": window, "unit": "F"}, {"exclude": 5}, {"exclude": 5, "unit": "F"}]
        found = outcomes(*dumped(*values), where="unit == 'C'")
        assert [(one.controls, one.reasons) for one in found] == [(1, []), (1, []), (0, ["wrong_type"]), (0, [])]

    def test_a_column_that_is_not_there(self) -> None:
        """Lines of CSV below a header without the column are rejected with its name, never silently filtered out."""
        (reject,) = decode(b"s,5,1", header=HEADER, where="unit == 'C'").rejects
        assert reject.detail == "got the columns series, timestamp, value, expected unit as well; see input.where"
