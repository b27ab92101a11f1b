"""A server with TLS and passwords, and requests to it."""

from __future__ import annotations

import base64
import http.client
import ssl
from dataclasses import dataclass, field
from pathlib import Path

import bcrypt
import trustme
import yaml
from parts import TurnedClock
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from service.http import Guard, HttpServer, ReloadableTls

PASSWORD = "correct horse"  # noqa: S105 - a password of these tests only


HASH = bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(4)).decode()


async def echo(request: Request) -> PlainTextResponse:
    """Returns the length of the body."""
    return PlainTextResponse(str(len(await request.body())))


async def page(_request: Request) -> PlainTextResponse:
    """Returns a metrics page."""
    return PlainTextResponse("# TYPE forecaster_probe gauge\nforecaster_probe 7\n")


@dataclass
class Served:
    """A server with a web configuration in a folder."""

    folder: Path
    authority: trustme.CA = field(default_factory=trustme.CA)
    refused: list[str] = field(default_factory=list)
    seconds: float = 60.0
    clock: TurnedClock = field(default_factory=TurnedClock)

    def write(self, **config: object) -> Path:
        """Writes the web configuration file."""
        path = self.folder / "web.yml"
        path.write_text(yaml.safe_dump(config))
        return path

    def certificate(self) -> dict[str, str]:
        """Writes a fresh server certificate; returns the settings that name its files."""
        made = self.authority.issue_cert("localhost")
        (self.folder / "server.crt").write_bytes(b"".join(blob.bytes() for blob in made.cert_chain_pems))
        made.private_key_pem.write_to_path(self.folder / "server.key")
        return {"cert_file": "server.crt", "key_file": "server.key"}

    def serve(self, path: Path | None) -> tuple[HttpServer, ReloadableTls]:
        """Starts a server."""
        web = ReloadableTls(path, self.clock.monotonic)
        app = Starlette(routes=[Route("/", echo, methods=["GET", "POST"]), Route("/metrics", page)])
        guard = Guard(
            app, web, max_request_bytes=2000, request_seconds=self.seconds, refused=self.refused.append,
            allowed_hosts=("forecaster.example.org", "*.cluster.local"),
        )  # fmt: skip
        server = HttpServer(guard, "127.0.0.1", 0, tls=web.tls)
        server.start()
        return server, web

    def client(self) -> ssl.SSLContext:
        """Returns a TLS context that trusts the authority."""
        context = ssl.create_default_context()
        self.authority.configure_trust(context)
        return context


def ask(
    url: str, context: ssl.SSLContext | None = None, user: str = "", password: str = "", body: bytes | None = None
) -> tuple[int, str, http.client.HTTPMessage]:
    """Sends one request on a connection of its own."""
    host = url.partition("://")[2].replace("127.0.0.1", "localhost")
    made = (
        http.client.HTTPSConnection(host, timeout=20, context=context)
        if url.startswith("https")
        else http.client.HTTPConnection(host, timeout=20)
    )
    headers = {}
    if user:
        headers["Authorization"] = "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()
    try:
        made.request("GET" if body is None else "POST", "/", body, headers)
        answer = made.getresponse()
        return answer.status, answer.read().decode(), answer.headers
    finally:
        made.close()
