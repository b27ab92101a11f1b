"""Cost of one request: for every endpoint, memory and time are bounded by a constant times its input's limit."""

from __future__ import annotations

import gc
import gzip
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import cramjam
import httpx
import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from parts import Bench, TurnedClock, event
from starlette.applications import Starlette
from starlette.routing import Route

from service.cli import _daemon as daemon_module
from service.config.load import load_config
from service.engine.malloc import trim
from service.http import (
    Api,
    Explanations,
    Guard,
    HttpServer,
    Hub,
    OtlpPush,
    Push,
    ReloadableTls,
    api_routes,
    create_app,
    page_routes,
    status_of,
)
from service.http.remote_write import RemoteWrite, RemoteWriteError, Sample, TooLargeError, encode
from service.recent import RecentStore
from service.sources.push_log import PushLog
from service.transport.memory import MemoryLog

BODY: Final = 1 << 20  # input.push_body and http.max_request_bytes
EVENTS: Final = 20_000  # the maximum of http.recent_events
HEAD: Final = 15_000  # bytes that fit into a request line

# Bounds of one request: bytes per byte of its limit on top of a fixed part, and CPU seconds. The measured maxima, with
# bodies of 4 MiB, are 8 bytes per byte and 0.8 s on a loaded machine.
PER_BYTE: Final = 16
FIXED: Final = 16 << 20
SECONDS: Final = 10.0

NOW: Final = TurnedClock(1_700_100_000.0)
LINES: Final = {"content-type": "application/x-ndjson"}
ZIPPED: Final = LINES | {"content-encoding": "gzip"}
WRITE: Final = {"content-type": "application/x-protobuf", "content-encoding": "snappy"}
OTLP: Final = {"content-type": "application/x-protobuf"}
JSON: Final = {"content-type": "application/json"}


@dataclass
class Case:
    """A request that is meant to be expensive."""

    query: str = ""
    body: bytes | Callable[[], bytes] = b""
    headers: dict[str, str] = field(default_factory=dict)
    statuses: tuple[int, ...] = (200,)
    limit: int = BODY


def message(tag: int, data: bytes) -> bytes:
    """Returns a length-delimited field of a protobuf message."""
    size, head = len(data), b""
    while size > 127:
        head, size = head + bytes([size & 127 | 128]), size >> 7
    return bytes([tag]) + head + bytes([size]) + data


def packed(data: bytes) -> bytes:
    """Compresses a body as remote write does."""
    return bytes(cramjam.snappy.compress_raw(data))


def named(size: int) -> bytes:
    """Returns a label with a metric name of the given length."""
    return message(0x0A, message(0x0A, b"__name__") + message(0x12, b"x" * size))


def metrics(points: bytes, resource: bytes = b"") -> bytes:
    """Returns an OTLP request with the data points of one gauge."""
    metric = message(0x12, message(0x0A, b"m") + message(0x2A, points))
    return message(0x0A, message(0x0A, resource) + message(0x12, metric))


def filled(line: Callable[[int], bytes]) -> bytes:
    """Returns lines up to the limit of a body."""
    found, size = list[bytes](), 0
    while size + len(one := line(len(found)) + b"\n") <= BODY:
        found.append(one)
        size += len(one)
    return b"".join(found)


ANSWERED: Final = (200, 400, 503)  # 503: the probe of an engine that has stopped
GETS: Final = [
    Case(statuses=ANSWERED),
    Case("x=1&" * (HEAD // 4), statuses=ANSWERED),
    Case(headers={"accept": "a/b;q=0.1," * 1_000}, statuses=ANSWERED),
    Case(body=b"x" * BODY, statuses=ANSWERED),
]
ONE_SERIES: Final = [*GETS, Case("partition=" + "0" * HEAD, statuses=(404,))]
LIMITED: Final = [*GETS, Case("limit=1000"), Case("limit=" + "9" * HEAD, statuses=(400,))]
POINT: Final = message(0x0A, b"\x19" + (10**15).to_bytes(8, "little") + b"\x21" + bytes(8))
KEYS: Final = message(0x0A, message(0x0A, b"host.name") + message(0x12, message(0x0A, b"x" * 60_000)))
CASES: Final[dict[str, list[Case]]] = {
    "GET /metrics": GETS,
    **{f"GET {path}": GETS for path in ("/-/healthy", "/healthz", "/-/ready", "/readyz", "/-/started", "/startupz")},
    "GET /": GETS,
    "GET /api/v1/openapi.json": GETS,
    "GET /api/v1/status": GETS,
    "GET /api/v1/config": GETS,
    "GET /api/v1/models": LIMITED,
    "GET /api/v1/anomalies": LIMITED,
    "GET /api/v1/alerts": [*LIMITED, Case("status=none", statuses=(400,)), Case("status=" + "x" * 17, statuses=(400,))],
    "GET /api/v1/series": [
        *LIMITED,
        Case("search=" + "*a" * 255 + "b"),
        Case("search=" + "*" * 513, statuses=(400,)),
        Case("after=" + "W1tb" * (HEAD // 4), statuses=(400,)),
        *(Case(f"sort={sort}&limit=1000") for sort in ("interest", "-skill", "coverage", "flagged", "newest")),
        Case("sort=skill&search=" + "*a" * 255 + "b"),
        Case("sort=none", statuses=(400,)),
        Case("sort=skill&after=" + "9" * (HEAD // 4), statuses=(400,)),
    ],
    "GET /api/v1/ingest": GETS,
    "GET /api/v1/series/{id:series}/forecast": ONE_SERIES,
    "GET /api/v1/series/{id:series}/anomalies": [*ONE_SERIES, Case("limit=1000")],
    "GET /api/v1/series/{id:series}/calibration": ONE_SERIES,
    "GET /api/v1/series/{id:series}/weights": ONE_SERIES,
    "GET /api/v1/series/{id:series}/history": [
        *ONE_SERIES,
        Case(f"limit={EVENTS}&horizon=1,2,3", limit=400 * EVENTS),  # 400 bytes per event as JSON
        Case(f"limit={EVENTS}&horizon=1" + ",1" * (HEAD // 2), statuses=(400,)),
        Case("&".join(["horizon=1"] * (HEAD // 10)), statuses=(400,)),
        Case("horizon=" + ",".join(map(str, range(1, HEAD // 6))), statuses=(400,)),
    ],
    "GET /api/v1/series/{id:series}/explain": [*ONE_SERIES, Case("horizon=" + "9" * HEAD, statuses=(400,))],
    "POST /api/v1/series/{id:series}/whatif": [
        Case(body=b"{}", statuses=(415,)),
        *(
            Case(body=body, headers=JSON, statuses=(400, 413))
            for body in (b"[" * BODY, b'{"values":{"a":[' + b"1," * (BODY // 2 - 16) + b"1]}}", b"[" * 200_000)
        ),
        Case(body=b'{"values":{"a":[' + b"1," * 100_000 + b"1]}}", headers=JSON, statuses=(409, 503)),
    ],
    "GET /api/v1/events": [Case(), Case("series=a&" * 16 + "partition="), Case("series=a&" * 1_000, statuses=(400,))],
    "POST /api/v1/events": [
        Case(body=b"\n" * BODY, headers=LINES),
        Case(body=lambda: gzip.compress(b"\n" * BODY), headers=ZIPPED),
        Case(body=lambda: gzip.compress(bytes(64 * BODY)), headers=ZIPPED, statuses=(413,)),
        Case(body=b" \r\n" * (BODY // 3), headers=LINES),
        Case(body=b"1\n" * (BODY // 2), headers=LINES, statuses=(400,)),
        Case(body=b"[" * BODY, headers=LINES, statuses=(400,)),
        Case(body=b'{"series":"' + b"x" * (BODY - 60) + b'","timestamp":1,"value":1}', headers=LINES, statuses=(400,)),
        Case(body=lambda: filled(lambda _: b'{"series":"x","timestamp":1,"value":1}'), headers=LINES),
        Case(body=lambda: filled(lambda at: event(at % 9, f"s{at}")), headers=LINES),
    ],
    "POST /v1/metrics": [
        # As for remote write; then a long name with many data points, JSON, and as many data points as fit.
        *(
            Case(body=data, headers=OTLP, statuses=(400, 413))
            for data in (
                lambda: b"\x0a\x00" * (BODY // 2),
                lambda: message(0x0A, b"\x12\x00" * (BODY // 2 - 4)),
                lambda: message(0x0A, message(0x12, b"\x12\x00" * (BODY // 2 - 8))),
                lambda: message(0x0A, message(0x12, message(0x12, b"\x2a\x00" * (BODY // 2 - 16)))),
                lambda: metrics(b"\x0a\x00" * (BODY // 2 - 32)),
                lambda: b"\xff" * BODY,
                lambda: metrics(POINT * 10_000, KEYS),
            )
        ),
        *(
            Case(body=data, headers=OTLP)
            for data in (
                lambda: metrics(message(0x0A, b"\x3a\x00" * (BODY // 2 - 32))),
                lambda: metrics(b"", b"\x0a\x00" * (BODY // 2 - 32)),
                lambda: metrics(message(0x0A, b"\x3a\x00" * 30_000) * 17),
                lambda: metrics(POINT * (BODY // 80)),
            )
        ),
        Case(body=lambda: gzip.compress(bytes(64 * BODY)), headers=ZIPPED | OTLP, statuses=(413,)),
        Case(body=b"[" * BODY, headers=JSON, statuses=(413,)),
        Case(body=b'{"resourceMetrics":[' + b"{}," * (BODY // 48 - 16) + b"{}]}", headers=JSON),
        Case(body=b'{"a":[' + b"{}," * (BODY // 48 - 16) + b"{}]}", headers=JSON),
    ],
    "POST /api/v1/write": [
        # Long labels with many samples; millions of messages of two bytes; fields that are skipped.
        Case(body=lambda: packed(message(0x0A, named(1_000_000) + message(0x12, b"\x10\x01") * 10_000)), headers=WRITE,
             statuses=(413,)),
        *(
            Case(body=lambda data=data: packed(data()), headers=WRITE, statuses=(400, 413))
            for data in (
                lambda: b"\x0a\x00" * (BODY // 2),
                lambda: b"\x0a\x02\x0a\x00" * (BODY // 4),
                lambda: b"\x0a\x02\x12\x00" * (BODY // 4),
                lambda: b"\x1a\x00" * (BODY // 2),
                lambda: b"\x08\x00" * (BODY // 2),
                lambda: message(0x0A, b"\x0a\x00" * (BODY // 2 - 4)),
                lambda: message(0x0A, b"\x12\x00" * (BODY // 2 - 4)),
                lambda: message(0x0A, b"\x1a\x00" * (BODY // 2 - 4)),
                lambda: b"\xff" * BODY,
            )
        ),
        Case(body=lambda: packed(bytes(16 * BODY)), headers=WRITE, statuses=(413,)),
        # Samples up to the limit: all of them too far ahead, then all of them accepted.
        *(
            Case(body=lambda time=time: encode([([("__name__", "x")], [(time, 1.0)] * (BODY // 80))]), headers=WRITE,
                 statuses=statuses)
            for time, statuses in ((10**14, (400,)), (1, (200,)))
        ),
    ],
}  # fmt: skip


@dataclass
class Face:
    """All endpoints of a daemon, with as many recorded events of a series as the settings permit."""

    routes: list[str]
    client: httpx.Client

    def ask(self, route: str, case: Case) -> int:
        """Returns the status of a response after reading it to its end, or to the first message of a stream."""
        method, _, path = route.partition(" ")
        path = path.replace("{id:series}", "a") + ("?" + case.query if case.query else "")
        body = case.body if isinstance(case.body, bytes) else case.body()
        with self.client.stream(method, path, content=body or None, headers=case.headers) as answer:
            for part in answer.iter_bytes():
                if part and route == "GET /api/v1/events":
                    break
            return answer.status_code


def routes_of(app: Starlette) -> list[str]:
    """Returns methods and paths; asserts that all routes are plain ones."""
    assert all(isinstance(route, Route) for route in app.routes)
    return [
        f"{method} {route.path}"
        for route in app.routes
        if isinstance(route, Route)
        for method in sorted((route.methods or set()) - {"HEAD"})
    ]


@pytest.fixture(scope="module")
def face(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Face]:
    """A server with all routes."""
    folder = tmp_path_factory.mktemp("bounds")
    script = [event(step, name) for step in range(40) for name in ("a", "b")]
    bench = Bench(folder, MemoryLog({"0": script}), {"input": {"push": True, "push_body": BODY}})
    live, log = RecentStore(2, EVENTS), PushLog(folder / "push", 1 << 30)
    bench.recent = live
    bench.run()
    rows, count = np.zeros(EVENTS, np.int64), np.arange(EVENTS)
    columns = {
        "timestamp_ms": count * 1000, "position": count, "step": count + 100, "value": np.sin(count),
        "anomaly": np.full(EVENTS, 0.5, np.float32), "flagged": count % 2 == 0,
        "interval_ms": np.full(EVENTS, 1000), "calendar": np.zeros(EVENTS, np.int64),
    }  # fmt: skip
    next(iter(live._rings.values())).append(
        rows, count, columns, np.random.default_rng(1).random((EVENTS, 3, 3), np.float32)
    )
    log.open(None)
    hub = Hub(live, lambda: status_of(bench.engine.status, bench.health), 16, bench.metrics)
    api = Api(live, bench.registry, bench.health, lambda: bench.engine.status, hub)
    push = Push(log, bench.config.input, bench.metrics, NOW)
    explanations = Explanations(live, bench.engine.situations)
    routes = [
        *page_routes(), *api_routes([*api.endpoints(), *explanations.endpoints(), *push.endpoints()]),
        *OtlpPush(push, bench.config.input).routes(),
    ]  # fmt: skip
    app = create_app(bench.metrics, bench.health, dict, routes=routes)
    guard = Guard(app, ReloadableTls(None), max_request_bytes=BODY, request_seconds=60, refused=lambda _: None)
    server = HttpServer(guard, "127.0.0.1", 0)
    with server, httpx.Client(base_url=server.url, trust_env=False, timeout=120) as client:
        yield Face(routes_of(app), client)
    hub.close()
    log.close()


def cases_of(route: str) -> list[Case]:
    """Returns the requests to a route; files of the page have the requests of the page."""
    return GETS if route.startswith("GET /page/") else CASES[route]


def resident(name: str) -> int:
    """Returns bytes of this process: VmRSS now, VmHWM the peak since its reset."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(name):
            return int(line.split()[1]) * 1024
    raise AssertionError(name)


def test_every_route_is_measured(face: Face) -> None:
    """Every route has a case."""
    assert CASES.keys() <= set(face.routes)
    assert all(cases_of(route) for route in face.routes)


def test_the_routes_are_those_of_the_daemon(face: Face, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The measured routes are those that `forecaster run` serves."""
    served = list[Starlette]()

    def noted(*arguments: Any, **named: Any) -> Starlette:
        served.append(create_app(*arguments, **named))
        return served[-1]

    monkeypatch.setattr(daemon_module, "create_app", noted)
    daemon_module.Daemon(load_config(None, {"input.push": True, "http.port": 0, "state.data_dir": tmp_path}))
    assert sorted(routes_of(served[0])) == sorted(face.routes)


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="the peak of the memory is read from /proc")
def test_bounds(face: Face) -> None:
    """No request to any route takes more memory or time than a constant times its limit."""
    worst: dict[str, tuple[float, float]] = {}
    gc.collect()
    gc.freeze()  # so that the collections below skip the objects that the tests have imported
    for route in face.routes:
        for number, case in enumerate(cases_of(route)):
            face.ask(route, Case(statuses=(200, 400, 415)))  # the first request's permanent allocations
            body = case.body if isinstance(case.body, bytes) else case.body()
            ready = Case(case.query, body, case.headers, case.statuses, case.limit)
            gc.collect()
            trim()
            Path("/proc/self/clear_refs").write_text("5")
            before, began = resident("VmRSS"), time.process_time()
            status = face.ask(route, ready)
            seconds, taken = time.process_time() - began, resident("VmHWM") - before
            worst[f"{route} {number}"] = taken / case.limit, seconds
            assert status in case.statuses, (route, number, status)
            assert taken <= FIXED + PER_BYTE * case.limit, (route, number, taken)
            assert seconds <= SECONDS, (route, number, seconds)
    gc.unfreeze()
    print(sorted(worst.items(), key=lambda one: -one[1][0])[:5], sorted(worst.items(), key=lambda one: -one[1][1])[:5])


SERIES = st.tuples(
    st.lists(st.tuples(st.text(max_size=4), st.text(max_size=30)), max_size=3),
    st.lists(st.tuples(st.integers(0, 10**13), st.floats(allow_nan=False, allow_infinity=False)), max_size=40),
)


@given(st.lists(SERIES, max_size=8), st.integers(64, 4000))
def test_the_lines_of_samples_are_bounded_before_they_are_made(series: list, most: int) -> None:
    """The samples accepted from any body never exceed the allowed bytes of lines, and equal the samples sent."""
    try:
        found, _ = RemoteWrite([], most).decode(encode(series))
    except TooLargeError:
        return
    lines = [orjson.dumps({"series": one.series, "timestamp": one.timestamp_ms, "value": one.value}) for one in found]
    assert sum(len(line) - len('{"series":,"timestamp":,"value":}') for line in lines) <= most
    expected = [pair for _, samples in series for pair in samples]
    assert [(one.timestamp_ms, one.value) for one in found] == expected
    assert all(isinstance(one, Sample) for one in found)


@given(st.binary(max_size=300))
def test_found_fields_are_those_of_the_library(data: bytes) -> None:
    """A body is valid exactly where it is for the protobuf library, except for groups, which proto3 lacks."""
    from google.protobuf.message import DecodeError

    from service.http.remote_write import _messages

    try:
        _messages().request.FromString(data)
        theirs = True
    except DecodeError:
        theirs = False
    try:
        RemoteWrite([], 1 << 20).decode(packed(data))
        ours = True
    except RemoteWriteError as error:
        ours = "which proto3 does not have" in str(error) and theirs
    assert ours == theirs
