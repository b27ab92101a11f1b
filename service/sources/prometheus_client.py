"""Queries of a Prometheus or VictoriaMetrics server over its HTTP API, with bounded answers."""

from __future__ import annotations

import ssl
import urllib.error
import urllib.request
from http.client import HTTPException
from typing import Any, Final
from urllib.parse import urlencode

import orjson

from service.config.bootstrap import BootstrapConfig
from service.errors import ConfigurationError, UnreachableError
from service.http_credentials import SecretError, authorization

MAX_ANSWER_BYTES: Final = 16 << 20
"""Largest answer; one with more samples is asked for in smaller pieces of time."""

_SHOWN: Final = 300  # characters of an answer in a message
_UNPROCESSABLE: Final = 422  # the query needs too many samples
_UNAVAILABLE: Final = 503  # it needs too much time, or the server is not ready
_LATER: Final = frozenset({408, 425, 429})  # the server, or a proxy before it, answers a later request
Series = list[dict[str, Any]]


class TooManySamplesError(Exception):
    """The answer is too large, or the server gave up: a shorter time may be answered."""


class PrometheusClient:
    """Asks a server. Secrets are read from their files for every request.

    Args:
        settings: with the address.
    """

    def __init__(self, settings: BootstrapConfig) -> None:
        self._settings = settings
        context = ssl.create_default_context(cafile=settings.ca_file) if settings.url.startswith("https") else None
        self._opener = urllib.request.build_opener(urllib.request.HTTPSHandler(context=context))

    def samples(self, from_ms: int, to_ms: int) -> Series:
        """Returns the series of the query with their samples in (from, to], as the API has them: "metric", "values".

        Raises:
            TooManySamplesError: of fewer samples there may be an answer.
            UnreachableError: the server does not answer, or not with samples; or the secret cannot be used now.
            ConfigurationError: the server refuses the query or the credentials.
        """
        query, step_ms = self._settings.query, round(self._settings.step * 1000)
        if step_ms:
            times = {"start": f"{(from_ms + step_ms) / 1000:.3f}", "end": f"{to_ms / 1000:.3f}"}
            answer = self._ask("query_range", {"query": query, "step": f"{step_ms / 1000:.3f}"} | times)
        else:
            selector = f"{query}[{to_ms - from_ms}ms]"
            answer = self._ask("query", {"query": selector, "time": f"{to_ms / 1000:.3f}"})
        data = answer.get("data")
        if not isinstance(data, dict) or data.get("resultType") != "matrix":
            kind = data.get("resultType") if isinstance(data, dict) else None
            msg = f"bootstrap.query: got {kind!r} as the type of the result, expected series with samples"
            raise ConfigurationError(msg)
        found: Series = data["result"]
        return found

    def _ask(self, path: str, parameters: dict[str, str]) -> dict[str, Any]:
        url = f"{self._settings.url.rstrip('/')}/api/v1/{path}"
        request = urllib.request.Request(url, urlencode(parameters).encode(), self._credentials())  # noqa: S310 - checked
        try:
            with self._opener.open(request, timeout=self._settings.timeout) as answer:
                body = answer.read(MAX_ANSWER_BYTES + 1)
        except urllib.error.HTTPError as error:
            with error:
                text = error.read(_SHOWN).decode("utf-8", "replace")
            raise self._refused(error.code, text) from None
        except (OSError, HTTPException) as error:
            msg = f"bootstrap.url: {self._settings.url} does not answer ({error}); check the server and the address"
            raise UnreachableError(msg) from error
        if len(body) > MAX_ANSWER_BYTES:
            raise TooManySamplesError
        try:
            found = orjson.loads(body)
        except orjson.JSONDecodeError:
            found = None
        if not isinstance(found, dict) or found.get("status") != "success":
            got = body[:_SHOWN].decode("utf-8", "replace")
            msg = f"bootstrap.url: got {got!r}, expected an answer of Prometheus' HTTP API; check the address"
            raise ConfigurationError(msg)
        return found

    def _refused(self, status: int, text: str) -> Exception:
        if status == _UNPROCESSABLE or (status == _UNAVAILABLE and '"timeout"' in text):
            return TooManySamplesError(text)
        if status in {401, 403}:
            msg = f"bootstrap.url: got status {status}, expected credentials that may query; check bootstrap.token_file"
            return ConfigurationError(msg)
        if status < 500 and status not in _LATER:
            msg = f"bootstrap.query: got status {status}: {text!r}, expected a query that the server answers"
            return ConfigurationError(msg)
        msg = f"bootstrap.url: {self._settings.url} answers with status {status}: {text!r}"
        return UnreachableError(msg)

    def _credentials(self) -> dict[str, str]:
        settings = self._settings
        try:
            return authorization(settings.username, settings.password_file, settings.token_file)
        except SecretError as error:
            msg = f"bootstrap.url: {settings.url} is not asked: {error}"
            raise UnreachableError(msg) from None
