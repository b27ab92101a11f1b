"""TLS, client certificates, passwords and request limits, with real certificates and real handshakes."""

from __future__ import annotations

import base64
import contextlib
import http.client
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import bcrypt
import pytest
import trustme
import yaml
from hypothesis import given
from hypothesis import strategies as st
from parts import TurnedClock
from prometheus_client import CollectorRegistry
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from service.errors import ConfigurationError, UnsettledError
from service.file_watcher import FileWatcher
from service.http import Guard, HttpServer, ReloadableTls
from service.http import connections as connections_module
from service.http.guard import is_right
from service.http.hosts import Hosts, name_of
from service.http.tls_reload import SETTLE_SECONDS
from service.http.web_config import load_web_config
from service.monitoring.metrics import Metrics

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


@pytest.fixture
def served(tmp_path: Path) -> Served:
    """A server that is not started."""
    return Served(tmp_path)


@pytest.fixture
def start(served: Served) -> Iterator[Callable[[Path | None], tuple[HttpServer, ReloadableTls]]]:
    """Starts servers that are closed at the end of the test."""
    running: list[HttpServer] = []

    def starting(path: Path | None) -> tuple[HttpServer, ReloadableTls]:
        server, web = served.serve(path)
        running.append(server)
        return server, web

    yield starting
    for server in running:
        server.close()


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


class TestTls:
    """tls_server_config."""

    def test_a_real_request(self, served: Served, start: Callable) -> None:
        """A client that trusts the authority is answered; a client that does not, or of plain HTTP, is not."""
        server, _ = start(served.write(tls_server_config=served.certificate()))

        assert server.url.startswith("https://")
        assert ask(server.url, served.client())[:2] == (200, "0")
        with pytest.raises(ssl.SSLCertVerificationError):
            ask(server.url, ssl.create_default_context())
        with pytest.raises((http.client.HTTPException, ConnectionError)):
            ask(server.url.replace("https", "http"))

    def test_old_versions_are_refused(self, served: Served, start: Callable) -> None:
        """A TLS version below min_version is refused."""
        server, _ = start(served.write(tls_server_config=served.certificate() | {"min_version": "TLS13"}))
        old = served.client()
        old.maximum_version = ssl.TLSVersion.TLSv1_2

        with pytest.raises(ssl.SSLError):
            ask(server.url, old)
        assert ask(server.url, served.client())[0] == 200

    def test_client_certificates(self, served: Served, start: Callable) -> None:
        """A client without a certificate of the configured authority is refused; a reload changes the authority."""
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
        """A reload changes the certificate of later handshakes; a bad one leaves the old in force."""
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
        """Switching TLS on requires a restart."""
        _, web = start(served.write())
        served.write(tls_server_config=served.certificate())

        with pytest.raises(ConfigurationError, match="requires a restart"):
            web.reload()


class TestPasswords:
    """basic_auth_users."""

    def test_who_may_enter(self, served: Served, start: Callable) -> None:
        """Only the right password of a configured user is accepted, repeatedly, until a reload removes the user."""
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

    @given(st.dictionaries(st.sampled_from("abcdef"), st.integers(4, 14), min_size=1), st.sampled_from("abcdefg"))
    def test_a_refusal_takes_as_long_for_every_name(self, costs: dict[str, int], user: str) -> None:
        """A refusal computes as many rounds of bcrypt for a known user, of any cost, as for an unknown one."""
        rounds = list[int]()

        def counted(_password: bytes, stored: bytes) -> bool:
            assert len(stored) == len(HASH)
            rounds.append(1 << int(stored.split(b"$")[2]))
            return False

        hashes = {name: bcrypt.gensalt(cost).decode() + "x" * 31 for name, cost in costs.items()}
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(bcrypt, "checkpw", counted)
            assert not is_right(b"guess", hashes.get(user), hashes.values())
        assert sum(rounds) == 1 << max(costs.values())

    def test_what_refuses_an_unknown_user_is_a_hash(self) -> None:
        """The hash that refuses an unknown user is a valid bcrypt hash that no password matches."""
        other = bcrypt.hashpw(b"other", bcrypt.gensalt(5)).decode()
        assert is_right(PASSWORD.encode(), HASH, [HASH, other])
        assert not is_right(PASSWORD.encode(), None, [HASH, other])
        assert not is_right(PASSWORD.encode(), other, [HASH, other])

    def test_headers(self, served: Served, start: Callable) -> None:
        """http_server_config.headers are sent, and browsers are told not to guess types."""
        server, _ = start(served.write(http_server_config={"headers": {"X-Frame-Options": "deny"}}))
        headers = ask(server.url)[2]

        assert headers["x-frame-options"] == "deny"
        assert headers["x-content-type-options"] == "nosniff"


class TestTakingProtectionAway:
    """An empty or half-written file removes no password."""

    def test_an_empty_file(self, served: Served, start: Callable) -> None:
        """An empty file is refused, at the start and at a reload, and the passwords stay in force."""
        path = served.write(basic_auth_users={"ann": HASH})
        server, web = start(path)
        for text in ("", "\n# users\n", "---\n"):
            path.write_text(text)
            with pytest.raises(ConfigurationError, match="is empty"):
                web.reload()
            with pytest.raises(ConfigurationError, match="is empty"):
                ReloadableTls(path)
        served.clock.now += 10 * SETTLE_SECONDS
        with pytest.raises(ConfigurationError, match="is empty"):
            web.reload()
        assert ask(server.url)[0] == 401

    def test_users_that_go(self, served: Served, start: Callable) -> None:
        """Passwords are removed only after the file has had no users for a while without interruption."""
        server, web = start(served.write(basic_auth_users={"ann": HASH}))

        def read(after: float, **config: object) -> None:
            served.clock.now += after
            served.write(**config)
            web.reload()

        for after, config in ((0.0, {}), (SETTLE_SECONDS - 1, {}), (2.0, {"http_server_config": {}, "x": 1})):
            with pytest.raises((UnsettledError, ConfigurationError)):
                read(after, **config)
        with pytest.raises(UnsettledError, match="removes passwords"):
            read(SETTLE_SECONDS)
        assert ask(server.url)[0] == 401
        read(1.0, basic_auth_users={"ann": HASH})
        with pytest.raises(UnsettledError):
            read(SETTLE_SECONDS)
        assert ask(server.url)[0] == 401

        read(SETTLE_SECONDS)
        assert ask(server.url)[0] == 200

    def test_client_certificates_that_go(self, served: Served) -> None:
        """Removing client certificates takes the same wait as passwords; removing TLS requires a restart."""
        served.authority.cert_pem.write_to_path(served.folder / "ca.pem")
        tls = served.certificate()
        asked = tls | {"client_auth_type": "RequireAndVerifyClientCert", "client_ca_file": "ca.pem"}
        web = ReloadableTls(served.write(tls_server_config=asked), served.clock.monotonic)
        served.write(tls_server_config=tls)
        with pytest.raises(UnsettledError, match="removes client certificates"):
            web.reload()
        served.write()
        served.clock.now += SETTLE_SECONDS
        with pytest.raises(ConfigurationError, match="requires a restart"):
            web.reload()

    def test_the_watch_reads_again(self, served: Served) -> None:
        """The watcher rereads an unsettled file although the file no longer changes."""
        web = ReloadableTls(served.write(basic_auth_users={"ann": HASH}), served.clock.monotonic)
        metrics = Metrics(CollectorRegistry())
        watch = FileWatcher(metrics, served.clock)
        watch.add("web", web.files, web.reload)
        served.write()
        for seconds in (0.0, SETTLE_SECONDS / 2, SETTLE_SECONDS / 3):
            served.clock.now += seconds
            watch.check()
            assert web.config.basic_auth_users
            assert metrics.registry.get_sample_value("forecaster_config_last_reload_successful", {"file": "web"}) == 0
        served.clock.now += SETTLE_SECONDS / 3
        watch.check()
        assert not web.config.basic_auth_users
        assert metrics.registry.get_sample_value("forecaster_config_last_reload_successful", {"file": "web"}) == 1


class TestHosts:
    """Protection against DNS rebinding and pages of other sites."""

    @pytest.mark.parametrize(
        ("host", "status"),
        [
            ("127.0.0.1:9464", 200),
            ("10.1.2.3", 200),
            ("[::1]:9464", 200),
            ("localhost", 200),
            ("LocalHost.:9464", 200),
            ("x.localhost", 200),
            ("forecaster.example.org", 200),
            ("Forecaster.Example.org.:80", 200),
            ("a.b.cluster.local:9464", 200),
            ("example.org", 403),
            ("forecaster.example.org.evil.net", 403),
            ("localhost.evil.net:9464", 403),
            ("127.0.0.1.evil.net", 403),
            ("evil.net", 403),
            ("127.0.0.1:80@evil.net", 403),
            ("", 403),
            ("[::1]evil.net", 403),
        ],
    )
    def test_host(self, served: Served, start: Callable, host: str, status: int) -> None:
        """Without passwords a host name that another party can own is refused, on every path."""
        server, _ = start(None)
        for path in ("/", "/metrics", "/api/v1/x"):
            answer = raw(server, f"GET {path} HTTP/1.1\r\nhost: {host}\r\n\r\n".encode())
            expected = 404 if path == "/api/v1/x" and status == 200 else status
            assert answer[9:12] == str(expected).encode()

    def test_protected(self, served: Served, start: Callable) -> None:
        """With passwords or TLS any host name is accepted, because a page of another site has neither."""
        server, _ = start(served.write(basic_auth_users={"ann": HASH}))
        assert raw(server, b"GET / HTTP/1.1\r\nhost: evil.net\r\n\r\n")[9:12] == b"401"
        secret = base64.b64encode(f"ann:{PASSWORD}".encode()).decode()
        asked = f"GET / HTTP/1.1\r\nhost: any.name\r\nauthorization: Basic {secret}\r\n\r\n"
        assert raw(server, asked.encode())[9:12] == b"200"

    @pytest.mark.parametrize(
        ("origin", "status"),
        [
            (None, 200),
            ("http://127.0.0.1:9464", 200),
            ("https://127.0.0.1:9464", 200),
            ("https://forecaster.example.org", 200),
            ("http://127.0.0.1:3000", 403),
            ("http://localhost:9464", 403),
            ("http://evil.net", 403),
            ("null", 403),
            ("file://", 403),
            ("", 403),
        ],
    )
    def test_origin(self, served: Served, start: Callable, origin: str | None, status: int) -> None:
        """A POST from a page of another site is refused, with or without passwords; a GET is not."""
        for path in (None, served.write(basic_auth_users={"ann": HASH})):
            server, _ = start(path)
            secret = base64.b64encode(f"ann:{PASSWORD}".encode()).decode()
            head = f"host: 127.0.0.1:9464\r\nauthorization: Basic {secret}\r\n"
            head += "" if origin is None else f"origin: {origin}\r\n"
            posted = raw(server, f"POST / HTTP/1.1\r\n{head}content-length: 0\r\n\r\n".encode())
            assert posted[9:12] == str(status).encode()
            assert raw(server, f"GET / HTTP/1.1\r\n{head}\r\n".encode())[9:12] == b"200"

    @given(st.text(max_size=30))
    def test_any_text(self, text: str) -> None:
        """Any text is classified as an allowed host or not, without an error; no origin is allowed by default."""
        hosts = Hosts()
        headers = [(b"host", text.encode("latin-1", "replace")), (b"origin", text.encode("latin-1", "replace"))]
        verdict = hosts.verdict("GET", headers, open_to_all=True)
        name = name_of(text.encode("latin-1", "replace").decode("latin-1"))
        assert verdict == ("" if hosts.ours(name) else "host")
        assert hosts.verdict("POST", headers, open_to_all=False) == "origin"


class TestLimits:
    """Limits of size and time."""

    def test_large_bodies(self, served: Served, start: Callable) -> None:
        """A body over the limit is refused, with a declared length or chunked; a body at the limit is not."""
        server, _ = start(None)

        assert ask(server.url, body=b"x" * 2000)[:2] == (200, "2000")
        assert ask(server.url, body=b"x" * 2001)[0] == 413
        assert raw(
            server, b"POST / HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n7d1\r\n" + b"x" * 2001
        )[:12] == (b"HTTP/1.1 413")

    def test_bodies_together(self, served: Served, start: Callable) -> None:
        """The memory of all bodies together is bounded; a further body gets 503 until others are complete."""
        served.seconds = 20
        server, _ = start(None)
        host, _, port = server.url.rpartition("/")[2].rpartition(":")
        head = b"POST / HTTP/1.1\r\nhost: localhost\r\ncontent-length: 2000\r\n\r\n"
        with contextlib.ExitStack() as stack:
            arriving = [stack.enter_context(socket.create_connection((host, int(port)), timeout=20)) for _ in range(16)]
            for one in arriving:
                one.sendall(head + b"x" * 1999)
            assert ask(server.url)[0] == 200
            while (found := ask(server.url, body=b"x" * 2000)[0]) == 200:  # the other bodies are still being read
                time.sleep(0.01)
            assert (found, served.refused[0]) == (503, "bodies")
            for one in arriving:
                one.sendall(b"x")
            assert all(one.recv(12) == b"HTTP/1.1 200" for one in arriving)
        assert ask(server.url, body=b"x" * 2000)[:2] == (200, "2000")

    def test_slow_bodies(self, served: Served, start: Callable) -> None:
        """A body that does not arrive in time gets 408."""
        served.seconds = 0.1
        server, _ = start(None)

        assert raw(server, b"POST / HTTP/1.1\r\nhost: localhost\r\ncontent-length: 9\r\n\r\n")[:12] == b"HTTP/1.1 408"
        assert served.refused == ["too_slow"]

    @pytest.mark.parametrize("said", [b"", b"GET / HTTP/1.1\r\nx: "])
    def test_slow_headers(self, served: Served, start: Callable, monkeypatch: pytest.MonkeyPatch, said: bytes) -> None:
        """A connection without complete headers is closed at the deadline."""
        monkeypatch.setattr(connections_module, "HEAD_SECONDS", 0.2)
        server, _ = start(None)

        assert raw(server, said) == b""

    def test_long_headers(self, served: Served, start: Callable) -> None:
        """Headers over the limit are refused."""
        server, _ = start(None)

        assert raw(server, b"GET / HTTP/1.1\r\nx: " + b"x" * 40_000)[:12] == b"HTTP/1.1 400"


def raw(server: HttpServer, data: bytes) -> bytes:
    """Sends bytes to the server and returns the response up to the end of its headers or of the connection."""
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
    """An invalid file is refused with its path and the key, and no password is in the message."""
    path = tmp_path / "web.yml"
    path.write_text(text)

    with pytest.raises(ConfigurationError) as error:
        load_web_config(path)

    assert BAD[text] in str(error.value)
    assert str(path) in str(error.value)
    assert "hunter2secret" not in f"{error.value}{error.value.__cause__}"


def test_an_encrypted_key(tmp_path: Path) -> None:
    """An encrypted private key is refused without a prompt at the terminal."""
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
        ReloadableTls(served.write(tls_server_config=tls))


def test_the_client_of_the_command_line(served: Served, start: Callable, tmp_path: Path) -> None:
    """`forecaster metrics` reads a page behind TLS, a client certificate and a password, or reports what is missing."""
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
