"""TLS, client certificates, passwords, and limits of requests: real certificates, real handshakes."""

from __future__ import annotations

import base64
import http.client
import socket
import ssl
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import bcrypt
import pytest
import trustme
import yaml
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from service.errors import ConfigurationError
from service.http import Guard, HttpServer, Web
from service.http import server as server_module
from service.http.web_config import load_web_config

PASSWORD = "correct horse"  # noqa: S105 - of nothing but these tests
HASH = bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(4)).decode()


async def echo(request: Request) -> PlainTextResponse:
    """Says how long the body was."""
    return PlainTextResponse(str(len(await request.body())))


async def page(_request: Request) -> PlainTextResponse:
    """A metrics page."""
    return PlainTextResponse("# TYPE forecaster_probe gauge\nforecaster_probe 7\n")


@dataclass
class Served:
    """A server with a web configuration in a folder."""

    folder: Path
    authority: trustme.CA = field(default_factory=trustme.CA)
    refused: list[str] = field(default_factory=list)
    seconds: float = 60.0

    def write(self, **config: object) -> Path:
        """The web configuration file."""
        path = self.folder / "web.yml"
        path.write_text(yaml.safe_dump(config))
        return path

    def certificate(self) -> dict[str, str]:
        """A fresh certificate of the server in its files."""
        made = self.authority.issue_cert("localhost")
        (self.folder / "server.crt").write_bytes(b"".join(blob.bytes() for blob in made.cert_chain_pems))
        made.private_key_pem.write_to_path(self.folder / "server.key")
        return {"cert_file": "server.crt", "key_file": "server.key"}

    def serve(self, path: Path | None) -> tuple[HttpServer, Web]:
        """Started."""
        web = Web(path)
        app = Starlette(routes=[Route("/", echo, methods=["GET", "POST"]), Route("/metrics", page)])
        guard = Guard(app, web, max_request_bytes=2000, request_seconds=self.seconds, refused=self.refused.append)
        server = HttpServer(guard, "127.0.0.1", 0, tls=web.tls)
        server.start()
        return server, web

    def client(self) -> ssl.SSLContext:
        """Trusts the authority."""
        context = ssl.create_default_context()
        self.authority.configure_trust(context)
        return context


@pytest.fixture
def served(tmp_path: Path) -> Served:
    """Nothing started yet."""
    return Served(tmp_path)


@pytest.fixture
def start(served: Served) -> Iterator[Callable[[Path | None], tuple[HttpServer, Web]]]:
    """Starts a server that is closed at the end."""
    running: list[HttpServer] = []

    def starting(path: Path | None) -> tuple[HttpServer, Web]:
        server, web = served.serve(path)
        running.append(server)
        return server, web

    yield starting
    for server in running:
        server.close()


def ask(
    url: str, context: ssl.SSLContext | None = None, user: str = "", password: str = "", body: bytes | None = None
) -> tuple[int, str, http.client.HTTPMessage]:
    """One request on a connection of its own."""
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


class TestTls:
    """tls_server_config."""

    def test_a_real_request(self, served: Served, start: Callable) -> None:
        """A client that trusts the authority is answered, one that does not is not, nor is plain HTTP."""
        server, _ = start(served.write(tls_server_config=served.certificate()))

        assert server.url.startswith("https://")
        assert ask(server.url, served.client())[:2] == (200, "0")
        with pytest.raises(ssl.SSLCertVerificationError):
            ask(server.url, ssl.create_default_context())
        with pytest.raises((http.client.HTTPException, ConnectionError)):
            ask(server.url.replace("https", "http"))

    def test_old_versions_are_refused(self, served: Served, start: Callable) -> None:
        """min_version holds."""
        server, _ = start(served.write(tls_server_config=served.certificate() | {"min_version": "TLS13"}))
        old = served.client()
        old.maximum_version = ssl.TLSVersion.TLSv1_2

        with pytest.raises(ssl.SSLError):
            ask(server.url, old)
        assert ask(server.url, served.client())[0] == 200

    def test_client_certificates(self, served: Served, start: Callable) -> None:
        """Without a certificate of the named authority there is no answer; after a reload another authority counts."""
        tls = served.certificate() | {
            "client_auth_type": "RequireAndVerifyClientCert",
            "client_ca_file": "clients.pem",
            "min_version": "TLS13",
        }
        first, second = trustme.CA(), trustme.CA()
        first.cert_pem.write_to_path(served.folder / "clients.pem")
        server, web = start(served.write(tls_server_config=tls))

        def as_one_of(authority: trustme.CA) -> int:
            context = served.client()
            authority.issue_cert("me@example.org").configure_cert(context)
            return ask(server.url, context)[0]

        with pytest.raises((ssl.SSLError, ConnectionError, http.client.RemoteDisconnected)):
            ask(server.url, served.client())
        assert as_one_of(first) == 200
        with pytest.raises((ssl.SSLError, ConnectionError, http.client.RemoteDisconnected)):
            as_one_of(second)

        second.cert_pem.write_to_path(served.folder / "clients.pem")
        web.reload()

        assert as_one_of(second) == 200
        with pytest.raises((ssl.SSLError, ConnectionError, http.client.RemoteDisconnected)):
            as_one_of(first)

    def test_a_renewed_certificate(self, served: Served, start: Callable) -> None:
        """The next handshake after a reload shows the new certificate; a bad one leaves the old in force."""
        server, web = start(served.write(tls_server_config=served.certificate()))

        def shown() -> str:
            host, _, port = server.url.rpartition("/")[2].rpartition(":")
            with (
                socket.create_connection((host, int(port)), timeout=20) as plain,
                served.client().wrap_socket(plain, server_hostname="localhost") as secure,
            ):
                return secure.getpeercert()["serialNumber"]

        before = shown()
        served.certificate()
        assert shown() == before
        web.reload()
        after = shown()
        (served.folder / "server.crt").write_text("rubbish")
        with pytest.raises(ConfigurationError, match=r"server\.crt"):
            web.reload()

        assert after != before
        assert shown() == after

    def test_coming_and_going(self, served: Served, start: Callable) -> None:
        """Whether TLS is spoken at all does not change under way."""
        _, web = start(served.write())
        served.write(tls_server_config=served.certificate())

        with pytest.raises(ConfigurationError, match="needs a restart"):
            web.reload()


class TestPasswords:
    """basic_auth_users."""

    def test_who_may_enter(self, served: Served, start: Callable) -> None:
        """The right password, and nothing else; twice as well as once, and no more once the user is gone."""
        server, web = start(served.write(basic_auth_users={"ann": HASH}))

        status, _, headers = ask(server.url)
        assert (status, headers["www-authenticate"][:5]) == (401, "Basic")
        assert ask(server.url, user="ann", password=PASSWORD[1:])[0] == 401
        assert ask(server.url, user="bob", password=PASSWORD)[0] == 401
        assert ask(server.url, user="ann", password="x" * 100)[0] == 401
        assert [ask(server.url, user="ann", password=PASSWORD)[0] for _ in range(2)] == [200, 200]
        assert served.refused == ["unauthorized"] * 4

        served.write(basic_auth_users={"bob": HASH})
        web.reload()

        assert ask(server.url, user="ann", password=PASSWORD)[0] == 401
        assert ask(server.url, user="bob", password=PASSWORD)[0] == 200

    def test_headers(self, served: Served, start: Callable) -> None:
        """http_server_config.headers are sent, and browsers are told not to guess types."""
        server, _ = start(served.write(http_server_config={"headers": {"X-Frame-Options": "deny"}}))
        headers = ask(server.url)[2]

        assert headers["x-frame-options"] == "deny"
        assert headers["x-content-type-options"] == "nosniff"


class TestLimits:
    """Sizes and times."""

    def test_large_bodies(self, served: Served, start: Callable) -> None:
        """A body over the limit is refused, declared or not; one at the limit is not."""
        server, _ = start(None)

        assert ask(server.url, body=b"x" * 2000)[:2] == (200, "2000")
        assert ask(server.url, body=b"x" * 2001)[0] == 413
        assert raw(server, b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n7d1\r\n" + b"x" * 2001)[
            :12
        ] == (b"HTTP/1.1 413")

    def test_slow_bodies(self, served: Served, start: Callable) -> None:
        """A body that does not come is not waited for for ever."""
        served.seconds = 0.1
        server, _ = start(None)

        assert raw(server, b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 9\r\n\r\n")[:12] == b"HTTP/1.1 408"
        assert served.refused == ["too_slow"]

    @pytest.mark.parametrize("said", [b"", b"GET / HTTP/1.1\r\nx: "])
    def test_slow_headers(self, served: Served, start: Callable, monkeypatch: pytest.MonkeyPatch, said: bytes) -> None:
        """Who never comes to the end of the headers is hung up on."""
        monkeypatch.setattr(server_module, "HEAD_SECONDS", 0.2)
        server, _ = start(None)

        assert raw(server, said) == b""

    def test_long_headers(self, served: Served, start: Callable) -> None:
        """Headers without end are refused."""
        server, _ = start(None)

        assert raw(server, b"GET / HTTP/1.1\r\nx: " + b"x" * 40_000)[:12] == b"HTTP/1.1 400"


def raw(server: HttpServer, data: bytes) -> bytes:
    """Bytes to the server, and its answer up to the end of the connection."""
    host, _, port = server.url.rpartition("/")[2].rpartition(":")
    answer = b""
    with socket.create_connection((host, int(port)), timeout=20) as connection:
        try:
            connection.sendall(data)
            while part := connection.recv(4096):
                answer += part
                if b"\r\n\r\n" in answer:
                    break
        except ConnectionError:
            pass
    return answer


BAD = {
    "tls_server_config: {cert_file: a}": "tls_server_config.key_file",
    "tls_server_config: {cert_file: a, key_file: b, curve_preferences: [X25519]}": "not supported",
    "tls_server_config: {cert_file: a, key_file: b, client_auth_type: RequireAnyClientCert}": "expected one of",
    "tls_server_config: {cert_file: a, key_file: b, client_ca_file: c}": "both, or neither",
    "tls_server_config: {cert_file: a, key_file: b, cipher_suites: [TLS_RSA_WITH_RC4_128_SHA]}": "RC4",
    "tls_server_config: {cert_file: a, key_file: b, min_version: TLS13, max_version: TLS12}": "above max_version",
    "basic_auth_users: {ann: hunter2secret}": "ann: expected a bcrypt hash",
    f"basic_auth_users: {{'a:b': '{HASH}'}}": "without a colon",
    "http_server_config: {headers: {'X y': z}}": "expected a header's name",
    "basic_auth_users: [hunter2secret": "not YAML in line",
    "- hunter2secret": "got list",
    "users: {}": "unknown",
}


@pytest.mark.parametrize("text", BAD, ids=range(len(BAD)))
def test_bad_files(text: str, tmp_path: Path) -> None:
    """What cannot be used is refused with file and key, and no password is in the message."""
    path = tmp_path / "web.yml"
    path.write_text(text)

    with pytest.raises(ConfigurationError) as error:
        load_web_config(path)

    assert BAD[text] in str(error.value)
    assert str(path) in str(error.value)
    assert "hunter2secret" not in f"{error.value}{error.value.__cause__}"


def test_an_encrypted_key(tmp_path: Path) -> None:
    """A key that asks for a password is refused, and nobody is asked at a terminal."""
    from cryptography.hazmat.primitives.serialization import (
        BestAvailableEncryption,
        Encoding,
        PrivateFormat,
        load_pem_private_key,
    )

    served = Served(tmp_path)
    tls = served.certificate()
    key = load_pem_private_key((tmp_path / "server.key").read_bytes(), None)
    (tmp_path / "server.key").write_bytes(
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret"))
    )

    with pytest.raises(ConfigurationError, match="cannot be used"):
        Web(served.write(tls_server_config=tls))


def test_the_client_of_the_command_line(served: Served, start: Callable, tmp_path: Path) -> None:
    """`forecaster metrics` reads a page behind TLS, a client certificate and a password, or says what is missing."""
    from click.testing import CliRunner

    from service.cli import main

    tls = served.certificate() | {"client_auth_type": "RequireAndVerifyClientCert", "client_ca_file": "ca.pem"}
    served.authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    mine = served.authority.issue_cert("ann@example.org")
    mine.private_key_pem.write_to_path(tmp_path / "mine.key")
    mine.cert_chain_pems[0].write_to_path(tmp_path / "mine.crt")
    (tmp_path / "password").write_text(PASSWORD + "\n")
    server, _ = start(served.write(tls_server_config=tls, basic_auth_users={"ann": HASH}))
    url = server.url.replace("127.0.0.1", "localhost") + "/metrics"

    def read(*options: str) -> tuple[int, str]:
        found = CliRunner().invoke(main, ["metrics", url, *options])
        return found.exit_code, found.output

    files = ("--ca", f"{tmp_path}/ca.pem", "--cert", f"{tmp_path}/mine.crt", "--key", f"{tmp_path}/mine.key")
    signed = (*files, "--user", "ann", "--password-file", f"{tmp_path}/password")
    status, said = read(*signed)
    assert (status, "probe" in said) == (0, True), said
    assert read(*files)[0] == 1
    assert "--password-file" in read(*files)[1]
    assert "CERTIFICATE_VERIFY_FAILED" in read()[1]
    assert read("--ca", f"{tmp_path}/password")[0] == 1
    found = CliRunner().invoke(main, ["metrics", "https://ann:hunter2secret@localhost/metrics"])
    assert (found.exit_code, "hunter2secret" in found.output) == (1, False)
