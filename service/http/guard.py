"""The door of the HTTP face: passwords, sizes and times, before the application sees a request.

Passwords are checked by bcrypt in a thread, one at a time, because each check is made to be slow; one that was right is
remembered (as a keyed hash, never itself) until the configuration changes. Somebody who guesses waits in a short queue
of his own making, and those who are known do not.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import functools
import hashlib
import hmac
import secrets
from collections.abc import Callable
from typing import Final

import bcrypt
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.http.web import Web
from service.http.web_config import WebConfig

# Checks that may wait for their turn; more are turned away.
_QUEUE: Final = 8
_REMEMBERED: Final = 100


@functools.cache
def _nobody() -> bytes:
    """Of a password nobody knows: what an unknown user is compared with, so that guessing names takes as long.

    Made when the first password is checked, whosever it is, as it takes longer than many an import.
    """
    return bcrypt.hashpw(secrets.token_bytes(16), bcrypt.gensalt(10))


class Guard:
    """An ASGI application around another.

    Args:
        app: what is guarded.
        web: users and headers.
        max_request_bytes: of a body.
        request_seconds: for a body to arrive.
        refused: called with the reason for every request that is turned away.
    """

    def __init__(
        self,
        app: ASGIApp,
        web: Web,
        *,
        max_request_bytes: int,
        request_seconds: float,
        refused: Callable[[str], None],
    ) -> None:
        self._app, self._web = app, web
        self._most, self._seconds, self._refused = max_request_bytes, request_seconds, refused
        self._key = secrets.token_bytes(32)
        self._known: dict[bytes, WebConfig] = {}
        self._turn = asyncio.Lock()
        self._waiting = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Lets a request through or answers it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        send = self._with_headers(send)
        if self._web.config.basic_auth_users:
            verdict = await self._may_enter(scope)
            if verdict:
                await self._refuse(verdict, scope, receive, send)
                return
        try:
            async with asyncio.timeout(self._seconds):
                body = await self._body(scope, receive)
        except TimeoutError:
            await self._refuse("too_slow", scope, receive, send)
            return
        if body is None:
            await self._refuse("too_large", scope, receive, send)
            return
        await self._app(scope, _replayed(body, receive), send)

    async def _refuse(self, reason: str, scope: Scope, receive: Receive, send: Send) -> None:
        self._refused(reason)
        status, text = {
            "unauthorized": (401, "a user and a password are needed"),
            "too_large": (413, f"the body is larger than {self._most} bytes (http.max_request_bytes)"),
            "too_slow": (408, f"the body did not arrive within {self._seconds:g} s (http.request_timeout)"),
            "busy": (503, "too many passwords are being checked; try again"),
        }[reason]
        headers = {"cache-control": "no-store"}
        if reason == "unauthorized":
            headers["www-authenticate"] = 'Basic realm="forecaster", charset="UTF-8"'
        else:
            headers["connection"] = "close"
        answer: Response = PlainTextResponse(text + "\n", status, headers=headers)
        if scope["path"].startswith("/api/"):
            answer = JSONResponse({"error": {"code": reason, "message": text}}, status, headers)
        await answer(scope, receive, send)

    def _with_headers(self, send: Send) -> Send:
        chosen = self._web.config.http_server_config.headers
        extra = [(name.lower().encode(), text.encode()) for name, text in chosen.items()]
        if not any(name == b"x-content-type-options" for name, _ in extra):
            extra.append((b"x-content-type-options", b"nosniff"))

        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", []), *extra]
            await send(message)

        return sending

    async def _body(self, scope: Scope, receive: Receive) -> bytes | None:
        """The body, None where it is too large. Buffered here, so that the application never waits for a sender."""
        for name, value in scope["headers"]:
            if name == b"content-length" and value.isdigit() and int(value) > self._most:
                return None
        found, more = bytearray(), True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                break
            found += message.get("body", b"")
            more = message.get("more_body", False)
            if len(found) > self._most:
                return None
        return bytes(found)

    async def _may_enter(self, scope: Scope) -> str:
        """Empty where the request carries a right password, else the reason to turn it away."""
        user, password = _credentials(scope)
        config = self._web.config
        expected = config.basic_auth_users.get(user)
        mark = hmac.digest(self._key, user.encode() + b":" + hashlib.sha256(password).digest(), "sha256")
        if expected is not None and self._known.get(mark) is config:
            return ""
        if self._waiting >= _QUEUE:
            return "busy"
        self._waiting += 1
        try:
            async with self._turn:
                nobody = await asyncio.to_thread(_nobody)
                stored = nobody if expected is None else expected.get_secret_value().encode()
                right = await asyncio.to_thread(_matches, password, stored)
        finally:
            self._waiting -= 1
        if not right or expected is None:
            return "unauthorized"
        if len(self._known) >= _REMEMBERED:
            self._known.clear()
        self._known[mark] = config
        return ""


def _credentials(scope: Scope) -> tuple[str, bytes]:
    """User and password of a request; empty where it has none, or rubbish."""
    for name, value in scope["headers"]:
        kind, _, encoded = value.partition(b" ")
        if name == b"authorization" and kind.lower() == b"basic":
            try:
                user, _, password = base64.b64decode(encoded.strip(), validate=True).partition(b":")
                return user.decode(), password
            except (binascii.Error, UnicodeDecodeError):
                break
    return "", b""


def _matches(password: bytes, stored: bytes) -> bool:
    try:
        return bcrypt.checkpw(password, stored)
    except ValueError:  # bcrypt takes 72 bytes and no zero byte; no password of that kind can have been stored
        return False


def _replayed(body: bytes, receive: Receive) -> Receive:
    """Gives the body once, then what the server says."""
    given = False

    async def receiving() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return receiving
