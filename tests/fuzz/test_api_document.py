"""The HTTP interface of a running daemon against its published OpenAPI document.

schemathesis sends requests that the document allows, and others; the document must describe every answer.
`make fuzz` is the long form: more requests, new ones every time, and a table of their numbers.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

import httpx
import orjson
import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis import Case, GenerationMode, checks
from schemathesis.schemas import APIOperation
from targets import broken, targets

from service.cli._daemon import Daemon
from service.config.sections import Config
from service.http import openapi_document

EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "0"))
HOW = settings(
    max_examples=EXAMPLES or 5,
    derandomize=not EXAMPLES,
    database=None,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
SERIES = ("a", 'load{host="b/c",x="ä"}')
MODEL = {"hidden_size": 16, "head_size": 16, "horizon": 3, "quantiles": [0.1, 0.5, 0.9]}
SCHEMA = schemathesis.openapi.from_dict(openapi_document())
OPERATIONS = {found.ok().label: found.ok() for found in SCHEMA.get_all_operations()}
BODIES = {"application/x-protobuf": ("remote write", "snappy")}
MODES = {"as the document says": GenerationMode.POSITIVE, "otherwise": GenerationMode.NEGATIVE}
# Acceptance of all allowed requests is not checked: the document declares a body as a string, and not any is events.
CHECKS = [
    checks.not_a_server_error,
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_headers_conformance,
    checks.response_schema_conformance,
    checks.negative_data_rejection,
    checks.unsupported_method,
]


@schemathesis.serializer(*{body.media_type for one in OPERATIONS.values() for body in one.body})
def as_it_is(_context: object, value: Any) -> bytes:
    """Returns a body as bytes; encodes any other value as text."""
    return value if isinstance(value, bytes) else str(value).encode("utf-8", "surrogatepass")


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Base URL of a daemon that accepts pushed events and has observed two series."""
    folder, stop = tmp_path_factory.mktemp("daemon"), threading.Event()
    daemon = Daemon(
        Config.model_validate({
            "input": {"push": True, "push_spool": 1 << 28}, "model": MODEL, "state": {"data_dir": str(folder)},
            "http": {"port": 0, "stream_clients": 10_000, "max_connections": 10_000}, "log": {"level": "error"},
        })
    )  # fmt: skip
    running = threading.Thread(target=daemon.run, args=(stop,))
    running.start()
    try:
        ends = time.monotonic() + 240
        while not daemon._http.url or httpx.get(f"{daemon._http.url}/readyz", trust_env=False).status_code != 200:
            assert time.monotonic() < ends
            time.sleep(0.01)
        lines = [
            {"series": name, "timestamp": 1_767_571_200_000 + 60_000 * step, "value": step % 7}
            for step in range(30)
            for name in SERIES
        ]
        with httpx.Client(base_url=f"{daemon._http.url}/api/v1", trust_env=False, timeout=30) as client:
            body = b"\n".join(orjson.dumps(line) for line in lines)
            assert client.post("/events", content=body, headers={"content-type": "application/x-ndjson"}).is_success
            while client.get("/series").json()["total"] < len(SERIES):
                assert time.monotonic() < ends
                time.sleep(0.01)
        yield daemon._http.url
    finally:
        stop.set()
        running.join()


def cases(operation: APIOperation[Any, Any, Any, Any], mode: GenerationMode) -> st.SearchStrategy[Case]:
    """Draws requests for known and unknown series, with bodies that are nearly events and arbitrary ones."""
    drawn = operation.as_strategy(mode)
    if "{id}" in operation.path:
        for name in SERIES:
            drawn |= operation.as_strategy(mode, path_parameters={"id": name})
            drawn |= operation.as_strategy(mode, path_parameters={"id": name}, query={"partition": "push"})
    for body in operation.body if mode is GenerationMode.POSITIVE else ():
        kind = body.media_type
        reader, encoding = BODIES.get(kind, ("JSON events", "identity"))
        seeds = targets()[reader].seeds
        for bodies in (st.sampled_from(seeds), broken(seeds)):
            drawn |= bodies.flatmap(
                lambda data, kind=kind, named={"Content-Encoding": encoding}: operation.as_strategy(
                    mode, body=data, media_type=kind, headers=named
                )
            )
    return drawn


@pytest.mark.parametrize(
    ("label", "mode"),
    [
        (label, mode)
        for label, one in OPERATIONS.items()
        for mode in MODES
        if mode == "as the document says" or [*one.query, *one.path_parameters, *one.body]
    ],
)
def test_every_answer_is_described(url: str, label: str, mode: str) -> None:
    """Status, headers and contents of every answer conform to the document, and there is no server error."""
    seen: Counter[str] = Counter()

    with requests.Session() as session:
        session.trust_env = False

        @HOW
        @given(cases(OPERATIONS[label], MODES[mode]))
        def attempt(case: Case) -> None:
            with session.send(
                session.prepare_request(requests.Request(**_request(case, url))), stream=True, timeout=30
            ) as answer:
                if answer.headers["content-type"].startswith("text/event-stream"):
                    assert answer.status_code == 200  # not read, as the stream never ends
                else:
                    case.validate_response(answer, checks=CHECKS)
                seen["taken" if answer.ok else "refused"] += 1

        attempt()
    assert seen
    if EXAMPLES:
        sys.stdout.write(
            f"\n| {label}, {mode} | {sum(seen.values()):,} | {seen['taken']:,} | {seen['refused']:,} | 0 |\n"
        )


def _request(case: Case, url: str) -> dict[str, Any]:
    named = case.as_transport_kwargs(base_url=url)
    return {
        key: value
        for key, value in named.items()
        if key in ("method", "url", "headers", "cookies", "params", "data", "json", "files")
    }


@pytest.mark.parametrize("path", sorted({one.path for one in OPERATIONS.values()}))
def test_other_methods(url: str, path: str) -> None:
    """A method that the document does not name is refused, and the answer lists the allowed methods."""
    named = {one.method.upper() for one in OPERATIONS.values() if one.path == path}
    with httpx.Client(base_url=url, trust_env=False, timeout=30) as client:
        for method in {"GET", "POST", "PUT", "PATCH", "DELETE", "TRACE", "OPTIONS", "QUERY"} - named:
            answer = client.request(method, path.replace("{id}", "a"))
            assert answer.status_code == 405
            assert set(answer.headers["allow"].split(", ")) - {"HEAD"} == named
            assert answer.json()["error"]["code"] == "method_not_allowed"
