"""Access logs: what a line of each server's format becomes, that all lines of it are read, and that no line is dear."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.config.input import InputConfig
from service.messages.access_log import FIELDS, MOST_EXTRAS, is_entry, parse_entry
from service.messages.decode import Decoded, Decoder
from service.messages.parse_lines import FORMAT_HEADER
from service.messages.text_lines import LineError
from service.ports import Records

ENTRY = '10.0.0.7 - ann [22/Nov/2026:10:00:01 +0100] "GET /api?a=1 HTTP/1.1" 200 512'
COMBINED = f'{ENTRY} "https://example.com/" "Mozilla/5.0 (X11)"'
SETTINGS: dict[str, Any] = {"format": "access-log", "fields": {"series": "path", "value": "request_time"}}


def decode(*values: bytes, of_file: bool = True, **settings: Any) -> Decoded:
    """Decodes lines of a file, or records of a topic."""
    headers = [((FORMAT_HEADER, b"access-log"),)] * len(values) if of_file else None
    records = Records("t-0", range(len(values)), len(values), list(values), headers=headers)
    return Decoder(InputConfig.model_validate(SETTINGS | settings)).decode(records)


def test_parts_of_a_line() -> None:
    """Every part has its name; what the Common Log Format lacks is there, without a value."""
    common, combined = parse_entry(ENTRY), parse_entry(f"{COMBINED} 0.012\r\n")
    assert tuple(common) == FIELDS
    assert common == {
        "vhost": "-", "host": "10.0.0.7", "ident": "-", "user": "ann", "time": "2026-11-22T09:00:01Z", "method": "GET",
        "path": "/api", "query": "a=1", "protocol": "HTTP/1.1", "status": 200, "bytes": 512.0, "referer": "-",
        "agent": "-", "request_time": None,
    }  # fmt: skip
    changed = {"referer": "https://example.com/", "agent": "Mozilla/5.0 (X11)", "request_time": 0.012, "extra_1": 0.012}
    assert combined == common | changed


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (f"{COMBINED} 12345", {"request_time": 12345.0}),  # Apache, %D
        (f"{ENTRY} 12345", {"request_time": 12345.0, "agent": "-"}),
        (f"{COMBINED} 321 9876", {"request_time": None, "extra_1": 321.0, "extra_2": 9876.0}),  # combinedio
        (f'{COMBINED} "203.0.113.9"', {"request_time": None}),  # nginx's main
        (f'{COMBINED} "0.001" 0.25', {"request_time": 0.25}),  # what a client wrote is no number
        (f'{COMBINED} rt=0.25 uct="0.010" urt=-', {"request_time": 0.25, "uct": 0.01}),
        (f'{COMBINED} "203.0.113.9, 0.5 0.25', {"request_time": None}),  # cut within a text
        (f"{COMBINED} request_time=3 0.5", {"request_time": 3.0}),
        (
            f"{COMBINED} 411 0.002 [shop-80] [] 10.2.0.7:80 512 0.001 200 3ab9",  # ingress-nginx
            {"request_time": 0.002, "extra_1": 411.0, "extra_4": 0.001},
        ),
        (f'{COMBINED} 42 "router@docker" "http://10.0.0.1:80" 12ms', {"request_time": 12.0}),  # Traefik
        (f"example.com:443 {COMBINED}", {"vhost": "example.com:443", "host": "10.0.0.7"}),
        (ENTRY.replace("10.0.0.7", "::1"), {"vhost": "-", "host": "::1"}),
        (ENTRY.replace("ann", "Ann Lee"), {"user": "Ann Lee"}),
        (ENTRY.replace("GET /api?a=1 HTTP/1.1", r"\x16\x03\x01"), {"method": "-", "path": "-", "query": ""}),
        (ENTRY.replace("GET /api?a=1 HTTP/1.1", ""), {"method": "-", "path": "-"}),
        (ENTRY.replace("/api?a=1", r"/a\"b"), {"path": r"/a\"b"}),
        (ENTRY.replace("200 512", "- -"), {"status": None, "bytes": 0.0}),
        (ENTRY.replace("10:00:01 +0100", "23:59:60 -0130"), {"time": "2026-11-23T01:29:59Z"}),  # a leap second
        (
            ENTRY.replace("22/Nov/2026:10:00:01 +0100", "2026-11-22T10:00:01+01:00"),
            {"time": "2026-11-22T10:00:01+01:00"},
        ),
        (f"{COMBINED} host=9 time=8", {"host": "10.0.0.7", "time": "2026-11-22T09:00:01Z"}),
    ],
)
def test_formats_of_servers(line: str, expected: dict[str, object]) -> None:
    """The parts that a format has besides, or in another form."""
    found = parse_entry(line)
    assert {name: found[name] for name in expected} == expected


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("", "undecodable"),
        ("2026/11/22 10:00:01 [error] 7#7: connect() failed", "undecodable"),
        (ENTRY.replace("200", "20"), "undecodable"),
        (ENTRY.replace("512", "many"), "undecodable"),
        (COMBINED[:-1], "undecodable"),
        (COMBINED.replace(' "Mozilla', "Mozilla"), "undecodable"),
        (ENTRY.replace("22/Nov", "31/Nov"), "bad_timestamp"),
        (ENTRY.replace("22/Nov", "22/Now"), "bad_timestamp"),
        (ENTRY.replace("10:00:01", "10:00:61"), "bad_timestamp"),
        (ENTRY.replace("+0100", "+9900"), "bad_timestamp"),
        (ENTRY.replace("22/Nov/2026:10:00:01 +0100", "01/Jan/0001:00:00:00 +0100"), "bad_timestamp"),
    ],
)
def test_lines_that_are_no_entries(line: str, reason: str) -> None:
    """Another line is no entry, and the message says what is expected."""
    with pytest.raises(LineError, match="expected") as error:
        parse_entry(line)
    assert error.value.reason == reason


WORDS = st.text(
    st.characters(codec="utf-8", exclude_characters=' "[]\\\r\n', exclude_categories=["Cc", "Z"]), min_size=1
)
QUOTED = st.text(st.characters(codec="utf-8", exclude_characters='"\\\r\n', exclude_categories=["Cs"]))
TIMES = st.datetimes(datetime(1970, 1, 2), datetime(2100, 1, 1)).map(lambda at: at.replace(microsecond=0))  # noqa: DTZ001


@given(
    WORDS, WORDS, TIMES, st.integers(-14 * 4, 14 * 4), WORDS, WORDS, st.integers(100, 599), st.integers(0, 1 << 50),
    st.tuples(QUOTED, QUOTED) | st.none(), st.floats(0, 1e6).map(lambda number: round(number, 3)) | st.none(),
)  # fmt: skip
def test_what_a_server_writes(
    host: str,
    user: str,
    at: datetime,
    quarters: int,
    method: str,
    target: str,
    status: int,
    size: int,
    agent: tuple[str, str] | None,
    took: float | None,
) -> None:
    """Every part of a line that a server writes by its format is read as it was."""
    stamp = at.replace(tzinfo=timezone(timedelta(minutes=15 * quarters)))
    behind = "" if agent is None else f' "{agent[0]}" "{agent[1]}"'
    behind += "" if took is None else f" {took:.3f}"
    line = f'{host} - {user} [{stamp:%d/%b/%Y:%H:%M:%S %z}] "{method} {target} HTTP/2.0" {status} {size}{behind}'
    found = parse_entry(line)
    assert [found[name] for name in ("host", "user", "method", "status", "bytes", "request_time")] == [
        host, user, method, status, size, took,
    ]  # fmt: skip
    assert found["time"] == f"{stamp.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"
    path, _, query = target.partition("?")
    assert (found["path"], found["query"]) == (path or "-", query)
    assert (found["referer"], found["agent"]) == (agent or ("-", "-"))


@given(st.text() | st.text('a "\\[]/:0-1+=.').map(lambda tail: ENTRY + tail) | st.text('1 -[]":/\\', max_size=60))
def test_any_text(text: str) -> None:
    """Any line is an entry with all fields, or none."""
    try:
        found = parse_entry(text)
    except LineError as error:
        found, problem = {}, (error.reason, str(error))
    else:
        problem = "", ""
    assert is_entry(text) == (problem[0] in {"", "bad_timestamp"})
    assert len(problem[1]) < 2000
    if found:
        assert set(FIELDS) <= found.keys()
        assert len(found) <= len(FIELDS) + MOST_EXTRAS


@pytest.mark.parametrize(
    "line",
    [
        "a " * 500_000, '"' * 1_000_000, "a:1 " * 250_000, "a" * 1_000_000, f"10.0.0.7 - {'x ' * 500_000}[",
        ENTRY[:47] + '"' + '\\"' * 500_000, ENTRY + ' "a"' * 250_000, COMBINED + " a=1" * 250_000,
        COMBINED + ' "' * 500_000, COMBINED + " [" * 500_000, COMBINED + " " + "1" * 1_000_000,
        f"10.0.0.7 - - [{'1' * 1_000_000}] ", ENTRY.replace("/api", "/" + "?" * 1_000_000),
    ],
    ids=range(13),
)  # fmt: skip
def test_hostile_lines(line: str) -> None:
    """A line of a megabyte takes no longer than a pass over it: milliseconds, where squares of it take hours."""
    started = time.process_time()
    try:
        found = parse_entry(line)
    except LineError:
        found = {}
    assert time.process_time() - started < 1.0
    assert len(found) <= len(FIELDS) + MOST_EXTRAS


def test_events_of_a_file() -> None:
    """Lines are events of their paths, also without the time of the request; others are rejected with their bytes."""
    lines = [f"{COMBINED} 0.012".encode(), b"", b"what is this", ENTRY.encode(), b"\xff" + ENTRY.encode()]
    decoded = decode(*lines)
    assert decoded.series == ["/api", "/api"]
    np.testing.assert_array_equal(decoded.value, [0.012, np.nan])
    assert decoded.timestamp_ms.tolist() == [1_795_338_001_000] * 2
    assert [(one.position, one.reason, one.value) for one in decoded.rejects] == [
        (2, "undecodable", lines[2]), (4, "undecodable", lines[4]),
    ]  # fmt: skip


def test_records_of_a_topic() -> None:
    """With the format, records without a header are entries, one or several; control records are read among them."""
    control = b'{"exclude": {"series": "/*", "from": "2026-11-22", "to": "2026-11-23"}}'
    decoded = decode(f"{COMBINED} 1.5\n{COMBINED} 2.5\n".encode(), control, of_file=False)
    assert (decoded.value.tolist(), decoded.positions, len(decoded.controls)) == ([1.5, 2.5], [0, 0], 1)
    (reject,) = decode(COMBINED.encode(), of_file=False, format="auto").rejects
    assert 'input.format = "access-log"' in reject.detail


def test_conditions_and_names() -> None:
    """The parts name the series, and decide which lines are events; numbers are compared as such."""
    lines = [COMBINED.replace("200", status).encode() + b" 0.5" for status in ("200", "404", "503")]
    fields = {"series": "{status}/{method}", "value": "bytes"}
    decoded = decode(*lines, where="status >= 400 and path == '/api'", fields=fields)
    assert decoded.series == ["404/GET", "503/GET"]
    assert len(decoded.filtered) == 1
