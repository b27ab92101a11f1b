"""The endpoints for pushed events, served over a spool of their own."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import jsonschema
from parts import TurnedClock, config_of
from prometheus_client import CollectorRegistry

from service.http import Guard, HttpServer, Push, ReloadableTls, api_routes, create_app, openapi_document
from service.monitoring.health import Health
from service.monitoring.metrics import Metrics
from service.schemas.frames import SchemaFrames
from service.sources.push_log import PushLog

DOCUMENT = openapi_document()
LINES = {"content-type": "application/x-ndjson"}
NOW = TurnedClock(1_700_100_000.0)


class Door:
    """The endpoints behind the guard, and the spool.

    Args:
        folder: of the spool.
        frames: decodes records in the wire format of a schema registry.
        settings: keys of `[input]`.
    """

    def __init__(self, folder: Path, frames: SchemaFrames | None = None, **settings: Any) -> None:
        spool = settings.get("push_spool", 1 << 20)
        config = config_of(folder, input={"push": True, "push_body": 1 << 16, "max_series_bytes": 1 << 16, **settings})
        self.metrics, self.log = Metrics(CollectorRegistry()), PushLog(folder / "push", spool)
        self.push = Push(self.log, config.input, self.metrics, NOW, frames)
        app = create_app(
            self.metrics, Health(TurnedClock()), dict,
            routes=api_routes(self.push.endpoints()),
        )  # fmt: skip
        guard = Guard(app, ReloadableTls(None), max_request_bytes=1 << 20, request_seconds=10, refused=lambda _: None)
        self.server = HttpServer(guard, "127.0.0.1", 0)
        self.client: httpx.Client

    def post(self, path: str, body: bytes, headers: dict[str, str], status: int = 200) -> Any:
        """Returns the JSON of a response after validating it against the document."""
        answer = self.client.post(f"/api/v1/{path}", content=body, headers=headers)
        assert answer.status_code == status, answer.text
        responses = DOCUMENT["paths"][f"/api/v1/{path}"]["post"]["responses"]
        schema = responses[str(status)]["content"]["application/json"]["schema"]
        jsonschema.Draft202012Validator(schema | {"components": DOCUMENT["components"]}).validate(answer.json())
        if status in (429, 503):
            assert int(answer.headers["retry-after"]) > 0
        return answer.json()

    def begin(self) -> None:
        """Sets the start of the counts."""
        self.start, self.before = self.log.end, defaultdict[tuple[str, str], float](float)
        for family in self.metrics.registry.collect():
            for sample in family.samples:
                self.before[sample.name, str(sample.labels)] = sample.value

    def spooled(self) -> list[bytes]:
        """Returns the lines spooled since `begin`."""
        found = self.log.read(self.start, 100_000)
        return [] if found is None else found.values

    def counted(self, name: str, **labels: str) -> float:
        """Returns the increase of a counter since `begin`."""
        found = self.metrics.registry.get_sample_value(f"forecaster_{name}", labels)
        assert found is not None
        return found - self.before[f"forecaster_{name}", str(labels)]


def opened(folder: Path, frames: SchemaFrames | None = None, **settings: Any) -> Iterator[Door]:
    """Serves the endpoints."""
    door = Door(folder, frames, **settings)
    door.log.open(None)
    door.begin()
    with door.server, httpx.Client(base_url=door.server.url, trust_env=False, timeout=30) as door.client:
        yield door
    door.push.close()
    door.log.close()
