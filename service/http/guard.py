"""Checks every request before the application gets it: host, origin, password, size and time of the body.

Passwords are checked with bcrypt in a thread, one at a time, because each check is slow by design; a correct password
is cached (as a keyed hash, never itself) until the configuration changes. Failed attempts wait in a short queue, which
does not delay cached users. A rejection takes the same computation for known and unknown users, whatever the cost of
the user's hash.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import hmac
import secrets
from collections.abc import Callable, Iterable, Sequence
from typing import Final

import bcrypt
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.http.hosts import Hosts
from service.http.tls_reload import ReloadableTls
from service.http.web_config import WebConfig

# Password checks that may wait; further requests are refused.
_QUEUE: Final = 8
_REMEMBERED: Final = 100
# Bodies of the largest size that are held in memory at once, over all requests.
_BODIES: Final = 16


class Guard:
    """An ASGI application that guards another one.

    Args:
        app: the guarded application.
        web: users and response headers.
        max_request_bytes: largest size of a body.
        request_seconds: time limit for a body to arrive.
        allowed_hosts: permitted host names where there is neither a password nor TLS; see `Hosts`.
        refused: called with the reason for every request that is refused.
    """

    def __init__(
        self,
        app: ASGIApp,
        web: ReloadableTls,
        *,
        max_request_bytes: int,
        request_seconds: float,
        refused: Callable[[str], None],
        allowed_hosts: Sequence[str] = (),
    ) -> None:
        self._app, self._web, self._hosts = app, web, Hosts(allowed_hosts)
        self._most, self._seconds, self._refused = max_request_bytes, request_seconds, refused
        self._key = secrets.token_bytes(32)
        self._known: dict[bytes, WebConfig] = {}
        self._turn = asyncio.Lock()
        self._waiting, self._held = 0, 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes a request to the application, or refuses it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        send, users = self._with_headers(send), self._web.config.basic_auth_users
        open_to_all = not users and self._web.tls is None
        verdict = self._hosts.verdict(scope["method"], scope["headers"], open_to_all=open_to_all)
        if not verdict and users:
            verdict = await self._authenticate(scope)
        if verdict:
            await self._refuse(verdict, scope, receive, send)
            return
        body = bytearray()
        try:
            async with asyncio.timeout(self._seconds):
                verdict = await self._read(body, scope, receive)
        except TimeoutError:
            verdict = "too_slow"
        try:
            if verdict:
                await self._refuse(verdict, scope, receive, send)
                return
            await self._app(scope, _body_once(bytes(body), receive), send)
        finally:
            self._held -= len(body)

    async def _refuse(self, reason: str, scope: Scope, receive: Receive, send: Send) -> None:
        self._refused(reason)
        status, text = {
            "unauthorized": (401, "a user and a password are required"),
            "too_large": (413, f"the body is larger than {self._most} bytes (http.max_request_bytes)"),
            "too_slow": (408, f"the body did not arrive within {self._seconds:g} s (http.request_timeout)"),
            "host": (403, "the Host of the request is not an address, localhost or a name of http.allowed_hosts"),
            "origin": (
                403,
                "the Origin of the request is another site; http.allowed_hosts lists the sites that may write",
            ),
            "busy": (503, "too many passwords are being checked; try again"),
            "bodies": (503, "too many bodies arrive at once; try again"),
        }[reason]
        headers = {"cache-control": "no-store"} | ({"retry-after": "5"} if status == 503 else {})
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

    async def _read(self, body: bytearray, scope: Scope, receive: Receive) -> str:
        """Reads the body; returns the empty text, or the reason to refuse it.

        The application never waits for a sender.
        """
        for name, value in scope["headers"]:
            if name == b"content-length" and value.isdigit() and int(value) > self._most:
                return "too_large"
        more = True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                break
            part = message.get("body", b"")
            more = message.get("more_body", False)
            if len(body) + len(part) > self._most:
                return "too_large"
            if self._held + len(part) > _BODIES * self._most:
                return "bodies"
            body += part
            self._held += len(part)
        return ""

    async def _authenticate(self, scope: Scope) -> str:
        """Checks the password; returns the empty text where it is correct, else the reason to refuse the request."""
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
                stored = None if expected is None else expected.get_secret_value()
                others = [one.get_secret_value() for one in config.basic_auth_users.values()]
                right = await asyncio.to_thread(is_right, password, stored, others)
        finally:
            self._waiting -= 1
        if not right:
            return "unauthorized"
        if len(self._known) >= _REMEMBERED:
            self._known.clear()
        self._known[mark] = config
        return ""


def _credentials(scope: Scope) -> tuple[str, bytes]:
    """Returns user and password of a request; both empty where the header is missing or malformed."""
    for name, value in scope["headers"]:
        kind, _, encoded = value.partition(b" ")
        if name == b"authorization" and kind.lower() == b"basic":
            try:
                user, _, password = base64.b64decode(encoded.strip(), validate=True).partition(b":")
                return user.decode(), password
            except (binascii.Error, UnicodeDecodeError):
                break
    return "", b""


def is_right(password: bytes, stored: str | None, hashes: Iterable[str]) -> bool:
    """Returns whether a password matches a hash; a rejection takes the same time for every user and for unknown ones.

    A check takes 2 to the power of its cost. For a user whose hash has cost c, that check and further ones of cost c, c
    + 1, ... below the largest cost C of all users take 2^c + (2^c + ... + 2^(C - 1)) = 2^C together, the same as the
    one check for an unknown user.

    Args:
        password: the password to check.
        stored: hash of the user; None for an unknown user.
        hashes: hashes of all users.
    """
    most = max(map(_cost, hashes))
    if stored is None:
        _matches(password, _dummy_hash(most))
        return False
    if _matches(password, stored):
        return True
    for cost in range(_cost(stored), most):
        _matches(password, _dummy_hash(cost))
    return False


def _cost(stored: str) -> int:
    """Returns the logarithm of the rounds; the format was checked when the file was read."""
    return int(stored.split("$")[2])


def _dummy_hash(cost: int) -> str:
    """Returns a hash with the given cost that no known password matches, without computing one."""
    return bcrypt.gensalt(cost).decode() + "." * 31


def _matches(password: bytes, stored: str) -> bool:
    try:
        return bcrypt.checkpw(password, stored.encode())
    except ValueError:  # bcrypt accepts at most 72 bytes and no zero byte, so such a password has no stored hash
        return False


def _body_once(body: bytes, receive: Receive) -> Receive:
    """Returns the body once, then the messages of the server."""
    given = False

    async def receiving() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return receiving
