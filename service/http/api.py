"""/api/v1: what the daemon knows, as JSON. One table says what there is; routes and OpenAPI document follow from it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from service.http import schemas as answers
from service.http import views
from service.http.endpoint import Endpoint
from service.http.parameters import Parameter
from service.http.stream import EventStream, Hub
from service.monitoring.health import Health
from service.recent import RecentStore
from service.registry.models import Registry

PARTITION = Parameter("partition", "The partition of the series, where several have one of that name.", default="")
LIMIT = Parameter("limit", "How many, at most.", "number", 100, 1, 1000)


_EVENTS = (
    "Server-sent events: `event` (a LiveEvent) for every event of the series that are named, `anomaly` (an AnomalyRow) "
    "of all series, `status` (a StatusAnswer) once a second, `lost` (a LiveLost) where the listener was too slow, or "
    "where a series came later than it."
)


class Api:
    """The endpoints that read. What may take longer than a moment is made in a thread, so that probes are answered.

    Args:
        live: what is remembered.
        registry: models.
        health: what the probes say.
        status: the engine's own words.
        hub: those who listen.
        settings: those in force, JSON-able, with stars for secrets.
    """

    def __init__(
        self,
        live: RecentStore,
        registry: Registry,
        health: Health,
        status: Callable[[], Mapping[str, Any]],
        hub: Hub,
        settings: Callable[[], Mapping[str, Any]] = dict,
    ) -> None:
        self._live, self._registry, self._health = live, registry, health
        self._status, self._hub, self._settings = status, hub, settings

    def endpoints(self) -> list[Endpoint]:
        """The table."""
        one = (404,)
        search = Parameter("search", "A part of the identifier in any case, or a glob (* ? [).", default="", most=512)
        after = Parameter("after", "`next` of the page before.", default="")
        whose = Parameter("partition", "Only series of this partition.", default="")
        newest = Parameter("limit", "Events at most, the newest.", "number", 200, 1, 20_000)
        window = (
            Parameter("from", "The earliest event time.", "time"), Parameter("to", "The latest event time.", "time")
        )  # fmt: skip
        horizon = Parameter(
            "horizon", "Horizons whose forecasts are wanted with the events, each once.", "numbers", [1], 1
        )
        heard = Parameter(
            "series", "A series to hear of; repeat it for more. Unknown ones may come.", "texts", None, 0, 16
        )
        return [
            Endpoint("/series", "Series that have state: searched, a page at a time.", self.series,
                     answers.SeriesPage, (search, whose, LIMIT, after)),
            Endpoint("/series/{id}/forecast", "The newest forecast of a series.", self.forecast,
                     answers.SeriesForecast, (PARTITION,), failures=one),
            Endpoint("/series/{id}/history", "Recent events, with what had been forecast for them.", self.history,
                     answers.SeriesHistory, (PARTITION, newest, *window, horizon), failures=one),
            Endpoint("/series/{id}/anomalies", "Recent anomalies of a series, the newest first.", self.anomalies_of,
                     answers.AnomalyList, (PARTITION, LIMIT), failures=one),
            Endpoint("/series/{id}/calibration", "Reliability of the intervals over the remembered events.",
                     self.calibration, answers.SeriesCalibration, (PARTITION,), failures=one),
            Endpoint("/series/{id}/weights", "What the mixture of experts relies on for a series.", self.weights,
                     answers.SeriesWeights, (PARTITION,), failures=(404, 503)),
            Endpoint("/anomalies", "Recent anomalies of all series, the newest first.", self.anomalies,
                     answers.AnomalyList, (whose, LIMIT)),
            Endpoint("/models", "Champion, challengers and what was decided about them.", self.models,
                     answers.Models, (LIMIT,)),
            Endpoint("/status", "The state of the daemon.", self.status, answers.StatusAnswer),
            Endpoint("/config", "The settings in force, with stars for secrets.", self.config, "application/json"),
            Endpoint("/events", _EVENTS, self.events, "text/event-stream", (heard, PARTITION), failures=(503,)),
        ]  # fmt: skip

    async def series(self, _request: Request, found: Mapping[str, Any]) -> BaseModel:
        """A page of series."""
        asked = found["search"], found["partition"], found["limit"], found["after"]
        return await asyncio.to_thread(views.series_page, self._live, *asked)

    async def forecast(self, request: Request, found: Mapping[str, Any]) -> BaseModel:
        """The newest forecast."""
        return views.forecast(self._live, *self._one(request, found))

    async def history(self, request: Request, found: Mapping[str, Any]) -> BaseModel:
        """Recent events."""
        series, partition = self._one(request, found)
        window, limit, horizon = (found["from"], found["to"]), found["limit"], found["horizon"]
        return await asyncio.to_thread(views.history, self._live, series, partition, limit, window, horizon)

    async def anomalies_of(self, request: Request, found: Mapping[str, Any]) -> BaseModel:
        """Of one series."""
        series, partition = self._one(request, found)
        return views.anomalies(self._live.anomalies(partition, series), found["limit"])

    async def anomalies(self, _request: Request, found: Mapping[str, Any]) -> BaseModel:
        """Of all series."""
        return views.anomalies(self._live.anomalies(found["partition"]), found["limit"])

    async def calibration(self, request: Request, found: Mapping[str, Any]) -> BaseModel:
        """Reliability."""
        return await asyncio.to_thread(views.calibration, self._live, *self._one(request, found))

    async def weights(self, request: Request, found: Mapping[str, Any]) -> BaseModel:
        """Experts."""
        return await asyncio.to_thread(views.weights, self._live, *self._one(request, found))

    async def models(self, _request: Request, found: Mapping[str, Any]) -> BaseModel:
        """The registry, read from its folder."""
        return await asyncio.to_thread(views.models, self._registry, found["limit"])

    async def status(self, _request: Request, _found: Mapping[str, Any]) -> BaseModel:
        """What the engine says, and the health."""
        return status_of(self._status(), self._health)

    async def config(self, _request: Request, _found: Mapping[str, Any]) -> Response:
        """What the configuration has come to."""
        return JSONResponse(self._settings(), headers={"cache-control": "no-store"})

    async def events(self, _request: Request, found: Mapping[str, Any]) -> Response:
        """A stream of messages."""
        return EventStream(self._hub, found["series"], found["partition"])

    def _one(self, request: Request, found: Mapping[str, Any]) -> tuple[str, str]:
        series: str = request.path_params["id"]
        return series, views.find(self._live, series, found["partition"])


def status_of(status: Mapping[str, Any], health: Health) -> answers.StatusAnswer:
    """The engine's own words beside the health."""
    return answers.StatusAnswer.model_validate({**status, "health": asdict(health.report())})
