"""The JSON API under /api/v1. One table of endpoints defines it; routes and OpenAPI document follow from the table."""

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
from service.http.alert_views import AlertViews
from service.http.endpoint import Endpoint
from service.http.parameters import Parameter
from service.http.ranking import SORTS
from service.http.stream import EventStream, Hub
from service.http.views import RequestError
from service.monitoring.health import Health
from service.recent import IngestLog, RecentStore
from service.registry.models import Registry

PARTITION = Parameter(
    "partition", "Partition of the series, where several partitions have a series of that name.", default=""
)
LIMIT = Parameter("limit", "Largest number of results.", "number", 100, 1, 1000)


_EVENTS = (
    "Server-sent events: `event` (a LiveEvent) for every event of the named series, `anomaly` (an AnomalyRow) for "
    "anomalies of all series, `status` (a StatusAnswer) once a second, `lost` (a LiveLost) where messages were "
    "dropped because the client was too slow, or where a named series appeared after the connection was opened."
)


class Api:
    """The endpoints that read. Slow answers are computed in a thread, so that probes are not delayed.

    Args:
        live: the recorded recent events.
        registry: the model registry.
        health: the state for the probes.
        status: returns the status of the engine.
        hub: the clients of the event stream.
        settings: returns the settings in force as JSON values, with secrets masked.
        alerts: the answers on alerts; None: there are none.
        ingest: counts of records; None: nothing is counted.
    """

    def __init__(
        self,
        live: RecentStore,
        registry: Registry,
        health: Health,
        status: Callable[[], Mapping[str, Any]],
        hub: Hub,
        settings: Callable[[], Mapping[str, Any]] = dict,
        *,
        alerts: AlertViews | None = None,
        ingest: IngestLog | None = None,
    ) -> None:
        self._alerts, self._ingest = alerts, IngestLog() if ingest is None else ingest
        self._live, self._registry, self._health = live, registry, health
        self._status, self._hub, self._settings = status, hub, settings

    def endpoints(self) -> list[Endpoint]:
        """Returns the table of endpoints."""
        one = (404,)
        group = Parameter("group", "A [[group]] of series; default, or nothing, for all others.", default="")
        search = Parameter(
            "search", "A part of the identifier, case-insensitive, or a glob (* ? [).", default="", most=512
        )
        orders = "; ".join(f"{name}: {meaning}" for name, meaning in SORTS.items())
        sort = Parameter("sort", f"Order, reversed after a minus sign: {orders}.", default="name", most=16)
        after = Parameter("after", "`next` of the previous page.", default="")
        only_partition = Parameter("partition", "Only series of this partition.", default="")
        newest = Parameter("limit", "Largest number of events; the newest are returned.", "number", 200, 1, 20_000)
        window = (
            Parameter("from", "The earliest event time.", "time"), Parameter("to", "The latest event time.", "time")
        )  # fmt: skip
        horizon = Parameter(
            "horizon", "Horizons whose earlier forecasts are returned with the events, each once.", "numbers", [1], 1
        )
        state = Parameter("status", "firing or resolved; both by default.", default="", most=16)
        subscribed = Parameter(
            "series",
            "A series to subscribe to; repeat it for more. Unknown series are permitted.",
            "texts",
            None,
            0,
            16,
        )
        return [
            Endpoint("/series", "Series that have state: search, order and pagination.", self.series,
                     answers.SeriesPage, (search, only_partition, sort, LIMIT, after)),
            Endpoint("/series/{id}/forecast", "The newest forecast of a series.", self.forecast,
                     answers.SeriesForecast, (PARTITION,), failures=one),
            Endpoint("/series/{id}/history", "Recent events, with the forecasts made for them.", self.history,
                     answers.SeriesHistory, (PARTITION, newest, *window, horizon), failures=one),
            Endpoint("/series/{id}/anomalies", "Recent anomalies of a series, newest first.", self.anomalies_of,
                     answers.AnomalyList, (PARTITION, LIMIT), failures=one),
            Endpoint("/series/{id}/calibration", "Interval coverage and quantile calibration over the recorded "
            "events.",
                     self.calibration, answers.SeriesCalibration, (PARTITION,), failures=one),
            Endpoint("/series/{id}/weights", "Ensemble weights of a series by horizon.", self.weights,
                     answers.SeriesWeights, (PARTITION,), failures=(404, 503)),
            Endpoint("/anomalies", "Recent anomalies of all series, newest first.", self.anomalies,
                     answers.AnomalyList, (only_partition, LIMIT)),
            Endpoint("/alerts", "Alerts that last, and the newest 1,000 that were over since the start.", self.alerts,
                     answers.AlertPage, (only_partition, state, LIMIT), failures=(503,)),
            Endpoint("/models", "Champion, challengers and the decisions about them.", self.models,
                     answers.Models, (LIMIT, group), failures=one),
            Endpoint("/ingest", "Events by status, and rejected records by reason, with examples.", self.ingest,
                     answers.IngestAnswer),
            Endpoint("/status", "The state of the daemon.", self.status, answers.StatusAnswer),
            Endpoint("/config", "The settings in force, with secrets masked.", self.config, "application/json"),
            Endpoint("/events", _EVENTS, self.events, "text/event-stream", (subscribed, PARTITION), failures=(503,)),
        ]  # fmt: skip

    async def series(self, _request: Request, found: Mapping[str, Any]) -> BaseModel:
        """Returns a page of series."""
        asked = found["search"], found["partition"], found["limit"], found["after"], found["sort"]
        return await asyncio.to_thread(views.series_page, self._live, *asked)

    async def forecast(self, request: Request, found: Mapping[str, Any]) -> BaseModel:
        """Returns the newest forecast of a series."""
        return views.forecast(self._live, *self._one(request, found))

    async def history(self, request: Request, found: Mapping[str, Any]) -> BaseModel:
        """Returns recent events of a series."""
        series, partition = self._one(request, found)
        window, limit, horizon = (found["from"], found["to"]), found["limit"], found["horizon"]
        return await asyncio.to_thread(views.history, self._live, series, partition, limit, window, horizon)

    async def anomalies_of(self, request: Request, found: Mapping[str, Any]) -> BaseModel:
        """Returns recent anomalies of a series."""
        series, partition = self._one(request, found)
        flagged = self._live.anomalies(partition, series)
        return await asyncio.to_thread(views.anomalies, self._live, flagged, found["limit"])

    async def anomalies(self, _request: Request, found: Mapping[str, Any]) -> BaseModel:
        """Returns recent anomalies of all series."""
        flagged = self._live.anomalies(found["partition"])
        return await asyncio.to_thread(views.anomalies, self._live, flagged, found["limit"])

    async def alerts(self, _request: Request, found: Mapping[str, Any]) -> BaseModel:
        """Returns the alerts."""
        if (status := found["status"]) not in ("", "firing", "resolved"):
            msg = f"status: got {status!r}, expected firing or resolved"
            raise RequestError(400, "bad_request", msg)
        if self._alerts is None:
            return answers.AlertPage(alerts=[], lasting=0, kinds=[], more=False)
        return await asyncio.to_thread(self._alerts.page, found["partition"], status, found["limit"])

    async def calibration(self, request: Request, found: Mapping[str, Any]) -> BaseModel:
        """Returns interval coverage and quantile calibration of a series."""
        return await asyncio.to_thread(views.calibration, self._live, *self._one(request, found))

    async def weights(self, request: Request, found: Mapping[str, Any]) -> BaseModel:
        """Returns the ensemble weights of a series."""
        return await asyncio.to_thread(views.weights, self._live, *self._one(request, found))

    async def models(self, _request: Request, found: Mapping[str, Any]) -> BaseModel:
        """Returns models and decisions, read from the folder of the registry."""
        return await asyncio.to_thread(views.models, self._registry, found["limit"], found["group"])

    async def ingest(self, _request: Request, _found: Mapping[str, Any]) -> BaseModel:
        """Returns what became of the records."""
        return views.ingest(self._ingest)

    async def status(self, _request: Request, _found: Mapping[str, Any]) -> BaseModel:
        """Returns the status of the engine and the health."""
        return status_of(self._status(), self._health)

    async def config(self, _request: Request, _found: Mapping[str, Any]) -> Response:
        """Returns the settings in force."""
        return JSONResponse(self._settings(), headers={"cache-control": "no-store"})

    async def events(self, _request: Request, found: Mapping[str, Any]) -> Response:
        """Opens a stream of server-sent events."""
        return EventStream(self._hub, found["series"], found["partition"])

    def _one(self, request: Request, found: Mapping[str, Any]) -> tuple[str, str]:
        series: str = request.path_params["id"]
        return series, views.find(self._live, series, found["partition"])


def status_of(status: Mapping[str, Any], health: Health) -> answers.StatusAnswer:
    """Combines the status of the engine with the health."""
    return answers.StatusAnswer.model_validate({**status, "health": asdict(health.report())})
