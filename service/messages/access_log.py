r"""Parses lines of access logs, in the Common or the Combined Log Format, to flat records.

    10.0.0.7 - ann [22/Nov/2026:10:00:01 +0100] "GET /api?page=2 HTTP/1.1" 200 512 "-" "curl/8.5" 0.012

    host, ident, user       who asks; vhost before them, as of Apache's vhost_combined, or "-"
    time                    of the line, as ISO-8601 text in UTC
    method, path, query     of the request, and protocol: the path without its query; "-" where the request is none,
                            as of a client that speaks TLS to a port of HTTP
    status, bytes           numbers; None where there is no status, 0 bytes for "-"
    referer, agent          "-" in the Common Log Format
    request_time            how long the request took, as the server writes it: None where it does not
    extra_1, extra_2, ...   further numbers behind, and by their names those of the form name=0.012

`request_time` is, of what is behind the agent: what is called so (also rt=0.012), else a number with `ms`, else the
first number with a fraction, which nginx writes in seconds, else the only number: Apache's microseconds (%D) or seconds
(%T). Quoted parts without a name have no numbers, as a client may have written them (X-Forwarded-For). Texts are as
they are written, with \" and \x22.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone
from functools import lru_cache
from typing import Final

from service.messages.numbers import PlainText
from service.messages.text_lines import Cells, LineError

MOST_EXTRAS: Final = 40
"""Parts behind the agent that are read; a line with more has these only."""

FIELDS: Final = (
    "vhost", "host", "ident", "user", "time", "method", "path", "query", "protocol", "status", "bytes", "referer",
    "agent", "request_time",
)  # fmt: skip
"""The names of all parts that every line has."""

_SHOWN: Final = 80
_CACHED_TIMES: Final = 4096  # the lines of a second have the same text
_QUOTED: Final = r'"((?:[^"\\]++|\\.)*+)"'
# No part can end at two places, so that a line is searched once, whatever it has.
_ENTRY: Final = re.compile(
    r"(?:([^ \[:]++:\d++) (?=[^ ]++ [^ ]++ [^ ]++ \[))?+([^ ]++) ([^ ]++) ([^ \[][^ ]*+(?: [^ \[]++)*+) "
    rf'\[([^\]]*+)\] {_QUOTED} (\d{{3}}|-) (\d++|-)(?: {_QUOTED} {_QUOTED}|(?! "))(?= |$)',
    re.DOTALL,
)
_EXTRA: Final = re.compile(r'"(?:[^"\\]++|\\.)*+"|\[[^\]]*+\]|([A-Za-z_]\w*+)=("?)([^ "]*+)\2|([^ ]++)')
_NUMBER: Final = re.compile(r"(\d{1,15}+(\.\d{1,9}+)?+)(ms)?+", re.ASCII)
_TIME: Final = re.compile(r"(\d\d)/([A-Z][a-z]{2})/(\d{4}):(\d\d):(\d\d):(\d\d) ([+-])(\d\d)(\d\d)", re.ASCII)
_MONTHS: Final = {
    name: number for number, name in enumerate(
        ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"), 1
    )
}  # fmt: skip
_REQUEST_TIMES: Final = frozenset({"request_time", "rt"})
_EXPECTED: Final = 'an entry of an access log such as: 10.0.0.7 - - [22/Nov/2026:10:00:01 +0000] "GET / HTTP/1.1" 200 5'


def parse_entry(line: str) -> Cells:
    """Parses one line that is not blank; blanks and line ends around it do not count.

    Raises:
        LineError: it is no entry of an access log; its message has what was received and what is expected.
    """
    text = line.strip(" \t\r\n")
    match = _ENTRY.match(text)
    if match is None:
        msg = f"got {text[:_SHOWN]!r}, expected {_EXPECTED}"
        raise LineError(msg)
    vhost, host, ident, user, time, request, status, size, referer, agent = match.groups()
    method, path, query, protocol = _request(request)
    cells: Cells = {
        "vhost": PlainText(vhost or "-"),
        "host": PlainText(host),
        "ident": PlainText(ident),
        "user": PlainText(user),
        "time": _utc(time),
        "method": PlainText(method),
        "path": PlainText(path),
        "query": PlainText(query),
        "protocol": PlainText(protocol),
        "status": None if status == "-" else int(status),
        "bytes": 0.0 if size == "-" else float(size),
        "referer": PlainText("-" if referer is None else referer),
        "agent": PlainText("-" if agent is None else agent),
        "request_time": None,
    }
    if match.end() < len(text):
        _add_extras(cells, text, match.end())
    return cells


def is_entry(line: str) -> bool:
    """Returns whether a line is an entry of an access log."""
    return _ENTRY.match(line.strip(" \t\r\n")) is not None


def _request(text: str) -> tuple[str, str, str, str]:
    """Returns method, path, query and protocol of the first line of a request; "-" where it is none."""
    parts = text.split(" ", 3)
    if len(parts) == 3 and parts[2].startswith("HTTP/") and parts[0] and parts[1]:
        path, _, query = parts[1].partition("?")
        return parts[0], path or "-", query, parts[2]
    return "-", "-", "", "-"


@lru_cache(_CACHED_TIMES)
def _utc(text: str) -> str:
    """Returns the time of a line in UTC; a text of another form as it is, as it may be ISO-8601.

    Raises:
        LineError: there is no such time.
    """
    match = _TIME.fullmatch(text)
    if match is None:
        return text
    day, month, year, hour, minute, second, sign, hours, minutes = match.groups()
    offset = timedelta(hours=int(hours), minutes=int(minutes))
    try:
        zone = timezone(-offset if sign == "-" else offset)
        at = datetime(
            int(year),
            _MONTHS[month],
            int(day),
            int(hour),
            int(minute),
            59 if second == "60" else int(second),
            tzinfo=zone,
        )  # 60 is a leap second
        return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ").zfill(20)
    except (ValueError, LookupError, OverflowError):
        msg = f"got the time {text[:_SHOWN]!r}, expected one such as 22/Nov/2026:10:00:01 +0000"
        raise LineError(msg, "bad_timestamp") from None


def _add_extras(cells: Cells, text: str, at: int) -> None:
    """Adds the numbers behind the agent."""
    numbers, fractions, milliseconds, named = list[float](), list[float](), list[float](), list[float]()
    for count, match in enumerate(_EXTRA.finditer(text, at)):
        if count >= MOST_EXTRAS or (match[4] or "").startswith('"'):  # a text that does not end
            break
        name, _, value, bare = match.groups()
        found = _NUMBER.fullmatch(value or bare or "")
        if found is None:
            continue
        number = float(found[1])
        if name in _REQUEST_TIMES:
            named.append(number)
        elif name is not None:
            cells.setdefault(name, number)
            continue
        else:
            numbers.append(number)
            cells.setdefault(f"extra_{len(numbers)}", number)
        if found[3]:
            milliseconds.append(number)
        elif found[2]:
            fractions.append(number)
    for candidates in (named, milliseconds, fractions, numbers if len(numbers) == 1 else []):
        if candidates:
            cells["request_time"] = candidates[0]
            return
