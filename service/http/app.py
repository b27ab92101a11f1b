"""The ASGI application with metrics and probes.

/metrics                metrics for Prometheus
/-/healthy, /healthz    200 while the loop makes progress, else 503 with the reason
/-/ready, /readyz       200 while events are forecast, else 503 with the reason; warnings on lines of their own
/-/started, /startupz   200 after it was ready for the first time
/api/v1/...             the JSON API; see service.http.api
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from prometheus_client.exposition import choose_encoder
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import BaseRoute, Match, Route

from service.http.api import status_of
from service.http.endpoint import failure, shown
from service.http.views import RequestError
from service.monitoring.health import WARNINGS, Health, HealthReport
from service.monitoring.metrics import Metrics


def create_app(
    metrics: Metrics, health: Health, status: Callable[[], Mapping[str, Any]], routes: Sequence[BaseRoute] = ()
) -> Starlette:
    """Creates the application.

    Args:
        metrics: the metrics to export.
        health: the state for the probes.
        status: returns the status of the engine as JSON values; called per request, in the server's thread.
        routes: further routes, e.g. those of the API.
    """

    async def metrics_page(request: Request) -> Response:
        metrics.show_health(health.report())
        encoder, content_type = choose_encoder(request.headers.get("accept", ""))
        return Response(encoder(metrics.registry), media_type=None, headers={"content-type": content_type})

    async def healthy(_request: Request) -> Response:
        report = health.report()
        return _probe("healthy" if report.healthy else report.reason, ok=report.healthy)

    async def ready(_request: Request) -> Response:
        report = health.report()
        return _probe(readiness(report), ok=report.ready)

    async def started(_request: Request) -> Response:
        report = health.report()
        return _probe("started" if report.started else report.reason, ok=report.started)

    async def status_page(_request: Request) -> Response:
        return shown(status_of(status(), health))

    return Starlette(
        routes=[
            Route("/metrics", metrics_page),
            *(Route(path, healthy) for path in ("/-/healthy", "/healthz")),
            *(Route(path, ready) for path in ("/-/ready", "/readyz")),
            *(Route(path, started) for path in ("/-/started", "/startupz")),
            *routes,
            Route("/api/v1/status", status_page),
        ],
        exception_handlers={404: _not_there, 405: _not_there},
    )


def readiness(report: HealthReport) -> str:
    """Formats the answer of the readiness probe: ready or the reason, then one line per warning."""
    first = "ready" if report.ready else report.reason
    if report.restored < 1.0:
        first += f" ({report.restored:.0%})"
    return "\n".join([first, *(f"{name}: {report.conditions[name]}" for name in WARNINGS if name in report.conditions)])


def _probe(text: str, *, ok: bool) -> Response:
    return PlainTextResponse(text + "\n", 200 if ok else 503, headers={"cache-control": "no-store"})


async def _not_there(request: Request, error: Exception) -> Response:
    """Answers an unknown page or method; under /api/ as JSON."""
    status = error.status_code if isinstance(error, HTTPException) else 404
    if request.url.path.startswith("/api/"):
        msg = f"got {request.method} {request.url.path[:200]}; /api/v1/openapi.json lists the paths"
        code = "not_found" if status == 404 else "method_not_allowed"
        answer = failure(RequestError(status, code, msg))
    else:
        answer = PlainTextResponse("not found\n" if status == 404 else "method not allowed\n", status)
    if status == 405:
        answer.headers["allow"] = ", ".join(_methods(request))
    return answer


def _methods(request: Request) -> list[str]:
    """Returns the methods of all routes that match the path; Starlette would return those of the first route only."""
    fitting = [one for one in request.app.routes if one.matches(request.scope)[0] is not Match.NONE]
    return sorted({method for one in fitting for method in one.methods or ()})
