"""The endpoint for OTLP metrics, POST /v1/metrics, in the encodings that the OTLP specification has for HTTP.

Answers are those of the specification: 200 with the number of data points that were not accepted, 400 for a body that
is no request, 503 with Retry-After for backpressure; failures are a google.rpc.Status. `Push` checks and stores.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from forecaster import install_command
from service.config.input import InputConfig
from service.http.push import CheckedBody, Push
from service.http.remote_write import TooLargeError
from service.http.views import RequestError

if TYPE_CHECKING:
    from service.http.otlp import OtlpMetrics

OTLP_PATH: Final = "/v1/metrics"
_PROTOBUF: Final = "application/x-protobuf"
_JSON: Final = "application/json"
_NO_STORE: Final = {"cache-control": "no-store"}


class OtlpPush:
    """The endpoint.

    Args:
        push: checks and stores the samples.
        settings: settings of the input.
    """

    def __init__(self, push: Push, settings: InputConfig) -> None:
        self._push, self._settings = push, settings
        self._metrics: OtlpMetrics | None = None

    def routes(self) -> list[Route]:
        """Returns the route."""
        return [Route(OTLP_PATH, self._export, methods=["POST"])]

    async def _export(self, request: Request) -> Response:
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        encoding = request.headers.get("content-encoding", "identity").strip().lower()
        try:
            metrics = self._prepared(kind, encoding)

            def make(body: bytes) -> CheckedBody:
                return self._checked(metrics, self._push.unzipped(body) if encoding == "gzip" else body, kind)

            made = await self._push.store(request, make, "otlp", 503)
        except RequestError as error:
            return _failed(error, kind)
        from service.http.otlp import response  # noqa: PLC0415 - it is an extra, which exists here

        text = "; ".join([*made.shown[:1], *made.notes])
        return Response(response(made.wrong + made.unsupported, text, as_json=kind == _JSON), 200, _NO_STORE, kind)

    def _prepared(self, kind: str, encoding: str) -> OtlpMetrics:
        """Returns the decoder for a request whose headers are as expected.

        Raises:
            RequestError: they are not, or the extra is not installed.
        """
        if kind not in {_PROTOBUF, _JSON} or encoding not in {"identity", "gzip"}:
            got = f"{kind[:80]!r} with content-encoding {encoding[:80]!r}"
            msg = f"content-type: got {got}, expected {_PROTOBUF} or {_JSON}, with gzip or none: OTLP metrics"
            raise self._push.refused("unsupported", 415, msg)
        if self._metrics is None:
            try:
                from service.http.otlp import OtlpMetrics  # noqa: PLC0415 - an extra, which few daemons need
            except ImportError as error:
                msg = f"OTLP needs a package that is not installed; expected the extra: {install_command('otlp')}"
                raise self._push.refused("off", 501, msg) from error
            settings = self._settings
            self._metrics = OtlpMetrics(settings.push_metrics, settings.push_resource, settings.push_body)
        return self._metrics

    def _checked(self, metrics: OtlpMetrics, body: bytes, kind: str) -> CheckedBody:
        """Converts a body to lines, in a worker's thread."""
        if len(body) > self._settings.push_body:
            msg = f"got {len(body)} bytes, expected at most {self._settings.push_body} (input.push_body)"
            raise self._push.refused("too_large", 413, msg)
        try:
            found = metrics.decode_json(body) if kind == _JSON else metrics.decode(body)
        except TooLargeError as error:
            raise self._push.refused("too_large", 413, str(error)) from error
        except ValueError as error:
            raise self._push.refused("invalid", 400, str(error)) from error
        made = self._push.checked_samples(found.samples, found.filtered)
        made.unsupported = found.unsupported
        if found.unsupported:
            kinds = " and ".join(found.kinds)
            made.notes.append(f"{found.unsupported} data points of {kinds} are not supported, only gauges and sums")
        return made


def _failed(error: RequestError, kind: str) -> Response:
    """Formats a failure: a google.rpc.Status in the encoding of the request."""
    headers = _NO_STORE | ({"retry-after": str(error.retry)} if error.retry else {})
    if kind == _PROTOBUF and error.status != 501:
        from service.http.otlp import failure_status  # noqa: PLC0415 - as above

        return Response(failure_status(error.message), error.status, headers, _PROTOBUF)
    return Response(orjson.dumps({"message": error.message}), error.status, headers, _JSON)
