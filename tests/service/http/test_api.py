"""The JSON API over a real engine: responses match what was published and the schemas of the OpenAPI document."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import jsonschema
import orjson
import pytest
from openapi_spec_validator import validate
from parts import Bench, event

from service.http import Api, HttpServer, Hub, api_routes, create_app, openapi_document, status_of
from service.recent import RecentStore
from service.recent.event_rings import EventRings
from service.transport.memory import MemoryLog

ODD = 'node_load1{instance="a/b:9100",x="ä \n?#%2F"}'
STEPS = 60


@dataclass
class Served:
    """An engine that has run, and the HTTP server over its state."""

    bench: Bench
    live: RecentStore
    client: httpx.Client
    document: dict[str, Any]

    def get(self, path: str, status: int = 200, **query: Any) -> Any:
        """Returns the JSON of a response after validating it against the document."""
        answer = self.client.get(f"/api/v1{path}", params=query)
        assert answer.status_code == status, answer.text
        self.check(path, answer)
        return answer.json()

    def check(self, path: str, answer: httpx.Response, method: str = "get") -> None:
        """Asserts that a response matches the document's schema for its path and status."""
        known = [one for one in self.document["paths"] if _fits(one.removeprefix("/api/v1"), path)]
        responses = self.document["paths"][known[0]][method]["responses"]
        schema = responses[str(answer.status_code)]["content"]["application/json"]["schema"]
        jsonschema.Draft202012Validator(schema | {"components": self.document["components"]}).validate(answer.json())


def _fits(template: str, path: str) -> bool:
    before, found, after = template.partition("{id}")
    return template == path if not found else path.startswith(before) and path.endswith(after)


def served(
    folder: Path, script: dict[str, list[bytes]] | MemoryLog, series: int = 200, events: int = 500
) -> Iterator[Served]:
    """Runs an engine over a script to its end, and serves its recorded state."""
    bench = Bench(folder, script if isinstance(script, MemoryLog) else MemoryLog(script))
    live = RecentStore(series, events)
    bench.recent = live
    bench.run()
    hub = Hub(live, lambda: status_of(bench.engine.status, bench.health), 16, bench.metrics)
    api = Api(
        live,
        bench.registry,
        bench.health,
        lambda: bench.engine.status,
        hub,
        lambda: bench.config.model_dump(mode="json"),
    )
    routes = api_routes(api.endpoints())
    server = HttpServer(
        create_app(bench.metrics, bench.health, lambda: bench.engine.status, routes=routes), "127.0.0.1", 0
    )
    with server, httpx.Client(base_url=server.url, trust_env=False, timeout=30) as client:
        yield Served(bench, live, client, client.get("/api/v1/openapi.json").json())


@pytest.fixture(scope="module")
def face(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """Three series in one partition; "a" has an outlier near the end and a missing value."""
    script = []
    for step in range(STEPS):
        value = 1e6 if step == STEPS - 5 else (math.nan if step == 20 else None)
        script += [event(step, "a", value), event(step, ODD), event(step, f"rare-{step:02d}")]
    yield from served(tmp_path_factory.mktemp("api"), {"0": script})


def published(face: Served, series: str) -> list[Any]:
    """Returns the forecasts that the engine published for a series."""
    found = [orjson.loads(one) for unit in face.bench.units for one in unit.forecasts]
    return [one for one in found if one["series"] == series and "quantiles" in one]


class TestSeries:
    """Listing, searching, paging."""

    def test_pages(self, face: Served) -> None:
        """All pages together list every series once, in order."""
        found, after = [], ""
        while after is not None:
            page = face.get("/series", limit=7, after=after)
            assert page["total"] == STEPS + 2
            found += [row["id"] for row in page["series"]]
            after = page["next"]
        assert found == sorted([*(f"rare-{step:02d}" for step in range(STEPS)), "a", ODD])

    @pytest.mark.parametrize(
        ("search", "total"), [("RARE-0", 10), ("rare-?0", 6), ("instance", 1), ("[", 0), ("zzz", 0)]
    )
    def test_search(self, face: Served, search: str, total: int) -> None:
        """A search matches a part of the name in any case, or a glob."""
        assert face.get("/series", search=search)["total"] == total

    def test_last_event(self, face: Served) -> None:
        """A row shows the last event of its series."""
        (row,) = face.get("/series", search="rare-07")["series"]
        assert row["last"] == {"timestamp_ms": 1_700_000_000_000 + 7 * 60_000, "value": 0.25, "anomaly": None}


class TestSeriesDetails:
    """Details of one series."""

    @pytest.mark.parametrize("series", ["a", ODD])
    def test_forecast(self, face: Served, series: str) -> None:
        """The forecast equals the last published one, digit for digit, whatever the name of the series."""
        found = face.get(f"/series/{quote(series, safe='')}/forecast")
        expected = published(face, series)[-1]
        assert found["series"] == series
        assert found["forecast"]["quantiles"] == expected["quantiles"]
        assert found["forecast"]["levels"] == expected["levels"]
        assert found["forecast"]["interval_ms"] == expected["interval_ms"] == 60_000
        assert found["forecast"]["origin_ms"] == 1_700_000_000_000 + (STEPS - 1) * 60_000
        assert found["forecast"]["model"].startswith(expected["model"])

    def test_history(self, face: Served) -> None:
        """Every event is returned with the earlier forecasts for it, at the requested horizons."""
        found = face.get("/series/a/history", horizon="1,3")
        past = published(face, "a")
        assert [one["timestamp_ms"] for one in found["events"]] == [
            1_700_000_000_000 + step * 60_000 for step in range(STEPS)
        ]
        assert found["events"][20]["value"] is None
        assert [one["anomaly"] for one in found["events"]] == [one["anomaly"] for one in past]
        for step, one in enumerate(found["events"]):
            expected = [past[step - h]["quantiles"][h - 1] if step >= h else None for h in (1, 3)]
            assert one["forecasts"] == expected

    def test_window(self, face: Served) -> None:
        """A window is given in ISO-8601 or milliseconds; a limit keeps the newest events of the window."""
        query = {"from": 1_700_000_000_000 + 10 * 60_000, "to": "2023-11-14T22:33:20Z"}
        whole = face.get("/series/a/history", **query)
        assert len(whole["events"]) == 11
        assert not whole["more"]
        newest = face.get("/series/a/history", limit=2, **query)
        assert newest["events"] == whole["events"][-2:]
        assert newest["more"]

    def test_expected_range_of_anomalies(self, face: Served) -> None:
        """A flagged event has the outermost quantiles of the forecast that was made for it."""
        events = {one["position"]: one for one in face.get("/series/a/history")["events"]}
        rows = [one for one in face.get("/series/a/anomalies")["anomalies"] if one["kind"] == "flagged"]
        assert rows
        for row in rows:
            forecast = events[row["position"]]["forecasts"][0]
            assert (row["expected_low"], row["expected_high"]) == pytest.approx((forecast[0], forecast[-1]), rel=1e-6)

    def test_anomalies(self, face: Served) -> None:
        """The outlier is listed for its series and for all series, and flagged in the history."""
        (one,) = face.get("/series/a/anomalies")["anomalies"]
        assert (one["value"], one["kind"]) == (1e6, "flagged")
        assert one in face.get("/anomalies")["anomalies"]
        flagged = [e for e in face.get("/series/a/history")["events"] if e["flagged"]]
        assert [e["timestamp_ms"] for e in flagged] == [one["timestamp_ms"]]

    def test_calibration(self, face: Served) -> None:
        """The calibration counts equal the counts computed from the history."""
        history = face.get("/series/a/history", horizon=2)["events"]
        pairs = [(e["value"], e["forecasts"][0]) for e in history if e["forecasts"][0] and e["value"] is not None]
        found = next(one for one in face.get("/series/a/calibration")["horizons"] if one["horizon"] == 2)
        assert found["scored"] == len(pairs) == STEPS - 3
        assert found["intervals"][0]["inside"] == sum(q[0] <= y <= q[2] for y, q in pairs)
        assert [one["at_or_below"] for one in found["levels"]] == [sum(y <= q[j] for y, q in pairs) for j in range(3)]

    def test_errors_beside_naive(self, face: Served) -> None:
        """Errors of median and seasonal naive equal those recomputed from the history."""
        season = min(face.bench.config.of_group("").library_model().seasons, default=1)
        events = face.get(f"/series/{quote(ODD, safe='')}/history", horizon=2)["events"]
        (found,) = [
            one
            for one in face.get(f"/series/{quote(ODD, safe='')}/calibration")["horizons"]
            if one["horizon"] == 2
        ]  # fmt: skip
        back = -(-2 // season) * season
        pairs = [
            (abs(one["value"] - one["forecasts"][0][1]), abs(one["value"] - events[at - back]["value"]))
            for at, one in enumerate(events)
            if at >= back and one["forecasts"][0] is not None
        ]
        assert found["paired"] == len(pairs) > 0
        assert found["error"] == pytest.approx(sum(one for one, _ in pairs) / len(pairs))
        assert found["naive_error"] == pytest.approx(sum(one for _, one in pairs) / len(pairs))

    def test_quality(self, face: Served) -> None:
        """The figures of a series are the same in every order of the list and with its forecast."""
        for series in ("a", ODD):
            rows = [
                row["quality"]
                for sort in ("name", "interest", "-skill", "coverage", "flagged", "newest")
                for row in face.get("/series", sort=sort, limit=1000)["series"]
                if row["id"] == series
            ]
            assert rows == [face.get(f"/series/{quote(series, safe='')}/forecast")["quality"]] * 6
            assert rows[0]["scored"] > 30
        found, after = [], ""
        while after is not None:
            page = face.get("/series", sort="flagged", limit=7, after=after)
            found += [row["id"] for row in page["series"]]
            after = page["next"]
        assert len(found) == len(set(found)) == STEPS + 2
        assert found[0] == "a"

    def test_ingest(self, face: Served) -> None:
        """Events are counted by status."""
        found = face.get("/ingest")
        assert set(found["events"]) >= {"ok", "missing", "late", "duplicate"}
        assert found["rejected"] == []

    def test_weights(self, face: Served) -> None:
        """Ensemble weights add up to one at every horizon."""
        found = face.get("/series/a/weights")
        assert found["experts"][:2] == ["network", "trend"]
        assert [one["horizon"] for one in found["horizons"]] == [1, 2, 3]
        assert all(abs(sum(one["weights"]) - 1) < 1e-6 for one in found["horizons"])


class TestOthers:
    """Models, status, configuration, the document, errors."""

    def test_models(self, face: Served) -> None:
        """The champion is the first model, by the decision "initial"."""
        found = face.get("/models")
        assert found["champion"] == found["models"][0]["sha256"]
        assert found["models"][0]["role"] == "champion"
        assert [one["action"] for one in found["decisions"]] == ["initial"]

    def test_status(self, face: Served) -> None:
        """The status reports the engine's counters."""
        assert face.get("/status")["partitions"]["0"]["events"] == 3 * STEPS

    @pytest.mark.parametrize(
        ("path", "query", "status", "code", "text"),
        [
            ("/series/nobody/forecast", {}, 404, "unknown_series", "'nobody'"),
            ("/series/a/forecast", {"partition": "9"}, 404, "unknown_series", "partition '9'"),
            ("/series/a/history", {"limit": "0"}, 400, "bad_request", "limit: got '0', expected a whole number from 1"),
            ("/series/a/history", {"limit": "²"}, 400, "bad_request", "limit"),
            ("/series/a/history", {"from": "noon"}, 400, "bad_request", "from: got 'noon', expected an ISO-8601"),
            ("/series/a/history", {"horizon": "7"}, 400, "bad_request", "expected some of 1, 2, 3"),
            (
                "/series/a/history",
                {"horizon": "1,2,1"},
                400,
                "bad_request",
                "got 1 more than once, expected each number",
            ),
            ("/series/a/history", {"horizon": ["2", "2"]}, 400, "bad_request", "horizon: got 2 more than once"),
            ("/series", {"search": "x" * 513}, 400, "bad_request", "search: got 513 characters, expected at most 512"),
            ("/series", {"limit": "1001"}, 400, "bad_request", "expected at most 1000"),
            ("/series", {"after": "x"}, 400, "bad_request", "`next`"),
            ("/series", {"sort": "worst"}, 400, "bad_request", "sort: got 'worst', expected one of name, interest"),
            ("/series", {"sort": "skill", "after": "x"}, 400, "bad_request", "`next` of an answer in the same order"),
            ("/series", {"serach": "x"}, 400, "bad_request", "got the parameter 'serach', expected search"),
        ],
    )
    def test_errors(self, face: Served, path: str, query: dict[str, Any], status: int, code: str, text: str) -> None:
        """The message of an error states the value received and the value expected."""
        error = face.get(path, status, **query)["error"]
        assert error["code"] == code
        assert text in error["message"]

    def test_document(self, face: Served) -> None:
        """The served document and the reference are valid OpenAPI 3.1; the reference has the push endpoints, too."""
        validate(face.document)
        validate(openapi_document())
        assert face.document["paths"].keys() <= openapi_document()["paths"].keys()

    def test_config(self, face: Served) -> None:
        """The settings have an endpoint."""
        assert face.get("/config")["model"]["horizon"] == 3

    def test_no_such_path(self, face: Served) -> None:
        """An unknown path or method is refused with an error in JSON."""
        assert face.client.get("/api/v1/nothing").json()["error"]["code"] == "not_found"
        refused = face.client.delete("/api/v1/series")
        assert (refused.status_code, refused.headers["allow"]) == (405, "GET, HEAD")
        assert refused.json()["error"]["code"] == "method_not_allowed"


class TestPlaces:
    """Which series are recorded."""

    def test_asked_for(self, tmp_path: Path) -> None:
        """The first series have slots; a requested one takes another's slot, and its history begins then."""
        script = [event(step, name) for step in range(10) for name in "abc"]
        for face in served(tmp_path, {"0": script}, series=2, events=16):
            assert [row["detailed"] for row in face.get("/series")["series"]] == [True, True, False]
            assert face.get("/series/b/forecast")["forecast"] is not None
            late = face.get("/series/c/forecast")
            assert (late["detailed"], late["forecast"]) == (False, None)
            assert [row["detailed"] for row in face.get("/series")["series"]] == [False, True, False]

    def test_ring(self, tmp_path: Path) -> None:
        """The newest events of a series are kept, however the events were split into batches."""
        script = [event(step, "a") for step in range(100)]
        for face in served(tmp_path, {"0": script}, events=16):
            found = face.get("/series/a/history")["events"]
            assert [one["position"] for one in found] == list(range(84, 100))
            assert found[0]["forecasts"] == [None]
            assert found[1]["forecasts"] == [published(face, "a")[84]["quantiles"][0]]

    def test_restart(self, tmp_path: Path) -> None:
        """After a restart the values are restored from the training history, before any event arrives."""
        script = {"0": [event(step, "a") for step in range(50)]}
        for face in served(tmp_path, script):
            before, log = face.get("/series/a/history")["events"], face.bench.log
            for again in served(tmp_path, log):
                after = again.get("/series/a/history")["events"]
                assert len(after) == 50
                assert [one["timestamp_ms"] for one in after] == [one["timestamp_ms"] for one in before]

    def test_defect(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """An event that cannot be recorded is counted, and the engine goes on."""
        bench, failures = Bench(tmp_path, MemoryLog({"0": [event(step) for step in range(5)]})), []
        bench.recent = RecentStore(5, 16, lambda: failures.append(1))

        def broken(*_: object) -> None:
            msg = "a defect"
            raise ValueError(msg)

        monkeypatch.setattr(EventRings, "append", broken)
        bench.run()
        assert failures
        assert len(bench.units[-1].forecasts)
