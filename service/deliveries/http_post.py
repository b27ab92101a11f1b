"""Sends a body to a target over HTTP, and tells apart what is to be sent again and what is refused."""

from __future__ import annotations

import contextlib
import ssl
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http.client import HTTPException
from pathlib import Path
from typing import Final

from service.deliveries.delivery import RefusedError, UnavailableError
from service.http_credentials import SecretError, authorization

_SHOWN: Final = 300  # characters of an answer in a message
_LATER: Final = frozenset({401, 403, 404, 408, 425, 429})
"""Statuses below 500 after which the same request may succeed: overload, and what a person mends at the target."""


@dataclass(frozen=True, slots=True)
class HttpEndpoint:
    """Where to send to. Secrets are read from their files for every request.

    Attributes:
        url: http:// or https://. timeout: seconds.
        username, password_file: basic authentication. token_file: bearer token. ca_file: authorities.
        place: stands for the address in messages, where the address is a secret; "": the address itself.
    """

    url: str
    timeout: float = 10.0
    username: str = ""
    password_file: Path | None = None
    token_file: Path | None = None
    ca_file: Path | None = None
    place: str = ""


class HttpPost:
    """Posts bodies to one endpoint.

    Args:
        endpoint: of the target.
        headers: of every request.
    """

    def __init__(self, endpoint: HttpEndpoint, headers: Mapping[str, str]) -> None:
        self._endpoint, self._headers = endpoint, headers
        self._opener: urllib.request.OpenerDirector | None = None

    def post(self, body: bytes, headers: Mapping[str, str] | None = None) -> None:
        """Sends a body; returns after a status of 2xx.

        Args:
            body: of the request. headers: of this one in addition.

        Raises:
            UnavailableError: no answer, a status after which the same request may be sent again, or no usable secret.
            RefusedError: another status.
        """
        endpoint = self._endpoint
        place = endpoint.place or endpoint.url
        try:
            request = urllib.request.Request(  # noqa: S310 - the scheme is checked by the configuration
                endpoint.url, body, {**self._headers, **(headers or {}), **self._credentials()}, method="POST"
            )
            with self._open(request) as answer:
                answer.read(_SHOWN)
        except urllib.error.HTTPError as error:
            msg = f"{place} answers with status {error.code}: {_text_of(error)!r}"
            if error.code < 500 and error.code not in _LATER:
                raise RefusedError(msg) from None
            raise UnavailableError(msg, retry_after(error.headers.get("Retry-After"))) from None
        except (OSError, HTTPException) as error:
            reason = error if isinstance(error, OSError) else type(error).__name__  # whose text may have the address
            msg = f"{place} does not answer ({reason})"
            raise UnavailableError(msg) from None

    def _open(self, request: urllib.request.Request) -> urllib.request._UrlopenRet:
        if self._opener is None:
            secure = self._endpoint.url.startswith("https")
            context = ssl.create_default_context(cafile=self._endpoint.ca_file) if secure else None
            handlers = (urllib.request.HTTPSHandler(context=context), _NoRedirects)
            self._opener = urllib.request.build_opener(*handlers)
        return self._opener.open(request, timeout=self._endpoint.timeout)

    def _credentials(self) -> dict[str, str]:
        endpoint = self._endpoint
        try:
            return authorization(endpoint.username, endpoint.password_file, endpoint.token_file)
        except SecretError as error:
            raise UnavailableError(str(error)) from None


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """Follows no redirect: it would turn the request into a GET without its body."""

    def redirect_request(self, *_: object) -> None:
        """Returns None: the status of the redirect is that of the answer."""


def _text_of(error: urllib.error.HTTPError) -> str:
    """Returns the begin of an answer, as far as it arrives: its status says what to do."""
    with error, contextlib.suppress(OSError, HTTPException):
        return error.read(_SHOWN).decode("utf-8", "replace").strip()
    return ""


def retry_after(text: str | None) -> float:
    """Returns the seconds of a header Retry-After, which has seconds or a date; 0 if it has neither."""
    if not text:
        return 0.0
    try:
        return max(0.0, float(int(text)))
    except ValueError:
        pass
    try:
        until = parsedate_to_datetime(text)
    except ValueError:
        return 0.0
    if until.tzinfo is None:
        return 0.0
    return max(0.0, (until - datetime.now(UTC)).total_seconds())
