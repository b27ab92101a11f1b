"""One path of the API: what it takes, what it gives; its route and its place in the OpenAPI document follow from it."""

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
    """A series' identifier: anything, slashes and line ends among it."""

    regex = "(?s:.*)"

    def convert(self, value: str) -> str:
        """As it is."""
        return value

    def to_string(self, value: str) -> str:
        """As it is."""
        return value


register_url_convertor("series", _AnyText())


Handle = Callable[[Request, Mapping[str, Any]], Awaitable[BaseModel | Response]]
"""Answers a request whose parameters have been read."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One path and method.

    Attributes:
        path: after the base; `{id}` is a series. summary: a sentence.
        handle: gives the answer. answer: its model, or the media type of another kind of answer.
        parameters: of the query. method: of HTTP. bodies: media types of the request, each with what it holds.
        encodings: of the body, those that are understood; "identity" for none.
        failures: statuses that it may have besides 400, and 401, 403 and 408 of the guard.
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
        """As Starlette has it."""
        path = BASE + self.path.replace("{id}", "{id:series}")

        async def answering(request: Request) -> Response:
            try:
                found = await self.handle(request, read(request, self.parameters))
            except RequestError as error:
                return failure(error)
            return found if isinstance(found, Response) else shown(found)

        return Route(path, answering, methods=[self.method])


def shown(answer: BaseModel, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """A model as JSON, never kept by caches."""
    named = {"cache-control": "no-store", **(headers or {})}
    return Response(answer.model_dump_json(), status, named, "application/json")


def failure(error: RequestError) -> Response:
    """An error as JSON."""
    named = {"cache-control": "no-store"} | ({"retry-after": str(error.retry)} if error.retry else {})
    problem = answers.Failure(error=answers.Problem(code=error.code, message=error.message, lines=error.lines))
    return Response(problem.model_dump_json(exclude_none=True), error.status, named, "application/json")
