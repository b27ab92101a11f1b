"""Builds the OpenAPI 3.1 document of the API from its endpoints and the models of their answers."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any, Final

import orjson
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from service.config.input import InputConfig
from service.http.api import Api
from service.http.endpoint import BASE, Endpoint
from service.http.explanations import Explanations
from service.http.push import Push
from service.http.schemas import Failure, LiveEvent, LiveLost
from service.http.stream import Hub
from service.lifecycle import SystemClock
from service.monitoring.health import Health
from service.monitoring.metrics import Metrics
from service.recent import RecentStore, Situations
from service.registry.models import Registry

_TEXTS: Final = {
    400: "A parameter or the body is invalid; the message says what was received and what is expected.",
    401: "A user and a password are required (http.web_config).",
    403: "The Host or the Origin is not permitted (http.allowed_hosts).",
    404: "No such series, or group.",
    408: "The body did not arrive in time (http.request_timeout).",
    409: "Not possible in the present state.",
    413: "The body is too large.",
    415: "The body has another media type than expected.",
    429: "Too many requests; retry after the seconds of Retry-After.",
    503: "Temporarily not available; retry after the seconds of Retry-After.",
}
_INTRODUCTION: Final = """Forecasts and state of the daemon, as JSON. Times are epoch milliseconds, unknown values are
null, every failure is `{"error": {"code", "message"}}`. Within v1 fields may be added; none are removed or change their
meaning. Passwords and TLS are configured in the web configuration (`http.web_config`)."""


def openapi(endpoints: Sequence[Endpoint]) -> dict[str, Any]:
    """Builds the document as JSON values."""
    kinds: set[type[BaseModel]] = {one.answer for one in endpoints if not isinstance(one.answer, str)}
    kinds |= {Failure, LiveEvent, LiveLost}
    _, schemas = models_json_schema(
        [(kind, "serialization") for kind in sorted(kinds, key=lambda kind: kind.__name__)],
        ref_template="#/components/schemas/{model}",
    )
    paths: dict[str, Any] = {}
    for one in endpoints:
        paths.setdefault(BASE + one.path, {})[one.method.lower()] = _operation(one)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "forecaster",
            "version": metadata.version("forecaster-daemon"),
            "description": " ".join(_INTRODUCTION.split()),
        },
        "paths": paths,
        "components": {
            "schemas": schemas["$defs"],
            "securitySchemes": {"basic": {"type": "http", "scheme": "basic", "description": "By http.web_config."}},
        },
        "security": [{}, {"basic": []}],
    }


def openapi_document() -> dict[str, Any]:
    """Builds the document of all endpoints that a daemon can have, without a daemon."""
    metrics, health = Metrics(), Health(SystemClock())
    live = RecentStore(0, 1)
    hub = Hub(live, lambda: LiveLost(messages=0), 0, metrics)
    reading = Api(live, Registry(Path(), SystemClock()), health, dict, hub)
    push = Push(None, InputConfig.model_validate({}), metrics, SystemClock())
    return openapi([*reading.endpoints(), *Explanations(live, Situations()).endpoints(), *push.endpoints()])


def api_routes(endpoints: Sequence[Endpoint]) -> list[BaseRoute]:
    """Returns the routes of the endpoints and of the document."""
    document = functools.cache(lambda: orjson.dumps(openapi(endpoints)))  # takes a fifth of a second, so on demand

    async def describe(_request: Request) -> Response:
        return Response(await run_in_threadpool(document), media_type="application/json")

    return [*(one.route() for one in endpoints), Route(f"{BASE}/openapi.json", describe)]


def _operation(one: Endpoint) -> dict[str, Any]:
    parameters = [parameter.described() for parameter in one.parameters]
    if "{id}" in one.path:
        text = "Identifier of the series, percent-encoded."
        described = {"name": "id", "in": "path", "required": True, "description": text, "schema": {"type": "string"}}
        parameters.insert(0, described)
    if one.encodings:
        parameters.append({
            "name": "Content-Encoding", "in": "header", "required": "identity" not in one.encodings,
            "description": "Compression of the body.", "schema": {"type": "string", "enum": list(one.encodings)},
        })  # fmt: skip
    name = one.path.strip("/").replace("/{id}/", "_").replace("/", "_").replace(".", "_")
    found: dict[str, Any] = {"operationId": f"{one.method.lower()}_{name}", "summary": one.summary}
    if parameters:
        found["parameters"] = parameters
    if one.bodies:
        content = {kind: {"schema": {"type": "string", "description": text}} for kind, text in one.bodies.items()}
        found["requestBody"] = {"required": True, "content": content}
    found["responses"] = {"200": {"description": one.summary, "content": _content(one.answer)}} | {
        str(status): {"description": _TEXTS[status], "content": _content(Failure)}
        for status in sorted({400, 401, 403, *one.failures} | ({408} if one.bodies else set()))
    }
    return found


def _content(answer: type[BaseModel] | str) -> dict[str, Any]:
    if isinstance(answer, str):
        return {answer: {"schema": {"type": "string" if answer.startswith("text/") else "object"}}}
    return {"application/json": {"schema": {"$ref": f"#/components/schemas/{answer.__name__}"}}}
