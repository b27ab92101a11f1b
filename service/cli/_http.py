"""The HTTP server of a configuration: that of a daemon, and the one that answers probes before there is a daemon."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import structlog
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from service.config.sections import Config
from service.http import Guard, HttpServer, ReloadableTls, create_app
from service.http.endpoint import failure
from service.http.views import RequestError
from service.lifecycle import SystemClock
from service.monitoring.collectors import process_registry
from service.monitoring.health import Health
from service.monitoring.metrics import Metrics

_log = structlog.get_logger()

_RETRY_SECONDS: Final = 5


def server_of(config: Config, app: Starlette, web: ReloadableTls, metrics: Metrics) -> HttpServer:
    """Returns the server of an application, not started, with the limits of the configuration.

    Args:
        config: uses `http`.
        app: the application.
        web: who may ask, and the certificate.
        metrics: count what is refused.
    """

    def refused(reason: str) -> None:
        metrics.http_refused.labels(reason).inc()

    http = config.http
    guard = Guard(
        app, web, max_request_bytes=http.max_request_bytes, request_seconds=http.request_timeout,
        refused=refused, allowed_hosts=(*http.allowed_hosts, http.host),
    )  # fmt: skip
    return HttpServer(
        guard, http.host, http.port, tls=web.tls, max_connections=http.max_connections, refused=refused
    )  # fmt: skip


async def _later(request: Request) -> Response:
    """Answers what the daemon will answer: senders of events, as Prometheus, drop what gets any 4xx but 429."""
    msg = f"got {request.method} {request.url.path[:200]} before the daemon is there; try again"
    return failure(RequestError(503, "unavailable", msg, retry=_RETRY_SECONDS))


@contextmanager
def probes(config: Config, detail: str) -> Iterator[Health]:
    """Answers metrics and probes while something is done before the daemon is there; all else with 503, try later.

    Args:
        config: uses `http`.
        detail: what is done, for the probe of readiness.

    Yields:
        The health; call its `beat` at least every few minutes.

    Raises:
        ServiceError: the address is taken, or the web configuration is invalid.
    """
    health, metrics = Health(SystemClock()), Metrics(process_registry())
    health.enter("starting", detail)
    app = create_app(metrics, health, lambda: {"phase": "starting"})
    app.router.routes.append(Route("/{path:path}", _later, methods=["GET", "POST", "PUT", "DELETE"]))
    with server_of(config, app, ReloadableTls(config.http.web_config), metrics) as server:
        _log.info("answering probes", url=f"{server.url}/metrics")
        yield health
