"""One path of the API: parameters and answer; its route and its part of the OpenAPI document follow from it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel
from starlette.convertors import Convertor, register_url_convertor
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from service.http import schemas as answers
from service.http.parameters import Parameter, read
from service.http.views import RequestError

BASE = "/api/v1"


class _AnyText(Convertor[str]):
    """Converts the identifier of a series: any text, including slashes and line ends."""

    regex = "(?s:.*)"

    def convert(self, value: str) -> str:
        """Returns the text unchanged."""
        return value

    def to_string(self, value: str) -> str:
        """Returns the text unchanged."""
        return value


register_url_convertor("series", _AnyText())


Handle = Callable[[Request, Mapping[str, Any]], Awaitable[BaseModel | Response]]
"""Answers a request with its parsed parameters."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One path and method.

    Attributes:
        path: after the base; `{id}` is a series. summary: one sentence.
        handle: returns the answer. answer: its model, or the media type of an answer without a model.
        parameters: of the query. method: the HTTP method. bodies: media types of the request, each with a description.
        encodings: supported content encodings of the body; "identity" for none.
        failures: possible statuses besides 400, and 401, 403 and 408 of the guard.
    """

    path: str
    summary: str
    handle: Handle
    answer: type[BaseModel] | str
    parameters: tuple[Parameter, ...] = ()
    method: str = "GET"
    bodies: Mapping[str, str] = field(default_factory=dict)
    encodings: tuple[str, ...] = ()
    failures: tuple[int, ...] = ()

    def route(self) -> Route:
        """Creates the Starlette route."""
        path = BASE + self.path.replace("{id}", "{id:series}")

        async def answering(request: Request) -> Response:
            try:
                found = await self.handle(request, read(request, self.parameters))
            except RequestError as error:
                return failure(error)
            return found if isinstance(found, Response) else shown(found)

        return Route(path, answering, methods=[self.method])


def shown(answer: BaseModel, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """Formats a model as a JSON response that caches must not store."""
    named = {"cache-control": "no-store", **(headers or {})}
    return Response(answer.model_dump_json(), status, named, "application/json")


def failure(error: RequestError) -> Response:
    """Formats an error as a JSON response."""
    named = {"cache-control": "no-store"} | ({"retry-after": str(error.retry)} if error.retry else {})
    problem = answers.Failure(error=answers.ErrorDetail(code=error.code, message=error.message, lines=error.lines))
    return Response(problem.model_dump_json(exclude_none=True), error.status, named, "application/json")
