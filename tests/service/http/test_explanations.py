"""Explanations and what-if questions over HTTP, answered by a running engine between two batches."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import jsonschema
import numpy as np
import orjson
import pytest
from parts import Bench, event

from forecaster import Forecaster, Model
from service.http import Api, Explanations, HttpServer, Hub, api_routes, create_app, openapi_document, status_of
from service.recent import NoAnswerError, RecentStore, Situations
from service.transport.memory import MemoryLog

STEPS = 120
COVARIATES = {"covariates": ["load"], "future_covariates": ["price", "promotion"]}


def record(step: int, series: str) -> bytes:
    """Returns an event with a covariate and known future values."""
    number = (step % 7) + 0.25 * (step % 3)
    ahead = {"price": [float(step % 5 + h) for h in range(3)], "promotion": [float(step % 9 == h) for h in range(3)]}
    time_ms = 1_700_000_000_000 + step * 60_000
    return orjson.dumps({"series": series, "timestamp": time_ms, "value": number, "load": step % 4, "future": ahead})


@dataclass
class Asked:
    """A server over an engine that runs until the test ends."""

    bench: Bench
    live: RecentStore
    client: httpx.Client
    states: dict[str, Forecaster]

    def state(self) -> bytes:
        """Returns everything that a snapshot of partition "0" holds."""
        forecaster = self.states["0"]
        arrays = forecaster.state()
        return repr(forecaster.header()).encode() + b"".join(arrays[name].tobytes() for name in sorted(arrays))

    def ask(self, path: str, status: int = 200, body: Any = None, **query: Any) -> Any:
        """Returns the JSON of an answer, after a check against the document."""
        if body is None:
            answer = self.client.get(f"/api/v1{path}", params=query)
        else:
            answer = self.client.post(f"/api/v1{path}", params=query, json=body)
        assert answer.status_code == status, answer.text
        document = openapi_document()
        template = "/api/v1/series/{id}/" + path.rpartition("/")[2]
        method = "get" if body is None else "post"
        content = document["paths"][template][method]["responses"][str(status)]["content"]["application/json"]
        jsonschema.Draft202012Validator(content["schema"] | {"components": document["components"]}).validate(
            answer.json()
        )
        return answer.json()


def running(folder: Path, script: list[bytes], **sections: Any) -> Iterator[Asked]:
    """Runs an engine over a script in a thread, and serves the API while it waits for more."""
    bench = Bench(folder, MemoryLog({"0": script}, ends=False), sections)
    initial = Model.initial(bench.config.library_model())
    noise = np.random.default_rng(0).normal(0, 0.3, initial.params.shape).astype(np.float32)
    bench.registry.promote(bench.registry.add(Model(initial.config, initial.params + noise)))  # uses all its inputs
    live = RecentStore(50, 200)
    bench.recent = live
    states: dict[str, Forecaster] = {}
    done = threading.Event()

    def on_unit(unit: Any) -> None:
        if unit.next_position >= len(script):
            done.set()

    bench.on_unit = on_unit
    thread = threading.Thread(target=bench.run)
    thread.start()
    hub = Hub(live, lambda: status_of(bench.engine.status, bench.health), 4, bench.metrics)
    api = Api(live, bench.registry, bench.health, lambda: bench.engine.status, hub)
    explanations = Explanations(live, bench.engine.situations)
    routes = api_routes([*api.endpoints(), *explanations.endpoints()])
    server = HttpServer(
        create_app(bench.metrics, bench.health, lambda: bench.engine.status, routes=routes), "127.0.0.1", 0
    )
    try:
        assert done.wait(120)
        found = live.forecaster("0")
        assert found is not None
        states["0"] = found
        with server, httpx.Client(base_url=server.url, trust_env=False, timeout=30) as client:
            yield Asked(bench, live, client, states)
    finally:
        bench.stop.set()
        thread.join(30)


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Asked]:
    """Two series with known future values; "young" has two events."""
    script = [record(step, name) for step in range(STEPS) for name in ("a", "b")]
    script += [record(STEPS, "young")]
    yield from running(
        tmp_path_factory.mktemp("explained"), script, input=COVARIATES,
        output={"format": "json", "limits": [{"series": "b", "least": 2.0}]},
    )  # fmt: skip


def test_explanation_of_the_published_forecast(asked: Asked) -> None:
    """The explained forecast is the published one bit for bit, its parts add up to it, and no byte changes."""
    before = asked.state()
    found = asked.ask("/series/a/explain")
    assert asked.state() == before
    published = asked.client.get("/api/v1/series/a/forecast").json()["forecast"]
    assert found["as_published"] is True
    assert found["complete"] is True
    assert (found["quantiles"], found["targets_ms"]) == (published["quantiles"], published["targets_ms"])
    weights = np.array([one["weights"] for one in found["members"]])
    members = np.array([one["quantiles"] for one in found["members"]])
    total = np.einsum("mh,mhq->hq", weights, members) + found["correction"] + found["adjustment"]
    assert np.allclose(total, found["quantiles"], atol=1e-5)
    assert [one["name"] for one in found["left_out"]][:3] == ["load", "price", "promotion"]
    assert found["words"].startswith("The forecast of a for ")


def test_clipped_as_published(asked: Asked) -> None:
    """Bounds of a series hold for its explanation, whose adjustment has what they change."""
    found = asked.ask("/series/b/explain", horizon=2)
    assert found["as_published"] is True
    assert min(min(row) for row in found["quantiles"]) >= 2.0
    assert "2 steps ahead" in found["words"]
    what_if = asked.ask("/series/b/whatif", body={"values": {"price": -100.0}})
    assert min(min(row) for row in what_if["quantiles"]) >= 2.0


def test_what_if(asked: Asked) -> None:
    """Beside the published forecast stands the one with other values; nothing changes."""
    before = asked.state()
    published = asked.client.get("/api/v1/series/a/forecast").json()["forecast"]["quantiles"]
    same = asked.ask("/series/a/whatif", body={"values": {}})
    assert same["actual"] == same["quantiles"] == published
    assert same["known"] == same["known_actual"]
    other = asked.ask("/series/a/whatif", body={"values": {"price": [50.0, None], "promotion": 1}})
    assert asked.state() == before
    assert other["actual"] == published
    assert other["known"]["promotion"] == [1.0, 1.0, 1.0]
    assert other["quantiles"] != published
    assert other["known"]["price"] == [50.0, *same["known_actual"]["price"][1:]]
    assert asked.ask("/series/a/explain")["as_published"] is True


@pytest.mark.parametrize(
    ("path", "status", "body", "message"),
    [
        ("/series/nobody/explain", 404, None, "which is not known"),
        ("/series/young/explain", 409, None, "has no forecast yet"),
        ("/series/a/explain?horizon=4", 400, None, "horizon: got 4, expected 1 to 3"),
        ("/series/a/whatif", 400, {"values": {"rain": 1}}, "one of the known future covariates: price, promotion"),
        ("/series/a/whatif", 400, {"values": {"price": [1, 2, 3, 4]}}, "got 4 values, expected 1 to 3"),
        ("/series/a/whatif", 400, {"values": {"price": "high"}}, 'price: got "high", expected'),
        ("/series/a/whatif", 400, {"price": 1}, "got a body with price, expected"),
        ("/series/young/whatif", 409, {"values": {}}, "has no forecast yet"),
    ],
)
def test_refused(asked: Asked, path: str, status: int, body: Any, message: str) -> None:
    """What cannot be answered says what was got and what is expected."""
    path, _, query = path.partition("?")
    found = asked.ask(path, status, body, **dict([query.split("=")] if query else []))
    assert message in found["error"]["message"]


def test_body(asked: Asked) -> None:
    """The body must be JSON, with that media type, and not larger than needed."""
    url = "/api/v1/series/a/whatif"
    assert asked.client.post(url, content=b"{}").status_code == 415
    as_json = {"content-type": "application/json"}
    assert asked.client.post(url, content=b"{", headers=as_json).status_code == 400
    assert asked.client.post(url, content=b" " * 300_000, headers=as_json).status_code == 413


def test_a_network_without_known_future_values(tmp_path: Path) -> None:
    """Without known future covariates a what-if question says where they are configured."""
    for one in running(tmp_path, [event(step) for step in range(10)]):
        found = one.ask("/series/a/whatif", 409, {"values": {"price": 1}})
        assert "input.future_covariates" in found["error"]["message"]
        assert one.ask("/series/a/explain")["as_published"] is True


def test_an_engine_that_does_not_answer() -> None:
    """A question waits for a bounded time, and only so many wait at once."""
    situations = Situations()
    with pytest.raises(NoAnswerError, match=r"did not answer within 0.01 s"):
        situations.ask("0", "a", 0.01)
    threads = [threading.Thread(target=_ask, args=(situations,)) for _ in range(8)]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + 10
    while len(situations._waiting) < 8 and time.monotonic() < deadline:
        time.sleep(0.001)
    with pytest.raises(NoAnswerError, match="8 questions wait"):
        situations.ask("0", "a", 0.01)

    def refuse(partition: str, series: str) -> Any:
        msg = f"{partition} {series}"
        raise NoAnswerError(msg)

    while situations._waiting:
        situations.answer(refuse)
    for thread in threads:
        thread.join(10)
        assert not thread.is_alive()


def _ask(situations: Situations) -> None:
    with pytest.raises(NoAnswerError, match="0 a"):
        situations.ask("0", "a", 60.0)
